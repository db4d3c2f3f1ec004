"""An :class:`Image` as the JSON object of API v2, and back (contract C.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from operator import attrgetter
from typing import Any

from image_service.api.call import Call
from image_service.api.v2.schemas import BASE, READ_ONLY
from image_service.errors import Forbidden
from image_service.model import Image, Member, Visibility
from image_service.operations import policy

RESERVED = frozenset({"location", "deleted", "deleted_at", "locations"})
_OWN = RESERVED | READ_ONLY

_SHOWN = (
    "id", "name", "status", "visibility", "protected", "os_hidden", "owner", "size", "virtual_size", "checksum", "os_hash_algo",
    "os_hash_value", "disk_format", "container_format", "min_ram", "min_disk", "created_at", "updated_at", "tags",
)  # fmt: skip
_MEMBER_SHOWN = ("member_id", "image_id", "status", "created_at", "updated_at")
ADDED = READ_ONLY.difference(_SHOWN)
"""What an answer adds to an image."""
_shown, _member_shown = attrgetter(*_SHOWN), attrgetter(*_MEMBER_SHOWN)


def image(call: Call, image: Image) -> dict[str, Any]:
    """The object of one image; custom properties stand first, at top level. Those that API v1 took and whose names are the
    service's own are left out: they would look as if it said so.
    """
    address = f"/v2/images/{image.id}"
    shown: dict[str, Any] = {name: value for name, value in image.properties.items() if name not in _OWN}
    shown |= dict(zip(_SHOWN, _shown(image), strict=True))
    shown |= {"self": address, "file": f"{address}/file", "schema": "/v2/schemas/image"}
    if image.locations and not policy.is_shut_to(call.context, image):
        if call.conf.show_image_direct_url:
            shown["direct_url"] = image.locations[0].url
        if call.service.stores.named:
            shown["stores"] = ",".join(store.name for store, _ in call.service.stores.places(image.locations))
    return shown


def require_settable(name: str) -> None:
    """``Forbidden`` for an attribute that clients cannot set."""
    if name in READ_ONLY:
        raise Forbidden(f"Attribute '{name}' is read-only.")
    if name in RESERVED or name.startswith("os_glance"):
        raise Forbidden(f"Attribute '{name}' is reserved.")


def with_attributes(image: Image, attributes: Mapping[str, Any]) -> Image:
    """``image`` with what ``attributes`` (checked against the schema) say; names besides ``BASE`` are properties."""
    base = {name: value for name, value in attributes.items() if name in BASE}
    properties = {name: value for name, value in attributes.items() if name not in BASE}
    if base.get("owner") == "":
        base["owner"] = None
    if "tags" in base:
        base["tags"] = sorted(set(base["tags"]))
    if "visibility" in base:
        base["visibility"] = Visibility(base["visibility"])
    return replace(image, **base, properties=image.properties | properties)


def member(member: Member) -> dict[str, Any]:
    """The object of one member."""
    return dict(zip(_MEMBER_SHOWN, _member_shown(member), strict=True)) | {"schema": "/v2/schemas/member"}
