"""Limits on images: what one may carry, what one owner may store (contract C.21). Over one is always ``LimitExceeded`` (413)."""

from __future__ import annotations

from oslo_config import cfg

from image_service.errors import LimitExceeded
from image_service.operations.service import Service
from image_service.registry.interface import require_count

_OPTIONS = {"properties": "image_property_quota", "tags": "image_tag_quota", "members": "image_member_quota"}


def most(conf: cfg.ConfigOpts, what: str) -> int:
    """How many properties, tags or members an image may have; negative: any number, as in image-registry."""
    option = _OPTIONS[what]
    return int(conf[option]) if option in conf else -1


def check_count(conf: cfg.ConfigOpts, what: str, count: int) -> None:
    """``count`` properties, tags or members of one image."""
    require_count(what, count, most(conf, what))


async def room_for(service: Service, owner: str | None, size: int | None) -> int:
    """How many bytes an upload of ``owner`` may have; ``LimitExceeded`` when ``size`` (declared) is more than that."""
    cap: int = service.conf.image_size_cap
    if size is not None and size > cap:
        raise LimitExceeded(f"Denying attempt to upload image larger than {cap} bytes.")
    if service.conf.user_storage_quota <= 0:
        return cap
    return min(cap, await require_storage(service, owner, size or 1))


async def require_storage(service: Service, owner: str | None, wanted: int) -> int:
    """What ``owner`` may still store beside all that he has or is storing now: at least ``wanted`` bytes."""
    quota: int = service.conf.user_storage_quota
    left = quota - await service.registry.storage_used(owner)
    if left < wanted:
        raise LimitExceeded(f"The owner's storage quota of {quota} bytes has {max(left, 0)} left: delete images or ask for more.")
    return left
