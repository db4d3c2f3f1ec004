"""Which registry a process has: the database itself, or image-registry (``data_api``)."""

from __future__ import annotations

import contextlib

from oslo_config import cfg

from image_service.registry.interface import Registry


async def open_registry(conf: cfg.ConfigOpts, *, data_api: str | None = None) -> Registry:
    """A registry that works, for one process with an event loop.

    ``data_api`` replaces the option of that name (image-registry itself always has the database). Raises ``cfg.Error`` for a
    configuration that cannot work; ``RegistryUnavailable`` when the database does not answer in time, or has another schema.
    """
    if "registry" in (data_api or conf.data_api):  # also in Glance's long name
        from image_service.registry.client import RemoteRegistry

        return RemoteRegistry.from_config(conf)
    from image_service.registry.database import DatabaseRegistry
    from image_service.registry.engine import open_database

    registry = DatabaseRegistry(await open_database(conf.database))
    await registry.check()
    return registry


def preload(conf: cfg.ConfigOpts, *, data_api: str | None = None) -> None:
    """Import what :func:`open_registry` will need, so that processes forked afterwards share it."""
    if "registry" not in (data_api or conf.data_api):
        import image_service.registry.database  # noqa: F401 - for those who import it later
        from image_service.registry.engine import database_url

        with contextlib.suppress(ValueError):  # open_registry says what is wrong with it
            database_url(conf.database.connection or "").get_dialect().import_dbapi()
