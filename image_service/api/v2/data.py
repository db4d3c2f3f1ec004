"""``/v2/images/{id}/file``: the bytes (contract C.6, C.7)."""

from __future__ import annotations

from aiohttp import web

from image_service.api import sending
from image_service.api.call import Call
from image_service.api.receiving import stream
from image_service.errors import InvalidValue, UnsupportedMediaType
from image_service.model import Image, UploadKind
from image_service.operations import downloads, images, uploads
from image_service.transfer.ranges import ByteRange, parse_content_range, parse_range

_OCTET_STREAM = "application/octet-stream"


async def upload(call: Call) -> web.Response:
    """``PUT``: the whole data of a queued image."""
    headers = call.request.headers
    media_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type != _OCTET_STREAM:
        raise UnsupportedMediaType(
            f"Image data is sent as Content-Type: {_OCTET_STREAM}, not {media_type or 'without one'}."
            " With curl: -H 'Content-Type: application/octet-stream' -T FILE."
        )
    size = _declared_size(headers.get("x-openstack-image-size"), call.request.content_length)
    image = await images.to_change(call.service, call.context, call.image_id)
    await uploads.upload(
        call.service,
        image,
        uploads.Upload(stream(call.request), UploadKind.V2, size=size, store=_store(call, headers.get("X-Image-Meta-Store"))),
    )
    return web.Response(status=204)


def _declared_size(declared: str | None, content_length: int | None) -> int | None:
    if declared is None:
        return content_length
    try:
        size = int(declared)
    except ValueError:
        raise InvalidValue(
            f"Invalid or missing image size: x-openstack-image-size is {declared!r}, not a number of bytes."
        ) from None
    if size < 0:
        raise InvalidValue("Invalid or missing image size: x-openstack-image-size must not be negative.")
    return size


def _store(call: Call, name: str | None) -> str | None:
    """The store that the request names; where stores have no names, nobody looks."""
    return name if name and call.service.stores.named else None


async def download(call: Call) -> web.StreamResponse:
    """``GET``: all data, or one range of it; 204 while there is none."""
    request = call.request
    image = await images.show(call.service, call.context, call.image_id)
    downloads.require_readable(call.context, image)
    if not image.locations:
        return web.Response(status=204)
    data = await downloads.open_bytes(call.service, image, prefer=_preferred(call))
    headers = _headers(image)
    if sending.not_modified(request, image):
        return web.Response(status=304, headers=headers)
    part = _part(call, data.size) if sending.range_still_valid(request, image) else None
    return await sending.send(call, data, headers, part)


def _part(call: Call, size: int) -> ByteRange | None:
    """The range that is asked for; old clients put it into ``Content-Range``, ``Range`` wins."""
    headers = call.request.headers
    if "Range" in headers:
        return parse_range(headers["Range"], size)
    return parse_content_range(headers.get("Content-Range"), size)


def _headers(image: Image) -> dict[str, str]:
    headers = {"Accept-Ranges": "bytes"}
    if image.checksum is not None:
        headers |= {"Content-MD5": image.checksum, "ETag": f'"{image.checksum}"'}
    return headers


def _preferred(call: Call) -> tuple[str, ...]:
    """Stores in the order in which ``?prefer=a,b`` wants them tried. ``InvalidValue`` for one that is not there."""
    names = tuple(name for name in call.request.query.get("prefer", "").split(",") if name)
    if names and not call.service.stores.named:
        raise InvalidValue("prefer needs stores with names (enabled_backends).")
    for name in names:
        call.service.stores.get(name)
    return names
