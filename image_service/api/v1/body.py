"""The body of a v1 POST or PUT: is there one, of which type, and how it becomes the image's bytes (contract A.6, A.7)."""

from __future__ import annotations

from image_service.api.call import Call
from image_service.api.receiving import has_body, media_type, stream
from image_service.api.v1.headers import Metadata
from image_service.errors import InvalidValue, PreconditionFailed, UploadLost
from image_service.model import Image, UploadKind
from image_service.operations import uploads
from image_service.transfer.decode import base64_decoded

_CURL = "With curl: -H 'Content-Type: application/octet-stream' and -T FILE or --data-binary @FILE."


def source_of(call: Call, metadata: Metadata) -> str | None:
    """Where the bytes come from: ``body``, ``location``, ``copy_from`` or None.

    ``InvalidValue`` for two at once, or an empty URL.
    """
    sources: list[str] = [name for name in ("location", "copy_from") if name in metadata.fields]
    for name in sources:
        if not metadata.fields[name]:
            raise InvalidValue(f"The {name} of an image must not be empty: give an http or https URL.")
    sources += ["body"] if has_body(call.request) else []
    if len(sources) > 1:
        raise InvalidValue("It's invalid to provide multiple image sources.")
    return sources[0] if sources else None


def require_type(call: Call, source: str | None) -> None:
    """``InvalidValue`` unless a body is sent as what it is; a form gets the sentence that its sender needs."""
    if source != "body":
        return
    given = media_type(call.request)
    if given in ("application/x-www-form-urlencoded", "multipart/form-data"):
        raise InvalidValue(f"Content-Type must be application/octet-stream: curl's -d and -F send a form. {_CURL}")
    if given != "application/octet-stream":
        raise InvalidValue(f"Content-Type must be application/octet-stream, not {given or 'missing'}. {_CURL}")


def _is_base64(call: Call) -> bool:
    return call.request.headers.get("Content-Transfer-Encoding", "").strip().lower() == "base64"


def _known_size(call: Call, declared: int | None) -> int | None:
    """The size of the image, as far as it is known in advance; a declared 0 with data means nothing."""
    return declared or (None if _is_base64(call) else call.request.content_length)


async def check_size(call: Call, metadata: Metadata, owner: str | None) -> None:
    """Refuse what is known to be too much: ``InvalidValue`` (400) over the cap, ``LimitExceeded`` over the owner's quota."""
    size, limits = _known_size(call, metadata.fields.get("size")), call.service.limits
    if size is not None and size > limits.image_size:
        raise InvalidValue(f"Denying attempt to upload image larger than {limits.image_size} bytes.")
    await limits.room_for(call.service.registry, owner, size)


async def upload(call: Call, image: Image, store: str) -> Image:
    """Store the body as the image's bytes, which must have the size and checksum that were declared, now or before.

    ``PreconditionFailed`` (412) when the image is deleted meanwhile.
    """
    source = base64_decoded(stream(call.request)) if _is_base64(call) else stream(call.request)
    size = _known_size(call, image.size)
    wanted = uploads.Upload(source, UploadKind.V1, size=size, checksum=image.checksum, store=store)
    try:
        return await uploads.upload(call.service, image, wanted)
    except UploadLost as error:
        raise PreconditionFailed(error.message) from None
