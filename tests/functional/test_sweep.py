"""What is put right after a crash, against a real registry and real files."""

from __future__ import annotations

import asyncio
import itertools
import os
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from image_service import config
from image_service.errors import Forbidden, ImageServiceError, NotFound, StoreInUse, StoreUnavailable, WrongStatus
from image_service.model import Image, Location, Status, UploadKind, UploadLease, new_id
from image_service.operations import images, sweep, uploads
from image_service.operations.service import Service
from image_service.registry.interface import ImageChange, Registry
from image_service.store.filesystem import FilesystemStore
from image_service.store.interface import Confirm, StoreWriter
from image_service.store.stores import Stores
from tests.functional.house import DATA, House, Rooms, litter
from tests.functional.running import eventually
from tests.unit.store_conformance import granted

# -- an upload that is cut while the registry decides ----------------------------------------------------------


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


# -- dead uploads --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", ["nothing", "part", "finished"])
@pytest.mark.parametrize(("kind", "outcome"), [(UploadKind.V1, Status.KILLED), (UploadKind.V2, Status.QUEUED)])
def test_dead_upload(house: House, left: str, kind: UploadKind, outcome: Status) -> None:
    async def work(rooms: Rooms) -> None:
        spared = await rooms.active()
        lease = await rooms.queued(kind)
        if left != "nothing":
            writer = await rooms.half(lease)
            if left == "finished":
                await writer.commit(granted)
        assert await sweep.sweep_dead_uploads(rooms.registry, rooms.stores, 60) == []
        done = await sweep.sweep_dead_uploads(rooms.registry, rooms.stores, 0)
        assert [dead.image_id for dead in done] == [lease.image_id]
        image = await rooms.registry.get_image(lease.image_id)
        assert image.status is outcome
        assert (image.size, image.checksum) == ((None, None) if kind is UploadKind.V2 else (len(DATA), "0" * 32))
        assert house.files() == {spared.id}
        assert await rooms.registry.live_uploads() == []
        assert await sweep.sweep_dead_uploads(rooms.registry, rooms.stores, 0) == []

    house.run(work)


def test_dead_upload_of_a_deleted_image(house: House) -> None:
    async def work(rooms: Rooms) -> None:
        lease = await rooms.queued()
        await rooms.half(lease)
        await rooms.registry.delete_image(lease.image_id)
        await sweep.sweep_dead_uploads(rooms.registry, rooms.stores, 0)
        assert house.files() == set()
        assert await rooms.registry.live_uploads() == []
        assert (await rooms.registry.get_image(lease.image_id, include_deleted=True)).deleted

    house.run(work)


def test_many_sweeps_at_once(house: House) -> None:
    async def work(rooms: Rooms) -> None:
        leases = [await rooms.queued() for _ in range(10)]
        for lease in leases:
            await rooms.half(lease)
        sweeps = [sweep.sweep_dead_uploads(rooms.registry, rooms.stores, 0.2) for _ in range(5)]
        await asyncio.sleep(0.3)
        done = [lease.image_id for found in await asyncio.gather(*sweeps) for lease in found]
        assert sorted(done) == sorted(lease.image_id for lease in leases)
        assert house.files() == set()

    house.run(work)


def test_a_store_that_cannot_be_cleaned_keeps_the_lease(house: House) -> None:
    async def work(rooms: Rooms) -> None:
        lease = await rooms.queued()
        house.images.rmdir()
        assert await sweep.sweep_dead_uploads(rooms.registry, rooms.stores, 0) == []
        assert await rooms.status(lease.image_id) is Status.SAVING
        house.images.mkdir()
        assert len(await sweep.sweep_dead_uploads(rooms.registry, rooms.stores, 0)) == 1
        assert await rooms.status(lease.image_id) is Status.QUEUED

    house.run(work)


# -- deletes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bytes_are_there", [True, False])
def test_a_delete_that_was_cut_short(house: House, bytes_are_there: bool) -> None:
    async def work(rooms: Rooms) -> None:
        spared, image = await rooms.active(), await rooms.active()
        await rooms.registry.update_image(image.id, ImageChange({"status": Status.DELETED}))
        if not bytes_are_there:
            (house.images / image.id).unlink()
        assert (await sweep.scrub(rooms.registry, rooms.stores, Status.DELETED, 60)).removed == []
        assert (await sweep.scrub(rooms.registry, rooms.stores, Status.DELETED, 0)).removed == [image.id]
        assert house.files() == {spared.id}
        found = await rooms.registry.get_image(image.id, include_deleted=True)
        assert (found.status, found.deleted) == (Status.DELETED, True)
        assert (await sweep.scrub(rooms.registry, rooms.stores, Status.DELETED, 0)).removed == []

    house.run(work)


