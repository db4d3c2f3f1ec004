"""What every operation works with: the registry, the stores and the settings, built once for a process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine

from oslo_config import cfg

from image_service.errors import ImageServiceError
from image_service.operations.quota import Limits
from image_service.registry.interface import Registry
from image_service.store.stores import Stores

LOG = logging.getLogger(__name__)


class Service:
    """The domain's side of a process; the options are read once. ``upload_lease`` is in seconds."""

    def __init__(self, conf: cfg.ConfigOpts, registry: Registry, stores: Stores) -> None:
        self.registry = registry
        self.stores = stores
        self.limits = Limits(conf)
        self.disk_formats: list[str] = conf.image_format.disk_formats
        self.container_formats: list[str] = conf.image_format.container_formats
        self.hashing_algorithm: str = conf.hashing_algorithm
        self.upload_lease: float = conf.upload_lease
        self.delayed_delete: bool = conf.delayed_delete
        self.show_direct_url: bool = conf.show_image_direct_url
        self.background: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[None, None, object], name: str) -> asyncio.Task[None]:
        """Run ``work`` after the answer was sent; what it raises is logged, for nobody need wait for it."""

        async def logged() -> None:
            try:
                await work
            except ImageServiceError as error:
                LOG.warning("%s failed: %s", name, error.message)
            except Exception:
                LOG.exception("%s failed", name)

        task = asyncio.create_task(logged(), name=name)
        self.background.add(task)
        task.add_done_callback(self.background.discard)
        return task

    async def drain(self) -> None:
        """Wait for background work to end."""
        if self.background:
            await asyncio.wait(self.background)
