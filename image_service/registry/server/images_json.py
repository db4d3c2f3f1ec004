"""Images and members as the registry API writes and reads them (contract B.2, B.3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from image_service.api.parameters import integer
from image_service.errors import InvalidValue
from image_service.model import Image, Location, Status, Visibility, new_id
from image_service.registry.interface import ImageChange

_TEXTS = ("name", "owner", "disk_format", "container_format", "checksum")
_NUMBERS = ("size", "virtual_size", "min_disk", "min_ram")
_NEVER_NULL = ("min_disk", "min_ram")


# -- out --
# --------


def brief(image: Image) -> dict[str, Any]:
    """The six keys of the index."""
    return {name: getattr(image, name) for name in ("id", "name", "size", "disk_format", "container_format", "checksum")}


def full(image: Image) -> dict[str, Any]:
    """All twenty keys."""
    locations = [{"url": at.url, "metadata": at.metadata, "status": at.status, "id": at.id} for at in image.locations]
    return {
        **brief(image),
        "status": image.status,
        "virtual_size": image.virtual_size,
        "min_disk": image.min_disk,
        "min_ram": image.min_ram,
        "is_public": image.visibility is Visibility.PUBLIC,
        "protected": image.protected,
        "owner": image.owner,
        "properties": image.properties,
        "location": next((at.url for at in image.locations if at.status == "active"), None),
        "location_data": locations,
        "created_at": _time(image.created_at),
        "updated_at": _time(image.updated_at),
        "deleted_at": _time(image.deleted_at),
        "deleted": image.deleted,
    }


def _time(value: datetime | None) -> str | None:
    return value.isoformat(timespec="microseconds") if value else None


# -- in --
# --------


@dataclass(slots=True)
class Given:
    """What a body says about an image.

    ``is_public``, ``properties``, ``locations``: None where it does not say.
    """

    id: str | None = None
    columns: dict[str, str | int | bool | None] = field(default_factory=dict)
    is_public: bool | None = None
    properties: dict[str, str | None] | None = None
    locations: list[Location] | None = None


def read(body: Any) -> Given:
    """``{"image": {...}}``. Unknown keys are ignored; ``InvalidValue`` for what cannot be kept."""
    image = body.get("image") if isinstance(body, dict) else None
    if not isinstance(image, dict):
        raise InvalidValue('The body must be {"image": {...}}.')
    given = Given(id=_id(image), properties=_properties(image), locations=_locations(image))
    given.columns |= {name: _text(image, name) for name in _TEXTS if name in image}
    given.columns |= {name: _integer(image, name) for name in _NUMBERS if name in image}
    if "protected" in image:
        given.columns["protected"] = bool(image["protected"])
    if "status" in image:
        given.columns["status"] = _status(image["status"])
    if "is_public" in image:
        given.is_public = bool(image["is_public"])
    return given


def new_image(given: Given) -> Image:
    """The image of a POST: ``active`` unless it says otherwise, ``shared`` unless public."""
    fields: dict[str, Any] = {"status": Status.ACTIVE, **given.columns}
    return Image(
        id=given.id or new_id(),
        visibility=Visibility.PUBLIC if given.is_public else Visibility.SHARED,
        properties=given.properties or {},
        locations=given.locations or [],
        **fields,
    )


def change(given: Given, image: Image, *, purge: bool) -> ImageChange:
    """The change of a PUT.

    ``is_public: false`` takes back public, and says nothing to the other visibilities.
    """
    values = dict(given.columns)
    if given.is_public:
        values["visibility"] = Visibility.PUBLIC
    elif given.is_public is False and image.visibility is Visibility.PUBLIC:
        values["visibility"] = Visibility.SHARED
    return ImageChange(values=values, set_properties=given.properties or {}, purge_properties=purge, locations=given.locations)


def from_state(body: dict[str, Any]) -> list[Status] | None:
    """The status that must hold. One that does not exist never holds."""
    state = body.get("from_state")
    if state is None:
        return None
    return [Status(state)] if state in list(Status) else []


def memberships(body: Any) -> dict[str, bool | None]:
    """``{"memberships":

    [{"member_id": ..., "can_share": ...}]}``: member -> can_share, None where it does not say.
    """
    listed = body.get("memberships") if isinstance(body, dict) else None
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise InvalidValue("Invalid membership association: 'memberships' must be a list of objects.")
    if not all(isinstance(each.get("member_id"), str) and each["member_id"] for each in listed):
        raise InvalidValue("Invalid membership association: 'member_id'")
    return {each["member_id"]: bool(each["can_share"]) if "can_share" in each else None for each in listed}


def can_share(body: Any) -> bool:
    """``{"member": {"can_share": ...}}``, any JSON truth."""
    member = body.get("member") if isinstance(body, dict) else None
    if not isinstance(member, dict) or "can_share" not in member:
        raise InvalidValue("Invalid membership association: 'can_share'")
    return bool(member["can_share"])


def _id(image: dict[str, Any]) -> str | None:
    found = image.get("id")
    if found is None:
        return None
    try:
        UUID(found)
    except (ValueError, AttributeError, TypeError):
        raise InvalidValue("Invalid image id format") from None
    return str(found)


def _text(image: dict[str, Any], name: str) -> str | None:
    value = image[name]
    if isinstance(value, dict | list):
        raise InvalidValue(f"{name} must be text.")
    return None if value is None else str(value)


def _integer(image: dict[str, Any], name: str) -> int | None:
    try:
        if image[name] is None:
            return 0 if name in _NEVER_NULL else None
        return integer(name, str(int(image[name])))
    except (ValueError, TypeError, OverflowError):
        raise InvalidValue(f"{name} must be an integer.") from None


def _status(value: Any) -> Status:
    if value not in list(Status):
        raise InvalidValue(f"Invalid image status '{value}' for image.")
    return Status(value)


def _properties(image: dict[str, Any]) -> dict[str, str | None] | None:
    given = image.get("properties")
    if given is None:
        return None
    if not isinstance(given, dict):
        raise InvalidValue("properties must be an object.")
    return {name: _text(given, name) for name in given}


def _locations(image: dict[str, Any]) -> list[Location] | None:
    """From ``location_data`` (objects), ``locations`` (URLs or objects), or ``location`` (one URL)."""
    listed = image.get("location_data", image.get("locations"))
    if listed is None:
        if "location" not in image:
            return None
        listed = [image["location"]] if image["location"] else []
    if not isinstance(listed, list):
        raise InvalidValue("location_data must be a list.")
    return [_location(each) for each in listed]


def _location(each: Any) -> Location:
    if isinstance(each, str):
        return Location(each)
    if not isinstance(each, dict) or not isinstance(each.get("url"), str):
        raise InvalidValue("A location is an object with a url.")
    metadata = each.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise InvalidValue("The metadata of a location is an object.")
    return Location(each["url"], metadata, str(each.get("status") or "active"))
