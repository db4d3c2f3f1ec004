"""Limits on images: what one may carry, what one owner may store (contract C.21). Over one is always ``LimitExceeded`` (413)."""

from __future__ import annotations

import re

from oslo_config import cfg

from image_service.errors import LimitExceeded, require_count
from image_service.registry.interface import Registry

_UNITS = ("B", "KB", "MB", "GB", "TB")


def parse_bytes(text: str) -> int:
    """``10GB`` -> 10737418240. Units B, KB, MB, GB, TB (powers of 1024). ``ValueError`` for anything else."""
    match = re.fullmatch(r"\s*(\d+)\s*([KMGT]?B)?\s*", text, re.IGNORECASE)
    if match is None:
        raise ValueError(f"{text!r} is no number of bytes: give digits and one of B, KB, MB, GB, TB, such as 10GB")
    return int(match[1]) << 10 * _UNITS.index((match[2] or "B").upper())


class Limits:
    """The configured limits, read once; a negative count means no limit, ``storage`` 0 as well.

    ``cfg.Error`` for a ``user_storage_quota`` that is no number of bytes.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self.image_size: int = conf.image_size_cap
        try:
            self.storage = parse_bytes(conf.user_storage_quota)
        except ValueError as error:
            raise cfg.Error(f"user_storage_quota: {error}.") from error
        self.counts: dict[str, int] = {
            "properties": conf.image_property_quota,
            "tags": conf.image_tag_quota,
            "members": conf.image_member_quota,
        }

    def check_count(self, what: str, count: int) -> None:
        """``count`` properties, tags or members of one image."""
        require_count(what, count, self.counts[what])

    async def room_for(self, registry: Registry, owner: str | None, size: int | None) -> int:
        """How many bytes an upload of ``owner`` may have; ``LimitExceeded`` when ``size`` (declared) is more than that."""
        if size is not None and size > self.image_size:
            raise LimitExceeded(f"Denying attempt to upload image larger than {self.image_size} bytes.")
        if self.storage <= 0:
            return self.image_size
        return min(self.image_size, await self.require_storage(registry, owner, size or 1))

    async def require_storage(self, registry: Registry, owner: str | None, wanted: int) -> int:
        """What ``owner`` may still store beside all that he has or is storing now: at least ``wanted`` bytes."""
        left = self.storage - await registry.storage_used(owner)
        if left < wanted:
            raise LimitExceeded(
                f"The owner's storage quota of {self.storage} bytes has {max(left, 0)} left: delete images or ask for more."
            )
        return left
