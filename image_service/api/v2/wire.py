"""An :class:`Image` as the JSON object of API v2, and back (contract C.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from image_service.api.call import Call
from image_service.api.v2.schemas import BASE, READ_ONLY
from image_service.errors import Forbidden, ReservedAttribute
from image_service.model import Image, Member, Visibility

RESERVED = frozenset({"location", "deleted", "deleted_at", "locations"})


def time(value: datetime) -> str:
    """Whole seconds, UTC: ``2026-11-22T11:59:11Z``."""
    return value.isoformat(timespec="seconds") + "Z"


def image(call: Call, image: Image) -> dict[str, Any]:
    """The object of one image; custom properties stand first, at top level."""
    address = f"/v2/images/{image.id}"
    shown: dict[str, Any] = {
        **image.properties,
        "name": image.name,
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "visibility": image.visibility,
        "size": image.size,
        "virtual_size": image.virtual_size,
        "status": image.status,
        "checksum": image.checksum,
        "protected": image.protected,
        "min_ram": image.min_ram,
        "min_disk": image.min_disk,
        "owner": image.owner,
        "os_hidden": image.os_hidden,
        "os_hash_algo": image.os_hash_algo,
        "os_hash_value": image.os_hash_value,
        "id": image.id,
        "created_at": time(image.created_at),
        "updated_at": time(image.updated_at),
        "tags": image.tags,
        "self": address,
        "file": address + "/file",
        "schema": "/v2/schemas/image",
    }
    if image.locations:
        if call.settings.show_direct_url:
            shown["direct_url"] = image.locations[0].url
        if call.service.stores.named:
            shown["stores"] = ",".join(call.service.stores.for_location(place).name for place in image.locations)
    return shown


def require_settable(name: str) -> None:
    """``Forbidden`` for an attribute that clients cannot set."""
    if name in READ_ONLY:
        raise Forbidden(f"Attribute '{name}' is read-only.")
    if name in RESERVED or name.startswith("os_glance_"):
        raise ReservedAttribute(f"Attribute '{name}' is reserved.")


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


def member(member: Member) -> dict[str, str]:
    """The object of one member."""
    return {
        "member_id": member.member_id,
        "image_id": member.image_id,
        "status": member.status,
        "created_at": time(member.created_at),
        "updated_at": time(member.updated_at),
        "schema": "/v2/schemas/member",
    }
