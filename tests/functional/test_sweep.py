"""What is put right after a crash, against a real registry and real files."""

from __future__ import annotations

import asyncio
import os
from datetime import datetime
from pathlib import Path

import pytest

from image_service import config
from image_service.errors import StoreUnavailable
from image_service.model import Location, Status, UploadKind, UploadLease, new_id
from image_service.operations import images, sweep
from image_service.operations.downloads import open_bytes
from image_service.operations.service import Service
from image_service.operations.verify import verify
from image_service.registry.interface import ImageChange, Registry
from image_service.store.filesystem import FilesystemStore
from image_service.store.interface import Confirm
from image_service.store.stores import Stores
from tests.functional.house import DATA, House, Rooms, litter
from tests.unit.store_conformance import granted

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
        assert (await sweep.sweep_dead_uploads(rooms.registry, rooms.stores, 60)).done == []
        assert (await sweep.sweep_dead_uploads(rooms.registry, rooms.stores, 0)).done == [lease.image_id]
        image = await rooms.registry.get_image(lease.image_id)
        assert image.status is outcome
        assert (image.size, image.checksum) == ((None, None) if kind is UploadKind.V2 else (len(DATA), "0" * 32))
        assert house.files() == {spared.id}
        assert await rooms.registry.live_uploads() == []
        assert (await sweep.sweep_dead_uploads(rooms.registry, rooms.stores, 0)).done == []

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


def test_dead_upload_of_an_image_whose_delete_was_cut_short(house: House) -> None:
    """One pass is enough."""

    async def work(rooms: Rooms) -> None:
        lease = await rooms.queued()
        await rooms.half(lease)
        await rooms.registry.update_image(lease.image_id, ImageChange({"status": Status.DELETED}))
        assert len((await sweep.sweep_dead_uploads(rooms.registry, rooms.stores, 0)).done) == 1
        assert (await sweep.scrub(rooms.registry, rooms.stores, Status.DELETED, 0)).done == [lease.image_id]
        assert house.files() == set()
        assert await rooms.registry.live_uploads() == []

    house.run(work)


def test_many_sweeps_at_once(house: House) -> None:
    async def work(rooms: Rooms) -> None:
        leases = [await rooms.queued() for _ in range(10)]
        for lease in leases:
            await rooms.half(lease)
        sweeps = [sweep.sweep_dead_uploads(rooms.registry, rooms.stores, 0.2) for _ in range(5)]
        await asyncio.sleep(0.3)
        done = [image_id for outcome in await asyncio.gather(*sweeps) for image_id in outcome.done]
        assert sorted(done) == sorted(lease.image_id for lease in leases)
        assert house.files() == set()

    house.run(work)


def test_a_store_that_cannot_be_cleaned_keeps_the_lease(house: House) -> None:
    async def work(rooms: Rooms) -> None:
        lease = await rooms.queued()
        house.images.rmdir()
        assert await sweep.sweep_dead_uploads(rooms.registry, rooms.stores, 0) == sweep.Outcome(failed=[lease.image_id])
        assert await rooms.status(lease.image_id) is Status.SAVING
        house.images.mkdir()
        assert len((await sweep.sweep_dead_uploads(rooms.registry, rooms.stores, 0)).done) == 1
        assert await rooms.status(lease.image_id) is Status.QUEUED

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
        assert (await sweep.sweep_dead_uploads(rooms.registry, rooms.stores, 1)).done == [dead.image_id]

    house.run(work)


def test_a_claim_that_was_held_up_takes_nobodys_lease(house: House) -> None:
    """The registry went away between: the claim comes through before the renewals that wait behind it."""

    async def work(rooms: Rooms) -> None:
        lease = await rooms.queued()
        until = await sweep.let_renew(rooms.registry, 1)
        await asyncio.sleep(1.1)
        assert (await sweep.sweep_dead_uploads(rooms.registry, rooms.stores, 1, until=until)).done == []
        assert await rooms.registry.renew_upload(lease.image_id, lease.upload_id)
        done: list[str] = []
        async with asyncio.timeout(30):
            while not done:  # On a busy machine a claim is held up again and again.
                until = await sweep.let_renew(rooms.registry, 1)
                done = (await sweep.sweep_dead_uploads(rooms.registry, rooms.stores, 1, until=until)).done
        assert done == [lease.image_id]

    house.run(work)


