"""``/v1/images`` and ``/v1/images/{id}``: metadata in headers, the image in the body (contract A.5 to A.9).

Unlike Glance nothing is registered before everything that can be checked has been checked, so a refused request leaves nothing
behind.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from aiohttp import web

from image_service.api import sending
from image_service.api.call import Call, endpoint, json_answer
from image_service.api.v1 import headers, sources
from image_service.api.v1.headers import Metadata
from image_service.errors import Conflict, Forbidden, InvalidValue, NotFound
from image_service.model import Image, Status, Visibility
from image_service.operations import downloads, images, lifecycle, policy

_SET_BY_CLIENT = ("name", "disk_format", "container_format", "min_ram", "min_disk", "protected", "size", "checksum", "owner")


async def head(call: Call) -> web.Response:
    """``HEAD``: the metadata; an administrator also sees a deleted image."""
    image = await call.image(deleted=True)
    answer = headers.answer_headers(image) | {"Content-Length": "0"}
    return web.Response(headers=answer, content_type="text/html", charset="UTF-8")


async def show(call: Call) -> web.StreamResponse:
    """``GET``: the metadata and all bytes."""
    image = await call.image()
    if image.status not in lifecycle.READABLE:
        raise NotFound(f"Image {image.id} is not active")
    policy.require_readable(call.context, image)
    answer = headers.answer_headers(image)
    if not (image.locations or images.lies_nowhere(image)):
        return web.Response(headers=answer, content_type="application/octet-stream")
    return await sending.send(call, await downloads.open_bytes(call.service, image), answer)


async def delete(call: Call) -> web.Response:
    """``DELETE``: 200 with an empty body."""
    image = await call.image_to_change()
    await images.delete(call.service, image)
    return web.Response(content_type="text/html", charset="UTF-8")


async def create(call: Call) -> web.Response:
    """``POST``: metadata, and at most one source of bytes."""
    metadata = headers.parse(call.request)
    source = sources.source_of(call, metadata)
    sources.require_type(call, source)
    image = _new_image(call, metadata)
    if source == "body":
        images.require_formats(image)
    elif source is None:
        if metadata.fields.get("store"):
            call.service.stores.get(metadata.fields["store"])
        # What is said to have no bytes has all of them, and what is of unknown size has the size 0 (contract A.7).
        image = replace(image, status=Status.ACTIVE) if image.size == 0 else replace(image, size=image.size or 0)
    keep = partial(images.create, call.service, call.context)
    return _answer(call, await sources.keep_with_bytes(call, metadata, source, image, keep), 201)


async def update(call: Call) -> web.Response:
    """``PUT``: metadata; for a queued image also its bytes or where they are."""
    metadata = headers.parse(call.request)
    source = sources.source_of(call, metadata)
    image = await call.image_to_change()
    _check_update(image, metadata, source)
    sources.require_type(call, source)
    wanted = _with(call, image, metadata)
    if metadata.purge_properties and source != "body":
        wanted = replace(wanted, properties=metadata.properties)
    keep = partial(images.change, call.service, call.context, image)
    return _answer(call, await sources.keep_with_bytes(call, metadata, source, wanted, keep), 200)


def _answer(call: Call, image: Image, status: int) -> web.Response:
    location = {"Location": f"{endpoint(call.request, call.conf)}/v1/images/{image.id}"} if status == 201 else {}
    return json_answer({"image": headers.full(image)}, status, headers.etag(image) | location)


def _new_image(call: Call, metadata: Metadata) -> Image:
    image_id = metadata.fields.get("id") or ""  # "": a new one
    if image_id:
        images.require_uuid(image_id)  # The client's own, kept as it is written.
    return _with(call, Image(id=image_id, owner=call.context.project), metadata)


def _with(call: Call, image: Image, metadata: Metadata) -> Image:
    """``image`` with the metadata of a request; who is no administrator cannot give it away."""
    fields = metadata.fields
    policy.ignore_owner(call.context, fields)
    said: dict[str, Any] = {name: fields[name] for name in _SET_BY_CLIENT if name in fields}
    if fields.get("is_public"):
        said["visibility"] = Visibility.PUBLIC
    elif "is_public" in fields and image.visibility is Visibility.PUBLIC:
        said["visibility"] = Visibility.SHARED
    changed = replace(image, **said, properties=image.properties | metadata.properties)
    images.check_amazon_formats(changed)
    return changed


def _check_update(image: Image, metadata: Metadata, source: sources.Source | None) -> None:
    fields = metadata.fields
    if image.deleted or image.status is Status.DELETED:
        raise Forbidden("Forbidden to update deleted image.")
    if fields.get("id", image.id) != image.id:
        raise NotFound("The id of an image cannot be changed.")
    if fields.get("status", image.status) != image.status:
        raise Forbidden("Forbidden to modify 'status' of image.")
    if image.status is not Status.QUEUED:
        _check_has_bytes(image, fields, source)


def _check_has_bytes(image: Image, fields: dict[str, Any], source: sources.Source | None) -> None:
    """What may not change once there are bytes: the bytes, where they are, and what they amount to."""
    if source == "body":
        raise Conflict(f"Cannot upload to an unqueued image: its status is {image.status}.")
    if source is not None:
        raise InvalidValue("Attempted to update Location field for an image not in queued status.")
    for name in ("size", "checksum"):
        if name in fields and fields[name] != getattr(image, name):
            raise Forbidden(f"Forbidden to modify '{name}' of active image.")
