"""What every operation works with: the options, the registry and the stores of a process, and what it does after an answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field

from oslo_config import cfg

from image_service.errors import ImageServiceError
from image_service.registry.interface import Registry
from image_service.store.stores import Stores

LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class Service:
    """The domain's side of a process."""

    conf: cfg.ConfigOpts
    registry: Registry
    stores: Stores
    background: set[asyncio.Task[None]] = field(default_factory=set)

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