def test_who_saw_no_lease_claims_none(house: House) -> None:
    async def work(rooms: Rooms) -> None:
        until = await sweep.let_renew(rooms.registry, 1)
        await rooms.queued()
        assert (await sweep.sweep_dead_uploads(rooms.registry, rooms.stores, -1, until=until)).done == []

    house.run(work)


def test_who_only_looks_asks_for_the_time_of_the_registry(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(rooms: Rooms) -> None:
        await rooms.queued()
        monkeypatch.setattr(sweep, "now", lambda: datetime.max)  # the clock of this host, far ahead of the registry's
        found = await sweep.sweep_dead_uploads(rooms.registry, rooms.stores, 3600, dry_run=True)
        assert found.done == []

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
                assert (await sweep.sweep_dead_uploads(registry, Stores([other], "file"), 0)).done
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
        assert await sweep.sweep_dead_uploads(registry, late, 0) == sweep.Outcome()
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
        assert (await sweep.sweep_dead_uploads(rooms.registry, others, 0)).done == [lease.image_id]
        assert await rooms.status(lease.image_id) is Status.QUEUED
        assert await rooms.registry.live_uploads() == []

    house.run(work)


def test_what_cannot_be_removed_keeps_no_other_orphan(house: House, tmp_path: Path) -> None:
    async def work(rooms: Rooms) -> None:
        await rooms.active()
        stuck, gone = sorted([new_id(), new_id()])
        for name in (stuck, gone):
            (house.images / name).write_bytes(b"orphan")
        (house.images / new_id()).mkdir()  # not ours
        house.age()

        class Stubborn(FilesystemStore):
            async def discard(self, image_id: str, upload_id: str | None, confirm: Confirm) -> None:
                if image_id == stuck:
                    raise StoreUnavailable("not now")
                await super().discard(image_id, upload_id, confirm)

        away = FilesystemStore("away", [(tmp_path / "away", 0)])
        stores = Stores([away, Stubborn("file", [(house.images, 0)])], "file")
        found = await sweep.reconcile(rooms.registry, stores, 0, dry_run=False, trust_registry=True)
        assert [item.image_id for item in found.orphans] == [gone]
        assert sorted(found.failed) == sorted([stuck, "away"])
        assert (stuck in house.files(), gone in house.files()) == (True, False)

    house.run(work)


def test_a_folder_that_is_away_keeps_nobody_from_the_orphans_of_another(house: House, tmp_path: Path) -> None:
    async def work(rooms: Rooms) -> None:
        kept, _ = await litter(house, rooms)
        store = FilesystemStore("file", [(tmp_path / "away", 9), (house.images, 0)])
        found = await sweep.reconcile(rooms.registry, Stores([store], "file"), 60, dry_run=False)
        assert "file" in found.failed
        assert house.files() == kept

    house.run(work)


def test_a_store_that_is_away_has_lost_nothing(house: House) -> None:
    async def work(rooms: Rooms) -> None:
        image = await rooms.active()
        away = house.images.rename(house.folder / "away")
        found = await sweep.reconcile(rooms.registry, rooms.stores, 60, dry_run=False)
        assert (found.lost, set(found.failed)) == ({}, {"file"})
        copy = Location(f"file://{house.folder}/copy/{image.id}")
        await rooms.registry.update_image(image.id, ImageChange(locations=[*image.locations, copy]))
        stores = Stores([rooms.store, FilesystemStore("copy", [(house.folder / "copy", 0)])], "file")
        service = Service(config.load("glance-api", [], []), rooms.registry, stores)
        image = await rooms.registry.get_image(image.id)
        with pytest.raises(StoreUnavailable):
            await open_bytes(service, image)
        away.rename(house.folder / "copy")
        assert (await open_bytes(service, image)).url == copy.url

    house.run(work)


def test_an_image_that_lies_nowhere_is_lost(house: House) -> None:
    async def work(rooms: Rooms) -> None:
        empty, lost = await rooms.active(), await rooms.active()
        await rooms.registry.update_image(empty.id, ImageChange({"size": 0}, locations=[]))
        await rooms.registry.update_image(lost.id, ImageChange(locations=[]))
        found = await sweep.reconcile(rooms.registry, rooms.stores, 3600, dry_run=True)
        assert list(found.lost) == [lost.id]
        verdicts = [verdict async for verdict in verify(rooms.registry, rooms.stores)]
        assert [(verdict.image.id, verdict.problem) for verdict in verdicts] == [(lost.id, images.NOWHERE)]

    house.run(work)
