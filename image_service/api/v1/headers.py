"""``x-image-meta-*`` headers to what a request says of an image, and an :class:`Image` to headers and JSON (contract A.3-6)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aiohttp import web

from image_service.api.parameters import whole
from image_service.errors import InvalidValue
from image_service.model import MAX_BIG_INTEGER, Image, Status, Visibility

_PREFIX = "x-image-meta-"
_PROPERTY = "property-"
# Glance's server writes names so, and scripts look for them so.
_SHOWN, _SHOWN_PROPERTY = "X-Image-Meta-", "X-Image-Meta-Property-"
_TOKEN = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)  # RFC 9110 5.6.2
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TEXTS = ("id", "name", "location", "disk_format", "container_format", "status", "copy_from", "checksum", "owner", "store")
_NUMBERS = {"size": "image size", "min_ram": "image min_ram", "min_disk": "image min_disk"}
_FLAGS = ("is_public", "protected", "deleted")
_IGNORED = ("uri", "created_at", "updated_at", "deleted_at")
# Bytes of properties in an answer's header: more than roles/image_proxy lets through in a request's (1 MiB), less than it takes
# in an answer's. A proxy that finds more may hold the host to be broken.
_MOST_SHOWN = 1_280 << 10
_TRUE = frozenset({"1", "t", "true", "on", "y", "yes"})


@dataclass(slots=True)
class Metadata:
    """What a request says: ``fields`` under the names of the headers, and custom properties. What is not said is not there; an
    empty text is None.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    properties: dict[str, str | None] = field(default_factory=dict)
    purge_properties: bool = True


def is_true(text: str) -> bool:
    """The words for true, in any case; everything else is false, also ``None``, which glanceclient really sends."""
    return text.strip().lower() in _TRUE


def parse(request: web.BaseRequest) -> Metadata:
    """The metadata of a POST or PUT. ``InvalidValue`` for a header that is not known, not UTF-8, or has no good value.

    To WSGI, and so to Glance, dashes and underscores of names are the same, and a header that is given twice is one with a comma.
    """
    given: dict[str, list[str]] = {}
    for name, value in request.headers.items():
        key = name.lower().replace("_", "-")
        if key.startswith(_PREFIX):
            given.setdefault(key, []).append(value.strip())
    found = Metadata(purge_properties=is_true(request.headers.get("x-glance-registry-purge-props", "true")))
    if (source := request.headers.get("x-glance-api-copy-from")) is not None:
        found.fields["copy_from"] = _utf8("x-glance-api-copy-from", source.strip()) or None
    for header, values in given.items():
        _take(found, header, _utf8(header, ",".join(values)))
    _complete_formats(found)
    return found


def _take(found: Metadata, header: str, value: str) -> None:
    name = header.removeprefix(_PREFIX)
    if name.startswith(_PROPERTY):
        found.properties[name[len(_PROPERTY) :].replace("-", "_")] = value or None
        return
    name = name.replace("-", "_")
    if name in _TEXTS:
        found.fields[name] = value or None
    elif name in _FLAGS:
        found.fields[name] = is_true(value)
    elif name in _NUMBERS:
        found.fields |= {name: _number(_NUMBERS[name], value)} if value else {}
    elif name not in _IGNORED:
        raise InvalidValue(f"Bad header: {header}. Custom properties are sent as {_PREFIX}{_PROPERTY}NAME.")


def _utf8(header: str, value: str) -> str:
    """``value`` when its bytes were UTF-8: the server keeps other bytes as lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidValue(f"The value of {header} is not UTF-8.") from None
    return value


def _number(label: str, value: str) -> int:
    try:
        number = whole(value)
    except ValueError:
        raise InvalidValue(f"Cannot convert {label} '{value}' to an integer.") from None
    if number < 0:
        raise InvalidValue(f"{label.capitalize()} must be >= 0 ('{value}' specified).")
    if number > MAX_BIG_INTEGER:
        raise InvalidValue(f"{label.capitalize()} must be <= {MAX_BIG_INTEGER} ('{value}' specified).")
    return number


def _complete_formats(found: Metadata) -> None:
    """Of ami, ari and aki one format says the other; an empty format is none."""
    fields = found.fields
    for name, other in (("disk_format", "container_format"), ("container_format", "disk_format")):
        if name in fields and fields[name] is None:
            raise InvalidValue(f"Invalid {name.replace('_', ' ')} 'None' for image: the header is empty.")
        if fields.get(other) in ("ami", "ari", "aki"):
            fields.setdefault(name, fields[other])


# -- answers --


def time(value: datetime | None) -> str | None:
    """Naive UTC with six decimals: ``2014-10-27T09:34:01.000000``."""
    return value.isoformat(timespec="microseconds") if value else None


_BRIEF = ("id", "name", "disk_format", "container_format", "checksum")
_FULL = (*_BRIEF, "status", "min_disk", "min_ram", "protected", "owner", "properties")


def brief(image: Image) -> dict[str, Any]:
    """The six keys of the index."""
    return {name: getattr(image, name) for name in _BRIEF} | {"size": image.size or 0}


def full(image: Image) -> dict[str, Any]:
    """The eighteen keys of an image; locations are never among them."""
    return {name: getattr(image, name) for name in _FULL} | {
        "size": image.size or 0,
        "virtual_size": None,
        "is_public": image.visibility is Visibility.PUBLIC,
        "deleted": image.deleted or image.status is Status.PENDING_DELETE,
        "created_at": time(image.created_at),
        "updated_at": time(image.updated_at),
        "deleted_at": time(image.deleted_at),
    }


def answer_headers(image: Image) -> dict[str, str]:
    """The headers of HEAD and GET: all that is not null, booleans as words, text as it is, names capitalised at each dash.

    API v2 takes any text: a control character is told as a space, and a property is left out whose name cannot be a header's, or
    for which there is no room any more.
    """
    shown = full(image)
    properties = shown.pop("properties")
    headers = {_SHOWN + name.capitalize(): str(value) for name, value in shown.items() if value is not None}
    room = _MOST_SHOWN
    for name, value in properties.items():
        size = len(_SHOWN_PROPERTY) + len(name) + len((value or "").encode()) + 4  # ": ", and the end of the line
        if value is not None and size <= room and _TOKEN.fullmatch(name):
            room -= size
            headers[_SHOWN_PROPERTY + "-".join(map(str.capitalize, name.split("-")))] = value
    return {name: _CONTROL.sub(" ", value) for name, value in headers.items()} | etag(image)


def etag(image: Image) -> dict[str, str]:
    """``ETag``: the checksum without quotes, as v1 has it; absent without a checksum."""
    return {"Etag": image.checksum} if image.checksum else {}