def test_delayed_delete(house: House) -> None:
    async def work(rooms: Rooms) -> None:
        spared, *marked = [await rooms.active() for _ in range(4)]
        for image in marked:
            await rooms.registry.update_image(image.id, ImageChange({"status": Status.PENDING_DELETE}))
        assert (await sweep.scrub(rooms.registry, rooms.stores, Status.PENDING_DELETE, 60)).removed == []
        seen = await sweep.scrub(rooms.registry, rooms.stores, Status.PENDING_DELETE, 0, dry_run=True)
        assert len(seen.removed) == 3
        assert len(house.files()) == 4
        passes = [sweep.scrub(rooms.registry, rooms.stores, Status.PENDING_DELETE, 0, at_once=2) for _ in range(3)]
        removed = [image_id for found in await asyncio.gather(*passes) for image_id in found.removed]
        assert sorted(removed) == sorted(image.id for image in marked)
        assert house.files() == {spared.id}

    house.run(work)


@pytest.mark.parametrize("soft_deleted", [True, False], ids=["soft-deleted", "cut short before"])
def test_what_waits_to_be_deleted_keeps_its_bytes_until_the_scrubber_comes(house: House, soft_deleted: bool) -> None:
    async def work(rooms: Rooms) -> None:
        image = await rooms.active()
        await rooms.registry.update_image(image.id, ImageChange({"status": Status.PENDING_DELETE}))
        if soft_deleted:
            found = await rooms.registry.delete_image(image.id)
            assert (found.deleted, found.status, found.locations) == (True, Status.PENDING_DELETE, image.locations)
        house.age()
        assert (await sweep.scrub(rooms.registry, rooms.stores, Status.DELETED, 0)).removed == []
        assert (await sweep.reconcile(rooms.registry, rooms.stores, 0, dry_run=False)).orphans == []
        assert house.files() == {image.id}
        assert (await sweep.scrub(rooms.registry, rooms.stores, Status.PENDING_DELETE, 0)).removed == [image.id]
        found = await rooms.registry.get_image(image.id, include_deleted=True)
        assert (found.deleted, found.status, found.locations) == (True, Status.DELETED, [])
        assert house.files() == set()

    house.run(work)


@pytest.mark.parametrize("soft_deleted", [True, False])
def test_what_the_store_does_not_give_up_waits_on(house: House, monkeypatch: pytest.MonkeyPatch, soft_deleted: bool) -> None:
    async def work(rooms: Rooms) -> None:
        image = await rooms.active()
        await rooms.registry.update_image(image.id, ImageChange({"status": Status.PENDING_DELETE}))
        if soft_deleted:
            await rooms.registry.delete_image(image.id)

        async def refuse(*_: object) -> None:
            raise StoreUnavailable("not now")

        with monkeypatch.context() as patch:
            patch.setattr(rooms.stores.default, "delete", refuse)
            assert (await sweep.scrub(rooms.registry, rooms.stores, Status.PENDING_DELETE, 0)).failed == [image.id]
        found = await rooms.registry.get_image(image.id, include_deleted=True)
        assert (found.status, found.locations) == (Status.PENDING_DELETE, image.locations)
        assert (await sweep.scrub(rooms.registry, rooms.stores, Status.PENDING_DELETE, 0)).removed == [image.id]

    house.run(work)


