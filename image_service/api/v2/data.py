"""``/v2/images/{id}/file`` and ``/v2/stores/{store}/{id}``: the bytes (contract C.6, C.7, C.13)."""

from __future__ import annotations

from aiohttp import web

from image_service.api import sending
from image_service.api.call import Call
from image_service.api.parameters import count
from image_service.api.receiving import media_type, stream
from image_service.api.v2.discovery import named_stores
from image_service.errors import Conflict, InvalidValue, UnsupportedMediaType
from image_service.model import UploadKind
from image_service.operations import downloads, images, policy, uploads
from image_service.transfer.ranges import parse_content_range, parse_range


async def upload(call: Call) -> None:
    """``PUT``: the whole data of a queued image."""
    request = call.request
    given = media_type(request)
    if given != "application/octet-stream":
        raise UnsupportedMediaType(
            f"Image data is sent as Content-Type: application/octet-stream, not {given or 'without one'}."
            " With curl: -H 'Content-Type: application/octet-stream' -T FILE."
        )
    size, declared = request.content_length, request.headers.get("x-openstack-image-size")
    if declared is not None:
        size = count("Invalid or missing image size: x-openstack-image-size", declared)
    # Where stores have no names, nobody looks.
    store = request.headers.get("X-Image-Meta-Store") if call.service.stores.named else None
    image = await call.image_to_change()
    await uploads.upload(call.service, image, uploads.Upload(stream(request), UploadKind.V2, size=size, store=store))


async def download(call: Call) -> web.StreamResponse:
    """``GET``: all data, or one range of it; 204 while there is none. ``HEAD`` (ours, for qemu): how many there are."""
    request = call.request
    image = await call.image()
    policy.require_readable(call.context, image)
    prefer = _preferred(call)
    if not (image.locations or images.lies_nowhere(image)):
        return web.Response(status=204)
    data = await downloads.open_bytes(call.service, image, prefer)
    headers = {"Accept-Ranges": "bytes"}
    if image.checksum is not None:
        headers |= {"Content-MD5": image.checksum, "ETag": f'"{image.checksum}"'}
    if sending.not_modified(request, image):
        return web.Response(status=304, headers=headers)
    part = _part(call, data.size) if request.method == "GET" and sending.range_still_valid(request, image) else None
    return await sending.send(call, data, headers, part)


def _part(call: Call, size: int) -> range | None:
    """The range that is asked for; old clients put it into ``Content-Range``, ``Range`` wins."""
    headers = call.request.headers
    if "Range" in headers:
        return parse_range(headers["Range"], size)
    return parse_content_range(headers.get("Content-Range"), size)


def _preferred(call: Call) -> tuple[str, ...]:
    """Stores in the order in which ``?prefer=a,b`` wants them tried. ``InvalidValue`` for one that is not there."""
    names = tuple(filter(None, map(str.strip, call.request.query.get("prefer", "").split(","))))
    if names and not call.service.stores.named:
        raise InvalidValue("prefer needs stores with names (enabled_backends).")
    for name in names:
        call.service.stores.get(name)
    return names


async def remove(call: Call) -> None:
    """``DELETE /v2/stores/{store}/{id}``: from one of the stores that have them."""
    name = call.params["store"]
    if name not in [store.name for store in named_stores(call)]:
        raise Conflict(f"There is no store {name} here; GET /v2/info/stores names all.")
    await images.remove_from_store(call.service, call.context, await call.image(), name)
