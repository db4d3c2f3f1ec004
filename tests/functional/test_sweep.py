"""What is put right after a crash, against a real registry and real files: the sweep, image-scrubber, verify."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from image_service import config
from image_service.model import Image, Location, Status, UploadKind, UploadLease, new_id
from image_service.operations import sweep, uploads
from image_service.operations.service import Service
from image_service.operations.verify import verify
from image_service.registry.database import DatabaseRegistry
from image_service.registry.interface import ImageChange
from image_service.store.filesystem import FilesystemStore
from image_service.store.interface import StoreWriter
from image_service.store.stores import Stores
from tests.functional.registries import migrated
from tests.functional.running import eventually

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
        registry = DatabaseRegistry(self.url)
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
        stored = await writer.commit()
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


@pytest.fixture
def house(tmp_path: Path) -> House:
    (tmp_path / "images").mkdir()
    return House(tmp_path, migrated(f"sqlite:///{tmp_path}/registry.db"))


# -- an upload that is cut while the registry decides ----------------------------------------------------------


@dataclass
class LockingWriter(StoreWriter):
    """As soon as the image's file is whole, ``lock`` keeps everybody else from writing to the database."""

    writer: StoreWriter
    lock: sqlite3.Connection

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        await self.writer.write(data)

    async def commit(self) -> Location:
        stored = await self.writer.commit()
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
                await writer.commit()
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


def test_a_folder_that_is_away_fails_and_is_tried_again(house: House) -> None:
    async def work(rooms: Rooms) -> None:
        image = await rooms.active()
        location = Location("swift://account/container/x")
        change = ImageChange({"status": Status.PENDING_DELETE}, locations=[location, *image.locations])
        await rooms.registry.update_image(image.id, change)
        assert (await sweep.scrub(rooms.registry, rooms.stores, Status.PENDING_DELETE, 0)).failed == [image.id]
        assert not (await rooms.registry.get_image(image.id)).deleted
        await rooms.registry.update_image(image.id, ImageChange(locations=image.locations))
        assert (await sweep.scrub(rooms.registry, rooms.stores, Status.DELETED, 0)).removed == [image.id]

    house.run(work)


# -- bytes and images that lost each other -------------------------------------------------------------------


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


# -- verify --------------------------------------------------------------------------------------------------


def test_verify(house: House) -> None:
    async def work(rooms: Rooms) -> None:
        good, flipped, cut, gone = [await rooms.active() for _ in range(4)]
        data = bytearray(DATA)
        data[12345] ^= 1
        (house.images / flipped.id).write_bytes(data)
        os.truncate(house.images / cut.id, 10)
        (house.images / gone.id).unlink()
        problems = {v.image.id: v.problem or "" async for v in verify(rooms.registry, rooms.stores)}
        assert problems[good.id] == ""
        assert "checksum is" in problems[flipped.id]
        assert "os_hash_value is" in problems[flipped.id]
        assert "size is 10, should be 300000" in problems[cut.id]
        assert "not in the store" in problems[gone.id]

    house.run(work)


def test_verify_a_sample(house: House) -> None:
    async def work(rooms: Rooms) -> None:
        for _ in range(40):
            await rooms.active()
        seen = [verdict async for verdict in verify(rooms.registry, rooms.stores, 0.5)]
        assert 0 < len(seen) < 40

    house.run(work)


@pytest.mark.parametrize("broken", [False, True])
def test_verify_command(house: House, broken: bool) -> None:
    made: list[str] = []

    async def work(rooms: Rooms) -> None:
        made.extend([(await rooms.active()).id for _ in range(2)])

    house.run(work)
    if broken:
        os.truncate(house.images / made[0], 10)
    code, said = run(house, "image-manage", "verify")
    assert code == (1 if broken else 0)
    assert (f"BROKEN {made[0]} in store file: size is 10, should be 300000" in said) is broken
    assert ("2 verified: 1 good, 1 broken" if broken else "2 verified: 2 good, 0 broken") in said
    assert run(house, "image-manage", "verify", "--sample", "100%")[0] == code


@pytest.mark.parametrize("share", ["0%", "101%", "some", "-1%"])
def test_verify_bad_usage(house: House, share: str) -> None:
    assert run(house, "image-manage", "verify", f"--sample={share}")[0] == 2


# -- the commands --------------------------------------------------------------------------------------------


def command(house: House, *arguments: str) -> list[str]:
    conf = house.folder / "glance-api.conf"
    conf.write_text(
        f"[DEFAULT]\nupload_lease = 60\nwakeup_time = 1\n[database]\nconnection = {house.url}\n"
        f"[glance_store]\nfilesystem_store_datadir = {house.images}\n"
    )
    program, *rest = arguments
    return [str(Path(sys.executable).parent / program), "--config-file", str(conf), *rest]


def run(house: House, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(command(house, *arguments), capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout


def test_scrubber(house: House) -> None:
    kept: set[str] = set()
    orphans: set[str] = set()
    marked: list[str] = []

    async def work(rooms: Rooms) -> None:
        kept_here, orphans_here = await litter(house, rooms)
        image = await rooms.active()
        await rooms.registry.update_image(image.id, ImageChange({"status": Status.PENDING_DELETE}))
        house.age()
        marked.append(image.id)
        kept.update(kept_here)
        orphans.update(orphans_here)

    house.run(work)
    before = house.files()
    code, said = run(house, "image-scrubber", "--dry-run")
    assert (code, house.files()) == (0, before)
    assert f"would have removed image {marked[0]}" in said
    code, said = run(house, "image-scrubber")
    assert f"removed image {marked[0]}" in said
    assert said.count("removed orphaned bytes") >= len(orphans)
    assert code == 0
    assert not house.files() & orphans
    assert run(house, "image-scrubber") == (0, "")


def test_scrubber_tells_of_lost_data(house: House) -> None:
    lost: list[str] = []

    async def work(rooms: Rooms) -> None:
        lost.append((await rooms.active()).id)
        (house.images / lost[0]).unlink()

    house.run(work)
    code, said = run(house, "image-scrubber")
    assert code == 1
    assert f"LOST DATA of image {lost[0]}" in said


def test_scrubber_daemon(house: House) -> None:
    process = subprocess.Popen(command(house, "image-scrubber", "--daemon"), stdout=subprocess.PIPE, text=True)
    try:
        for _ in range(2):
            name = house.images / new_id()
            name.write_bytes(b"orphan")
            house.age()
            eventually(lambda name=name: not name.exists(), "removed by the daemon")  # type: ignore[misc]
        process.terminate()
        said, _ = process.communicate(timeout=30)
        assert said.count("removed orphaned bytes") == 2
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("arguments", [["--nonsense"], ["extra"]])
def test_scrubber_bad_usage(house: House, arguments: list[str]) -> None:
    assert run(house, "image-scrubber", *arguments)[0] == 2


def test_scrubber_without_a_database(house: House) -> None:
    (house.folder / "registry.db").unlink()
    done = subprocess.run(command(house, "image-scrubber"), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "image-manage db sync" in done.stderr
