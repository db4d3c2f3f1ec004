"""Limits on images: what one may carry, what one owner may store (contract C.21). Over a limit is always ``LimitExceeded``
(413).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from oslo_config import cfg

from image_service.errors import LimitExceeded
from image_service.registry.interface import Registry

_UNITS = {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}


def parse_bytes(text: str) -> int:
    """``10GB`` -> 10737418240. Units B, KB, MB, GB, TB (powers of 1024). ``ValueError`` for anything else."""
    match = re.fullmatch(r"\s*(\d+)\s*([KMGT]?B?)\s*", text, re.IGNORECASE)
    if match is None or match[2].upper() not in _UNITS:
        raise ValueError(f"{text!r} is no number of bytes: give digits and one of B, KB, MB, GB, TB, such as 10GB")
    return int(match[1]) * _UNITS[match[2].upper()]


@dataclass(frozen=True, slots=True)
class Limits:
    """The configured limits; a negative count means no limit, ``storage`` 0 as well."""

    image_size: int
    properties: int
    tags: int
    members: int
    storage: int

    @classmethod
    def from_config(cls, conf: cfg.ConfigOpts) -> Limits:
        """Read the options once; ``ValueError`` for a ``user_storage_quota`` that is no number of bytes."""
        return cls(
            image_size=conf.image_size_cap,
            properties=conf.image_property_quota,
            tags=conf.image_tag_quota,
            members=conf.image_member_quota,
            storage=parse_bytes(conf.user_storage_quota),
        )

    def check_properties(self, count: int) -> None:
        """``count`` properties on one image."""
        _check("properties", count, self.properties)

    def check_tags(self, count: int) -> None:
        """``count`` tags on one image."""
        _check("tags", count, self.tags)

    def check_members(self, count: int) -> None:
        """``count`` members of one image."""
        _check("members", count, self.members)

    def check_size(self, size: int | None) -> None:
        """A declared size in bytes."""
        if size is not None and size > self.image_size:
            raise LimitExceeded(f"Denying attempt to upload image larger than {self.image_size} bytes.")

    async def room_for(self, registry: Registry, owner: str | None, size: int | None) -> int:
        """How many bytes an upload of ``owner`` may have; ``LimitExceeded`` when ``size`` (declared) is more than that."""
        self.check_size(size)
        if self.storage <= 0:
            return self.image_size
        left = self.storage - await registry.storage_used(owner)
        if left <= 0 or (size is not None and size > left):
            raise self._over_storage(left)
        return min(self.image_size, left)

    async def check_storage(self, registry: Registry, owner: str | None) -> None:
        """All that ``owner`` has or is storing now, this upload with its size among it."""
        left = self.storage - await registry.storage_used(owner) if self.storage > 0 else 0
        if left < 0:
            raise self._over_storage(left)

    def _over_storage(self, left: int) -> LimitExceeded:
        return LimitExceeded(
            f"The owner's storage quota of {self.storage} bytes has {max(left, 0)} left: delete images or ask for more."
        )


def _check(what: str, count: int, limit: int) -> None:
    if 0 <= limit < count:
        raise LimitExceeded(
            f"The limit has been exceeded on the number of allowed image {what}. Attempted: {count}, Maximum: {limit}."
        )
