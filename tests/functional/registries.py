"""The four places a registry can be in: {SQLite, MariaDB} x {in this process, behind a real image-registry application}."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from image_service import config
from image_service.model import Image, Location, Status, UploadKind, UploadLease, Visibility, new_id
from image_service.registry import schema
from image_service.registry.client import RemoteRegistry
from image_service.registry.database import DatabaseRegistry
from image_service.registry.engine import Database
from image_service.registry.interface import ImageChange, ImageQuery, Registry
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
        registry = DatabaseRegistry(Database(self.url))
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
async def served(registry: Registry, flavor: str = "", tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
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
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        try:
            host, port = runner.addresses[0][:2]
            yield f"{'https' if tls else 'http'}://{host}:{port}"
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


# -- what is put into them -----------------------------------------------------------------------------


def rich_image() -> Image:
    """An image with a value in every field."""
    return Image(
        id=new_id(),
        status=Status.ACTIVE,
        visibility=Visibility.COMMUNITY,
        name="Zürich 🏔",
        owner="p1",
        disk_format="qcow2",
        container_format="bare",
        size=5 * 2**40,
        virtual_size=6 * 2**40,
        checksum="d41d8cd98f00b204e9800998ecf8427e",
        os_hash_algo="sha512",
        os_hash_value="a" * 128,
        min_disk=2**31 - 1,
        min_ram=7,
        protected=True,
        os_hidden=True,
        properties={"empty": "", "null": None, "long": "ü" * 32768},
        tags=["b", "a", "a b"],
        locations=[Location("file:///b", {"n": [1, None]}), Location("file:///a", status="pending_delete")],
    )


async def add(registry: Registry, count: int = 1, **fields: Any) -> list[str]:
    """Register some images, one after the other; their ids in that order."""
    return [(await registry.create_image(Image(id=new_id(), **fields))).id for _ in range(count)]


async def ids(registry: Registry, **query: Any) -> list[str]:
    """The ids of a page."""
    return [image.id for image in await registry.list_images(ImageQuery(**query))]


async def names(registry: Registry, **query: Any) -> list[str]:
    """The names of a page, sorted."""
    images = await registry.list_images(ImageQuery(**query))
    return sorted(image.name or "" for image in images)


def lease_of(image_id: str, kind: UploadKind = UploadKind.V2) -> UploadLease:
    """A fresh right to write an image."""
    return UploadLease(image_id, new_id(), kind, "file")


DONE = ImageChange(values={"status": Status.ACTIVE, "size": 3}, locations=[Location("file:///x")])
