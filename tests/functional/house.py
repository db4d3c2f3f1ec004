"""A registry and a file store for tests of what crashes leave."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from image_service.model import Image, Location, Status, UploadKind, UploadLease, new_id
from image_service.registry.database import DatabaseRegistry
from image_service.registry.engine import Database
from image_service.registry.interface import ImageChange
from image_service.store.filesystem import FilesystemStore
from image_service.store.interface import StoreWriter
from image_service.store.stores import Stores
from tests.unit.store_conformance import granted

DATA = os.urandom(300_000)
OLD = 3600.0


@dataclass
class House:
    """A registry and one file store in ``folder``, and how to get them into every state that a crash can leave."""

    folder: Path
    url: str

    @property
    def images(self) -> Path:
        return self.folder / "images"

    def files(self) -> set[str]:
        return set(os.listdir(self.images))

    def age(self, seconds: float = OLD) -> None:
        """Make every file look as old as that."""
        moment = time.time() - seconds
        for name in self.files():
            os.utime(self.images / name, (moment, moment))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Rooms]:
        registry = DatabaseRegistry(Database(self.url))
        store = FilesystemStore("file", [(self.images, 0)])
        try:
            yield Rooms(registry, Stores([store], "file"), store)
        finally:
            await registry.aclose()
            await store.close()

    def run(self, work: Callable[[Rooms], Awaitable[None]]) -> None:
        async def body() -> None:
            async with self.open() as rooms:
                await work(rooms)

        asyncio.run(body())


@dataclass
class Rooms:
    registry: DatabaseRegistry
    stores: Stores
    store: FilesystemStore

    async def queued(self, kind: UploadKind = UploadKind.V2) -> UploadLease:
        """A new image with a lease on it, as an upload takes it; its size is the declared one."""
        image = Image(new_id(), disk_format="raw", container_format="bare", size=len(DATA), checksum="0" * 32)
        await self.registry.create_image(image)
        lease = UploadLease(image.id, new_id(), kind, "file")
        await self.registry.begin_upload(lease, from_status={Status.QUEUED})
        return lease

    async def half(self, lease: UploadLease) -> StoreWriter:
        """Half of the bytes in the part file."""
        writer = await self.store.begin(lease.image_id, lease.upload_id, None)
        await writer.write(DATA[:1000])
        return writer

    async def active(self) -> Image:
        """A whole image."""
        lease = await self.queued()
        writer = await self.store.begin(lease.image_id, lease.upload_id, None)
        await writer.write(DATA)
        stored = await writer.commit(granted)
        values: dict[str, str | int | bool | None] = {
            "status": Status.ACTIVE,
            "size": len(DATA),
            "checksum": hashlib.md5(DATA, usedforsecurity=False).hexdigest(),
            "os_hash_algo": "sha256",
            "os_hash_value": hashlib.sha256(DATA).hexdigest(),
        }
        change = ImageChange(values, locations=[Location(stored.url)])
        image = await self.registry.end_upload(lease.image_id, lease.upload_id, change)
        assert image is not None
        return image

    async def status(self, image_id: str) -> Status:
        return (await self.registry.get_image(image_id, include_deleted=True)).status


async def litter(house: House, rooms: Rooms) -> tuple[set[str], set[str]]:
    """Names of files that must stay and of files that must go."""
    kept = {(await rooms.active()).id for _ in range(3)}
    whole = max(kept)
    for status in (Status.DEACTIVATED, Status.PENDING_DELETE, Status.DELETED):
        image = await rooms.active()
        await rooms.registry.update_image(image.id, ImageChange({"status": status}))
        kept.add(image.id)
    running = await rooms.queued()
    await rooms.half(running)
    kept |= {f".{running.image_id}.{running.upload_id}.part", "README"}
    (house.images / "README").write_text("not ours")
    queued, gone = Image(new_id()), await rooms.active()
    await rooms.registry.create_image(queued)
    await rooms.registry.delete_image(gone.id)
    orphans = {queued.id, gone.id, new_id(), f".{new_id()}.{new_id()}.part", f".{whole}.{new_id()}.part"}
    for name in orphans:
        (house.images / name).write_bytes(b"orphan")
    house.age()
    fresh = {new_id(), f".{new_id()}.{new_id()}.part"}
    for name in fresh:
        (house.images / name).write_bytes(b"too young to tell")
    return kept | fresh, orphans