def test_a_delete_that_stood_still_puts_nothing_back(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process has gone on with it."""

    async def work(rooms: Rooms) -> None:
        image = await rooms.active()

        async def refuse(*_: object) -> None:
            monkeypatch.undo()
            marked = await rooms.registry.get_image(image.id)
            assert (await images.remove(rooms.registry, rooms.stores, marked)).deleted
            raise StoreUnavailable("not now")

        monkeypatch.setattr(rooms.stores.default, "delete", refuse)
        with pytest.raises(StoreUnavailable):
            await images.remove(rooms.registry, rooms.stores, image)
        assert await rooms.status(image.id) is Status.DELETED
        assert house.files() == set()

    house.run(work)


def test_a_sweep_that_stood_still_spares_what_was_put_back(house: House) -> None:
    async def work(rooms: Rooms) -> None:
        image = await rooms.active()
        marked = await rooms.registry.update_image(image.id, ImageChange({"status": Status.DELETED}))
        await rooms.registry.update_image(image.id, ImageChange({"status": Status.ACTIVE}), seen_at=marked.updated_at)
        with pytest.raises(WrongStatus):
            await images.remove(rooms.registry, rooms.stores, marked)
        with pytest.raises(WrongStatus):
            await rooms.registry.update_image(image.id, ImageChange({"name": "x"}), seen_at=marked.updated_at)
        assert (await rooms.status(image.id), house.files()) == (Status.ACTIVE, {image.id})

    house.run(work)


def test_an_image_of_which_a_part_is_gone_is_not_put_back(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(rooms: Rooms) -> None:
        image, other = await rooms.active(), await rooms.active()
        both = [*image.locations, *other.locations]
        image = await rooms.registry.update_image(image.id, ImageChange(locations=both))
        delete = rooms.stores.default.delete

        async def refuse_second(url: str) -> None:
            if url == both[1].url:
                raise StoreUnavailable("not now")
            await delete(url)

        with monkeypatch.context() as patch:
            patch.setattr(rooms.stores.default, "delete", refuse_second)
            with pytest.raises(StoreUnavailable):
                await images.remove(rooms.registry, rooms.stores, image)
        assert await rooms.status(image.id) is Status.DELETED
        assert (await sweep.scrub(rooms.registry, rooms.stores, Status.DELETED, 0)).removed == [image.id]
        assert house.files() == set()

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


def test_an_upload_that_lives_is_spared_by_a_sweep_after_the_registry_was_away(house: House) -> None:
    async def work(rooms: Rooms) -> None:
        lease, dead = await rooms.queued(), await rooms.queued()
        await asyncio.sleep(1.1)  # longer than a lease of one second lasts

        async def renew() -> None:
            await asyncio.sleep(0.1)
            assert await rooms.registry.renew_upload(lease.image_id, lease.upload_id)

        renewal = asyncio.create_task(renew())
        await sweep.let_renew(rooms.registry, 1)
        await renewal
        done = await sweep.sweep_dead_uploads(rooms.registry, rooms.stores, 1)
        assert [one.image_id for one in done] == [dead.image_id]

    house.run(work)


def test_a_file_that_another_image_has_is_no_orphan(house: House) -> None:
    """An administrator gave it to that image by the registry API v1."""

    async def work(rooms: Rooms) -> None:
        for _ in range(3):
            await rooms.active()
        image, name = await rooms.active(), new_id()
        (house.images / image.id).rename(house.images / name)
        await rooms.registry.update_image(image.id, ImageChange(locations=[Location(f"file://{house.images}/{name}")]))
        house.age()
        found = await sweep.reconcile(rooms.registry, rooms.stores, 60, dry_run=False)
        assert (found.orphans, found.lost) == ([], {})
        await rooms.registry.update_image(image.id, ImageChange({"status": Status.PENDING_DELETE}))
        for _ in range(2):
            assert (await sweep.reconcile(rooms.registry, rooms.stores, 60, dry_run=False)).orphans == []
            await rooms.registry.delete_image(image.id)
        assert name in house.files()

    house.run(work)


def test_a_store_that_is_not_configured_fails_and_is_tried_again(house: House) -> None:
    async def work(rooms: Rooms) -> None:
        image = await rooms.active()
        location = Location("swift://account/container/x")
        change = ImageChange({"status": Status.PENDING_DELETE}, locations=[location, *image.locations])
        await rooms.registry.update_image(image.id, change)
        assert (await sweep.scrub(rooms.registry, rooms.stores, Status.PENDING_DELETE, 0)).failed == [image.id]
        assert not (await rooms.registry.get_image(image.id)).deleted
        await rooms.registry.update_image(image.id, ImageChange(locations=image.locations))
        assert (await sweep.scrub(rooms.registry, rooms.stores, Status.PENDING_DELETE, 0)).removed == [image.id]

    house.run(work)


# -- bytes and images that lost each other -------------------------------------------------------------------


def test_orphans(house: House) -> None:
    async def work(rooms: Rooms) -> None:
        kept, orphans = await litter(house, rooms)
        seen = await sweep.reconcile(rooms.registry, rooms.stores, 60, dry_run=True)
        assert {Path(item.url).name for item in seen.orphans} == orphans
        assert house.files() == kept | orphans
        found = await asyncio.gather(*(sweep.reconcile(rooms.registry, rooms.stores, 60, dry_run=False) for _ in range(3)))
        assert {Path(item.url).name for one in found for item in one.orphans} == orphans
        assert [one.lost for one in found] == [{}, {}, {}]
        assert house.files() == kept

    house.run(work)


def test_the_wrong_database_does_not_cost_the_images(house: House) -> None:
    async def work(rooms: Rooms) -> None:
        for _ in range(15):
            (house.images / new_id()).write_bytes(b"somebody's image")
        house.age()
        found = await sweep.reconcile(rooms.registry, rooms.stores, 60, dry_run=False)
        assert found.suspicious
        assert len(house.files()) == 15
        await sweep.reconcile(rooms.registry, rooms.stores, 60, dry_run=False, trust_registry=True)
        assert house.files() == set()

    house.run(work)


def test_a_few_images_of_another_database_are_not_lost_either(house: House) -> None:
    async def work(rooms: Rooms) -> None:
        for _ in range(2):
            (house.images / new_id()).write_bytes(b"somebody's image")
        house.age()
        assert (await sweep.reconcile(rooms.registry, rooms.stores, 60, dry_run=False)).suspicious
        assert len(house.files()) == 2
        deleted = await rooms.active()
        await rooms.registry.delete_image(deleted.id)
        for name in house.files() - {deleted.id}:
            (house.images / name).unlink()
        house.age()
        assert not (await sweep.reconcile(rooms.registry, rooms.stores, 60, dry_run=False)).suspicious
        assert house.files() == set(), "what is left of a deleted image is the registry's own"

    house.run(work)


def test_a_sweeper_that_is_late_spares_the_next_upload(house: House) -> None:
    """It claimed a dead upload, and stood still until another had claimed it again and the image was uploaded anew."""

    class Late(FilesystemStore):
        async def discard(self, image_id: str, upload_id: str | None, confirm: Confirm) -> None:
            async def later() -> None:
                other = FilesystemStore("file", [(house.images, 0)])
                assert await sweep.sweep_dead_uploads(registry, Stores([other], "file"), 0) != []
                lease = UploadLease(image_id, new_id(), UploadKind.V2, "file")
                await registry.begin_upload(lease, from_status={Status.QUEUED})
                writer = await other.begin(image_id, lease.upload_id, None)
                await writer.write(DATA)
                change = ImageChange({"status": Status.ACTIVE}, locations=[await writer.commit(granted)])
                assert await registry.end_upload(image_id, lease.upload_id, change) is not None
                await confirm()

            await super().discard(image_id, upload_id, later)

    registry: Registry

    async def work(rooms: Rooms) -> None:
        nonlocal registry
        registry = rooms.registry
        lease = await rooms.queued()
        await (await rooms.half(lease)).commit(granted)
        late = Stores([Late("file", [(house.images, 0)])], "file")
        assert await sweep.sweep_dead_uploads(registry, late, 0) == []
        assert (house.images / lease.image_id).read_bytes() == DATA
        assert await rooms.status(lease.image_id) is Status.ACTIVE

    house.run(work)


def test_lost_bytes_are_told_and_nothing_is_changed(house: House) -> None:
    async def work(rooms: Rooms) -> None:
        good, gone, cut = [await rooms.active() for _ in range(3)]
        (house.images / gone.id).unlink()
        os.truncate(house.images / cut.id, 10)
        found = await sweep.reconcile(rooms.registry, rooms.stores, 0, dry_run=False)
        assert set(found.lost) == {gone.id, cut.id}
        assert "should have 300000 bytes, the store has 10" in found.lost[cut.id]
        assert house.files() == {good.id, cut.id}
        for image in (good, gone, cut):
            assert await rooms.registry.get_image(image.id) == image

    house.run(work)


def test_a_dead_upload_whose_store_is_not_configured_any_more(house: House) -> None:
    async def work(rooms: Rooms) -> None:
        lease = await rooms.queued()
        others = Stores([FilesystemStore("other", [(house.images, 0)])], "other", named=True)
        assert [dead.image_id for dead in await sweep.sweep_dead_uploads(rooms.registry, others, 0)] == [lease.image_id]
        assert await rooms.status(lease.image_id) is Status.QUEUED
        assert await rooms.registry.live_uploads() == []

    house.run(work)


def test_a_delete_of_what_has_changed_since_it_was_read(house: House) -> None:
    class Refusing(FilesystemStore):
        async def delete(self, url: str) -> None:
            raise StoreUnavailable("not now")

    async def work(rooms: Rooms) -> None:
        image = await rooms.active()
        stores = Stores([Refusing("file", [(house.images, 0)])], "file")
        service = Service(config.load("glance-api", [], []), rooms.registry, stores)
        await rooms.registry.update_image(image.id, ImageChange({"status": Status.DEACTIVATED}))
        with pytest.raises(StoreUnavailable):
            await images.delete(service, image)
        assert await rooms.status(image.id) is Status.DEACTIVATED
        service.stores = rooms.stores
        assert (await images.delete(service, image)).deleted
        with pytest.raises(NotFound):
            await images.delete(service, image)

    house.run(work)


@pytest.mark.parametrize("refusal", [StoreInUse, Forbidden, StoreUnavailable])
def test_a_delete_that_the_store_refuses_changes_nothing(house: House, refusal: type[ImageServiceError]) -> None:
    class Refusing(FilesystemStore):
        async def delete(self, url: str) -> None:
            raise refusal("not now")

    async def work(rooms: Rooms) -> None:
        image = await rooms.active()
        stores = Stores([Refusing("file", [(house.images, 0)])], "file")
        service = Service(config.load("glance-api", [], []), rooms.registry, stores)
        with pytest.raises(refusal):
            await images.delete(service, image)
        after = await rooms.registry.get_image(image.id)
        assert (after.status, after.locations) == (Status.ACTIVE, image.locations)

    house.run(work)
