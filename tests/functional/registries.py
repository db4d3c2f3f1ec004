"""The four places a registry can be in: {SQLite, MariaDB} x {in this process, behind a real image-registry application}."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass

from image_service.registry import schema
from image_service.registry.database import DatabaseRegistry
from image_service.registry.engine import Database
from image_service.registry.interface import Registry
from image_service.registry.tables import METADATA

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
        try:
            yield registry
        finally:
            await registry.close()

    def empty(self) -> None:
        """Remove every row."""
        database = Database(self.url)
        with database.engine.connect() as connection:
            for table in reversed(METADATA.sorted_tables):
                connection.execute(table.delete())
        database.close()


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
