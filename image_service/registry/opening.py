"""Which registry a process has: the database itself, or image-registry (``data_api``)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from oslo_config import cfg

from image_service.errors import RegistryUnavailable
from image_service.registry.interface import Registry

if TYPE_CHECKING:
    from image_service.registry.database import DatabaseRegistry

LOG = logging.getLogger(__name__)


async def open_registry(conf: cfg.ConfigOpts, *, data_api: str | None = None) -> Registry:
    """A registry that works, for one process with an event loop.

    ``data_api`` replaces the option of that name (image-registry itself always has the database). Raises ``cfg.Error`` for a
    configuration that cannot work; ``RegistryUnavailable`` when the database does not answer in time, or has another schema.
    """
    if (data_api or conf.data_api) == "registry":
        from image_service.registry.client import RemoteRegistry

        return RemoteRegistry.from_config(conf)
    from image_service.registry.database import DatabaseRegistry
    from image_service.registry.engine import Database

    try:
        registry = DatabaseRegistry(Database.from_config(conf.database))
    except ValueError as error:
        raise cfg.Error(str(error)) from error
    await _connect(registry, conf.database.max_retries, conf.database.retry_interval)
    await registry.check()
    return registry


async def _connect(registry: DatabaseRegistry, retries: int, pause: float) -> None:
    """Wait for a database that starts together with us: ``retries`` more tries (-1: for ever), ``pause`` seconds apart."""
    tried = 0
    while words := await registry.refusal():
        if 0 <= retries <= tried:
            raise RegistryUnavailable(words)
        tried += 1
        LOG.warning("%s Try %d follows in %d s", words, tried, pause)
        await asyncio.sleep(pause)


def preload(conf: cfg.ConfigOpts, *, data_api: str | None = None) -> None:
    """Import what :func:`open_registry` will need, so that processes forked afterwards share it."""
    if (data_api or conf.data_api) != "registry":
        from image_service.registry.engine import database_url

        with contextlib.suppress(ValueError):  # open_registry says what is wrong with it
            database_url(conf.database.connection or "").get_dialect().import_dbapi()
