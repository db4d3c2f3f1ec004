"""Images and members as the registry API writes and reads them (contract B.2, B.3)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from image_service.api.parameters import integer
from image_service.api.v1 import headers
from image_service.errors import InvalidValue
from image_service.model import Image, Location, Status, Visibility
from image_service.operations.images import require_uuid
from image_service.registry.interface import ImageChange

_ENTITY_TAG = re.compile(r"[!#-~]*")

# -- out --


def brief(image: Image) -> dict[str, Any]:
    """The six keys of the index."""
    return {**headers.brief(image), "size": image.size}


def full(image: Image) -> dict[str, Any]:
    """All twenty keys."""
    return {
        **headers.full(image),
        "size": image.size,
        "virtual_size": image.virtual_size,
        "deleted": image.deleted,
        "location": next((at.url for at in image.locations if at.status == "active"), None),
        "location_data": [{"url": at.url, "metadata": at.metadata, "status": at.status, "id": at.id} for at in image.locations],
    }


# -- in --


def read(body: Any) -> tuple[str | None, ImageChange]:
    """What ``{"image": {...}}`` says: an id, and what the image is to be like; a visibility is public or shared.

    Unknown keys are ignored; ``InvalidValue`` for what cannot be kept.
    """
    given = _object(body, "image")
    values = {name: take(name, given[name]) for name, take in _VALUES.items() if name in given}
    if "is_public" in given:
        values["visibility"] = Visibility.PUBLIC if given["is_public"] else Visibility.SHARED
    properties = _dict("properties", given.get("properties"))
    texts = {name: _text(name, value) for name, value in properties.items()}
    image_id = _text("id", given.get("id"))
    if image_id is not None:
        require_uuid(image_id)
    return image_id, ImageChange(values, set_properties=texts, locations=_locations(given))


def from_state(body: dict[str, Any]) -> list[Status] | None:
    """The status that must hold. One that does not exist never holds."""
    state = body.get("from_state")
    return None if not state else [status for status in Status if status == state]


def can_share(body: Any) -> bool:
    """``{"member": {"can_share": ...}}``, any JSON truth."""
    member = _object(body, "member")
    if "can_share" not in member:
        raise InvalidValue("Invalid membership association: 'can_share'")
    return bool(member["can_share"])


def _object(body: Any, name: str) -> dict[str, Any]:
    found = body.get(name) if isinstance(body, dict) else None
    if not isinstance(found, dict):
        raise InvalidValue(f'The body must be {{"{name}": {{...}}}}.')
    return found


def _text(name: str, value: Any) -> str | None:
    if isinstance(value, dict | list):
        raise InvalidValue(f"{name} must be text.")
    return None if value is None else str(value)


def _checksum(name: str, value: Any) -> str | None:
    """Text that can stand in an ``ETag`` (RFC 9110 8.8.3): answers with the image have it there."""
    text = _text(name, value)
    if text is not None and not _ENTITY_TAG.fullmatch(text):
        raise InvalidValue(f"{name} must be printable ASCII without quotation marks.")
    return text


def _number(name: str, value: Any) -> int | None:
    try:
        return None if value is None else integer(name, str(int(value)))
    except (ValueError, TypeError, OverflowError):
        raise InvalidValue(f"{name} must be an integer.") from None


def _status(_name: str, value: Any) -> Status:
    if value not in list(Status):
        raise InvalidValue(f"Invalid image status '{value}' for image.")
    return Status(value)


_VALUES: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("name", "owner", "disk_format", "container_format"), _text),
    "checksum": _checksum,
    **dict.fromkeys(("size", "virtual_size"), _number),
    **dict.fromkeys(("min_disk", "min_ram"), lambda name, value: _number(name, 0 if value is None else value)),
    "protected": lambda _name, value: bool(value),
    "status": _status,
}
"""Columns, and how each is read."""


def _dict(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict | None):
        raise InvalidValue(f"{name} must be an object.")
    return value or {}


def _locations(image: dict[str, Any]) -> list[Location] | None:
    """From ``location_data`` (objects), ``locations`` (URLs or objects), or ``location`` (one URL)."""
    listed = image.get("location_data", image.get("locations"))
    if listed is None:
        if "location" not in image:
            return None
        listed = [image["location"]] if image["location"] else []
    if not isinstance(listed, list):
        raise InvalidValue("location_data must be a list.")
    return [_location({"url": each} if isinstance(each, str) else each) for each in listed]


def _location(each: Any) -> Location:
    if not isinstance(each, dict) or not isinstance(each.get("url"), str):
        raise InvalidValue("A location is an object with a url.")
    metadata = _dict("The metadata of a location", each.get("metadata") or None)
    return Location(each["url"], metadata, str(each.get("status") or "active"))
