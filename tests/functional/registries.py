"""The four places a registry can be in: {SQLite, MariaDB} x {in this process, behind a real image-registry application}."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from image_service import config
from image_service.registry import schema
from image_service.registry.client import RemoteRegistry
from image_service.registry.database import DatabaseRegistry
from image_service.registry.engine import Database
from image_service.registry.interface import Registry
from image_service.registry.server.app import make_registry_app
from image_service.registry.tables import METADATA

SECRET = "5e" * 32
PLACES = ("sqlite", "mariadb", "remote-sqlite", "remote-mariadb")


@dataclass(frozen=True)
class Place:
    """Where one kind of registry is; ``url`` is its database's, migrated."""

    kind: str
    url: str

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Registry]:
        """The registry, for the running loop."""
        registry = DatabaseRegistry(self.url)
        if not self.kind.startswith("remote"):
            try:
                yield registry
            finally:
                await registry.aclose()
            return
        async with served(registry) as address:
            remote = RemoteRegistry(address, SECRET, deadline=60)
            try:
                yield remote
            finally:
                await remote.aclose()

    def empty(self) -> None:
        """Remove every row."""
        database = Database(self.url)
        with database.engine.connect() as connection:
            for table in reversed(METADATA.sorted_tables):
                connection.execute(table.delete())
        database.close()


@asynccontextmanager
async def served(registry: Registry, flavor: str = "") -> AsyncIterator[str]:
    """Address of an image-registry application on a real socket, which owns ``registry``."""
    with tempfile.TemporaryDirectory() as folder:
        secret = Path(folder) / "secret"
        secret.write_text(SECRET)
        secret.chmod(0o600)
        conf = config.load("glance-registry", [], [])
        conf.set_override("secret_file", str(secret), group="registry_link")
        conf.set_override("flavor", flavor, group="paste_deploy")
        runner = web.AppRunner(make_registry_app(conf, registry))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            host, port = runner.addresses[0][:2]
            yield f"http://{host}:{port}"
        finally:
            await runner.cleanup()


def migrated(url: str) -> str:
    """``url`` with the newest schema."""
    database = Database(url)
    schema.sync(database)
    database.close()
    return url


def with_registry(test: Callable[[Registry], Coroutine[None, None, None]]) -> Callable[[Place], None]:
    """Run ``test`` with an open, empty registry of each kind."""

    def run(place: Place) -> None:
        async def body() -> None:
            async with place.open() as registry:
                await test(registry)

        asyncio.run(body())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run
