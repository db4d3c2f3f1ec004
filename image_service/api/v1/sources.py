"""Where the bytes of a v1 POST or PUT come from: its body, a location, a copy; and what becomes of them (contract A.6, A.7)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Literal

from image_service.api.call import Call
from image_service.api.receiving import media_type, stream
from image_service.api.v1.headers import Metadata
from image_service.errors import InvalidValue, PreconditionFailed, UploadLost
from image_service.model import Image, Status, UploadKind
from image_service.operations import images, located, quota, uploads
from image_service.transfer.decode import base64_decoded

Source = Literal["body", "location", "copy_from"]
_URLS: tuple[Source, ...] = ("location", "copy_from")
Keep = Callable[[Image], Awaitable[Image]]
"""Registers a new image, or changes one that is there."""

_CURL = "With curl: -H 'Content-Type: application/octet-stream' and -T FILE or --data-binary @FILE."


def source_of(call: Call, metadata: Metadata) -> Source | None:
    """Where the bytes come from. ``InvalidValue`` for two at once, or an empty URL."""
    sources = [name for name in _URLS if name in metadata.fields]
    for name in sources:
        if not metadata.fields[name]:
            raise InvalidValue(f"The {name} of an image must not be empty: give an http or https URL.")
    sources += ["body"] if call.request.body_exists else []
    if len(sources) > 1:
        raise InvalidValue("It's invalid to provide multiple image sources.")
    return sources[0] if sources else None


def require_type(call: Call, source: Source | None) -> None:
    """``InvalidValue`` unless a body is sent as what it is; a form gets the sentence that its sender needs."""
    if source != "body":
        return
    given = media_type(call.request)
    if given in ("application/x-www-form-urlencoded", "multipart/form-data"):
        raise InvalidValue(f"Content-Type must be application/octet-stream: curl's -d and -F send a form. {_CURL}")
    if given != "application/octet-stream":
        raise InvalidValue(f"Content-Type must be application/octet-stream, not {given or 'missing'}. {_CURL}")


def _require_fit(call: Call, size: int | None) -> None:
    """``InvalidValue`` for an image that is known to be too large before its bytes come."""
    most = call.conf.image_size_cap
    if size is not None and size > most:
        raise InvalidValue(f"Denying attempt to upload image larger than {most} bytes.")


async def keep_with_bytes(call: Call, metadata: Metadata, source: Source | None, image: Image, keep: Keep) -> Image:
    """Register what is said of the image, with the bytes that ``source`` has."""
    _require_fit(call, metadata.fields.get("size"))
    if source == "location":
        images.require_formats(image)
        location, size = await located.find(call.service, metadata.fields["location"], metadata.fields.get("size"))
        return await keep(replace(image, status=Status.ACTIVE, size=size, locations=[location]))
    if source == "copy_from":
        return await _copy(call, metadata, image, keep)
    if source == "body":
        return await _upload(call, metadata, image, keep)
    return await keep(image)


async def _copy(call: Call, metadata: Metadata, image: Image, keep: Keep) -> Image:
    """Register what is said of the image, and fetch its bytes after the answer."""
    location, size = await located.find(call.service, metadata.fields["copy_from"], None)
    store = uploads.writable_store(call.service, metadata.fields.get("store"))
    room = await quota.room_for(call.service, image.owner, size)
    kept = await keep(replace(image, size=size))
    await located.copy_later(call.service, kept, location, store, room, metadata.fields.get("checksum"))
    return kept


async def _upload(call: Call, metadata: Metadata, image: Image, keep: Keep) -> Image:
    """Register what is said of the image, and take the body for its bytes.

    These must have the size and checksum that were declared, now or before. What is known to be too much is refused before:
    ``InvalidValue`` (400) over the cap, ``LimitExceeded`` over the owner's quota. ``PreconditionFailed`` (412) when the image
    is deleted meanwhile.
    """
    is_base64 = call.request.headers.get("Content-Transfer-Encoding", "").strip().lower() == "base64"
    sent = None if is_base64 else call.request.content_length
    _require_fit(call, sent)
    # A declared 0 with data means nothing.
    await quota.room_for(call.service, image.owner, metadata.fields.get("size") or sent)
    store = uploads.writable_store(call.service, metadata.fields.get("store"))
    kept = await keep(image)
    body = base64_decoded(stream(call.request)) if is_base64 else stream(call.request)
    wanted = uploads.Upload(body, UploadKind.V1, size=kept.size or sent, checksum=kept.checksum, store=store.name)
    try:
        return await uploads.upload(call.service, kept, wanted)
    except UploadLost as error:
        raise PreconditionFailed(error.message) from None
