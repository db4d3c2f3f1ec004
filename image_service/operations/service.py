"""What every operation works with: the registry, the stores and the settings, built once for a process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field

from oslo_config import cfg

from image_service.operations.quota import Limits
from image_service.registry.interface import Registry
from image_service.store.stores import Stores

LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class Service:
    """The domain's side of a process. ``upload_lease`` is in seconds."""

    registry: Registry
    stores: Stores
    limits: Limits
    disk_formats: tuple[str, ...]
    container_formats: tuple[str, ...]
    hashing_algorithm: str
    upload_lease: float
    delayed_delete: bool
    background: set[asyncio.Task[None]] = field(default_factory=set)

    @classmethod
    def from_config(cls, conf: cfg.ConfigOpts, registry: Registry, stores: Stores) -> Service:
        """Read the options once."""
        return cls(
            registry=registry,
            stores=stores,
            limits=Limits.from_config(conf),
            disk_formats=tuple(conf.image_format.disk_formats),
            container_formats=tuple(conf.image_format.container_formats),
            hashing_algorithm=conf.hashing_algorithm,
            upload_lease=conf.upload_lease,
            delayed_delete=conf.delayed_delete,
        )

    def spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        """Run ``work`` after the answer was sent; what it raises is logged, for nobody waits for it."""

        async def logged() -> None:
            try:
                await work
            except Exception:
                LOG.exception("%s failed", name)

        task = asyncio.create_task(logged(), name=name)
        self.background.add(task)
        task.add_done_callback(self.background.discard)

    async def drain(self) -> None:
        """Wait for background work to end."""
        if self.background:
            await asyncio.wait(self.background)
