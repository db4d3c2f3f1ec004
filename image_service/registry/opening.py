"""Which registry a process has: the database itself, or image-registry (``data_api``)."""

from __future__ import annotations

import contextlib

from oslo_config import cfg

from image_service.config import asks_registry
from image_service.registry.interface import Registry


async def open_registry(conf: cfg.ConfigOpts) -> Registry:
    """A registry that works, for one process with an event loop.

    Raises ``cfg.Error`` for a configuration that cannot work; ``RegistryUnavailable`` when the database does not answer in time,
    or has another schema.
    """
    if asks_registry(conf):
        from image_service.registry.client import RemoteRegistry

        return RemoteRegistry.from_config(conf)
    from image_service.registry.database import DatabaseRegistry
    from image_service.registry.engine import open_database

    registry = DatabaseRegistry(await open_database(conf.database))
    await registry.check()
    return registry


def preload(conf: cfg.ConfigOpts) -> None:
    """Import what :func:`open_registry` will need, so that processes forked afterwards share it."""
    if not asks_registry(conf):
        import image_service.registry.database  # noqa: F401 - for those who import it later
        from image_service.registry.engine import database_url

        with contextlib.suppress(ValueError):  # open_registry says what is wrong with it
            database_url(conf.database.connection or "").get_dialect().import_dbapi()
