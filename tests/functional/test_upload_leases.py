"""How an upload ends when the registry does not say so, and how its lease is kept."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from image_service import config
from image_service.errors import InvalidValue
from image_service.model import Image, Location, Status, UploadKind, new_id
from image_service.operations import sweep, uploads
from image_service.operations.service import Service
from image_service.registry.interface import ImageChange
from image_service.store.filesystem import FilesystemStore
from image_service.store.interface import Confirm, StoreWriter
from image_service.store.stores import Stores
from tests.functional.house import DATA, House, Rooms
from tests.functional.running import eventually


@dataclass
class LockingWriter(StoreWriter):
    """As soon as the image's file is whole, ``lock`` keeps everybody else from writing to the database."""

    writer: StoreWriter
    lock: sqlite3.Connection

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        await self.writer.write(data)

    async def commit(self, confirm: Confirm) -> Location:
        stored = await self.writer.commit(confirm)
        self.lock.execute("BEGIN IMMEDIATE")
        return stored

    async def abort(self) -> None:
        await self.writer.abort()


class LockingStore(FilesystemStore):
    lock: sqlite3.Connection

    async def begin(self, image_id: str, upload_id: str, size: int | None) -> StoreWriter:
        return LockingWriter(await super().begin(image_id, upload_id, size), self.lock)


def test_an_upload_that_is_cut_while_the_registry_decides_keeps_its_bytes(house: House) -> None:
    (house.folder / "glance-api.conf").write_text("")
    conf = config.load("glance-api", [str(house.folder / "glance-api.conf")], [])

    async def data() -> AsyncIterator[bytes]:
        yield DATA

    async def work(rooms: Rooms) -> None:
        store = LockingStore("file", [(house.images, 0)])
        store.lock = sqlite3.connect(house.folder / "registry.db", isolation_level=None)
        service = Service(conf, rooms.registry, Stores([store], "file"))
        image = await rooms.registry.create_image(Image(new_id(), disk_format="raw", container_format="bare"))
        running = asyncio.create_task(uploads.upload(service, image, uploads.Upload(data(), UploadKind.V2)))
        await asyncio.to_thread(eventually, lambda: store.lock.in_transaction, "the file is whole")
        await asyncio.sleep(0.2)  # for the question to reach the database
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        store.lock.rollback()
        while (await rooms.registry.get_image(image.id)).status is Status.SAVING:  # noqa: ASYNC110 - by a thread
            await asyncio.sleep(0.05)
        assert await rooms.status(image.id) is Status.ACTIVE
        assert (house.images / image.id).read_bytes() == DATA
        store.lock.close()
        await store.close()

    house.run(work)


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()], ids=str)
def test_an_upload_that_ends_without_an_answer_keeps_its_bytes(
    house: House, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """An executor takes the work, fails to start a thread for it, and another thread does it all the same."""
    (house.folder / "glance-api.conf").write_text("")
    conf = config.load("glance-api", [str(house.folder / "glance-api.conf")], [])

    async def data() -> AsyncIterator[bytes]:
        yield DATA

    async def work(rooms: Rooms) -> None:
        image = Image(new_id(), disk_format="raw", container_format="bare")
        await rooms.registry.create_image(image)
        end = rooms.registry.end_upload

        async def end_and_fail(*arguments: Any) -> None:
            await end(*arguments)
            raise error

        monkeypatch.setattr(rooms.registry, "end_upload", end_and_fail)
        service = Service(conf, rooms.registry, rooms.stores)
        with pytest.raises(type(error)):
            await uploads.upload(service, image, uploads.Upload(data(), UploadKind.V2))
        assert (await rooms.status(image.id), house.files()) == (Status.ACTIVE, {image.id})

    house.run(work)


def test_an_image_that_lost_a_format_before_its_upload_began_gets_no_bytes(house: House) -> None:
    async def data() -> AsyncIterator[bytes]:
        yield DATA

    async def work(rooms: Rooms) -> None:
        image = await rooms.registry.create_image(Image(new_id(), disk_format="raw", container_format="bare"))
        await rooms.registry.update_image(image.id, ImageChange({"disk_format": None}))
        service = Service(config.load("glance-api", [], []), rooms.registry, rooms.stores)
        with pytest.raises(InvalidValue, match="disk_format must be set"):
            await uploads.upload(service, image, uploads.Upload(data(), UploadKind.V2))
        assert (await rooms.status(image.id), house.files()) == (Status.QUEUED, set())

    house.run(work)


def test_renewals_go_on_whatever_one_of_them_met(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    (house.folder / "glance-api.conf").write_text("[DEFAULT]\nupload_lease = 2\n")
    conf = config.load("glance-api", [str(house.folder / "glance-api.conf")], [])

    async def work(rooms: Rooms) -> None:
        image = Image(new_id(), disk_format="raw", container_format="bare")
        await rooms.registry.create_image(image)
        renew, calls = rooms.registry.renew_upload, itertools.count()
        held = asyncio.Event()

        async def fail_first(*arguments: Any) -> bool:
            if (number := next(calls)) == 0:
                raise RuntimeError("can't start new thread")
            if number == 1:
                await asyncio.sleep(60)  # an answer that is lost
            held.set()
            return await renew(*arguments)

        async def data() -> AsyncIterator[bytes]:
            await held.wait()
            yield DATA

        monkeypatch.setattr(rooms.registry, "renew_upload", fail_first)
        service = Service(conf, rooms.registry, rooms.stores)
        active = await uploads.upload(service, image, uploads.Upload(data(), UploadKind.V2))
        assert active.status is Status.ACTIVE

    house.run(work)


@pytest.mark.parametrize("lease", [2, 90, 3600])
def test_who_is_alive_renews_while_a_sweep_waits(lease: float) -> None:
    """However long a lease is: else a clock that is set forward would make live uploads look dead."""
    assert uploads.between_renewals(lease) < 0.8 * sweep.settling(lease)
