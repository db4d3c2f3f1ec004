"""Leases of uploads: what every registry promises (``registry/interface.py``), in all four places."""

from __future__ import annotations

import asyncio
import multiprocessing
from datetime import timedelta

import pytest
from sqlalchemy import update

from image_service.errors import NotFound, WrongStatus
from image_service.model import Image, Status, UploadKind, UploadLease, now
from image_service.registry.database import DatabaseRegistry
from image_service.registry.engine import Database
from image_service.registry.interface import ImageChange, Registry
from image_service.registry.tables import IMAGE_UPLOADS
from tests.functional.registries import DONE, Place, add, ids, lease_of, with_registry


@with_registry
async def test_an_upload_from_begin_to_end(registry: Registry) -> None:
    [image_id] = await add(registry)
    lease = lease_of(image_id, UploadKind.V1)
    assert (await registry.begin_upload(lease, from_status=[Status.QUEUED])).status is Status.SAVING
    [running] = await registry.live_uploads()
    assert (running.image_id, running.upload_id, running.kind, running.store) == (
        image_id,
        lease.upload_id,
        UploadKind.V1,
        "file",
    )
    assert abs((running.renewed_at - now()).total_seconds()) < 60
    assert await registry.renew_upload(image_id, lease.upload_id)
    image = await registry.end_upload(image_id, lease.upload_id, DONE)
    assert image is not None
    assert (image.status, image.size, image.locations[0].url) == (Status.ACTIVE, 3, "file:///x")
    assert await registry.live_uploads() == []
    assert not await registry.renew_upload(image_id, lease.upload_id)
    assert await registry.end_upload(image_id, lease.upload_id, ImageChange(values={"status": Status.KILLED})) is None
    assert await registry.get_image(image_id) == image


@with_registry
async def test_a_second_upload_is_refused(registry: Registry) -> None:
    [image_id] = await add(registry)
    await registry.begin_upload(lease_of(image_id), from_status=[Status.QUEUED])
    for sources in ([Status.QUEUED], [Status.SAVING]):
        with pytest.raises(WrongStatus):
            await registry.begin_upload(lease_of(image_id), from_status=sources)
    assert len(await registry.live_uploads()) == 1


@with_registry
async def test_who_deletes_or_moves_an_image_ends_its_upload(registry: Registry) -> None:
    [deleted, moved] = await add(registry, 2)
    leases = [lease_of(deleted), lease_of(moved)]
    for lease in leases:
        await registry.begin_upload(lease, from_status=[Status.QUEUED])
    await registry.delete_image(deleted)
    await registry.update_image(moved, ImageChange(values={"name": "still saving"}))
    assert await registry.renew_upload(moved, leases[1].upload_id)
    await registry.update_image(moved, ImageChange(values={"status": Status.DELETED}))
    for lease in leases:
        assert not await registry.renew_upload(lease.image_id, lease.upload_id)
        assert await registry.end_upload(lease.image_id, lease.upload_id, DONE) is None
    assert (await registry.get_image(moved)).status is Status.DELETED
    assert await registry.live_uploads() == []


@with_registry
async def test_a_dead_upload_is_claimed_once_and_its_holder_shut_out(registry: Registry) -> None:
    [image_id, fresh] = await add(registry, 2)
    old = lease_of(image_id)
    await registry.begin_upload(old, from_status=[Status.QUEUED])
    assert await registry.claim_dead_uploads(older_than=60) == []
    claims = await asyncio.gather(*[registry.claim_dead_uploads(older_than=-1) for _ in range(8)])
    # Each claim renews the lease, and a negative age takes it even so: every claimer took it from the one before.
    assert {claim.image_id for claimed in claims for claim in claimed} == {image_id}
    [present] = await registry.live_uploads()
    assert present.upload_id != old.upload_id
    assert not await registry.renew_upload(image_id, old.upload_id)
    assert await registry.end_upload(image_id, old.upload_id, DONE) is None
    image = await registry.end_upload(image_id, present.upload_id, ImageChange(values={"status": Status.QUEUED}))
    assert image is not None
    assert image.status is Status.QUEUED
    assert (await registry.get_image(fresh)).status is Status.QUEUED


def test_a_dead_upload_of_a_clock_that_was_set_back_is_claimed(place: Place) -> None:
    async def begin() -> str:
        async with place.open() as registry:
            [image_id] = await add(registry, 1)
            await registry.begin_upload(lease_of(image_id), from_status=[Status.QUEUED])
            return image_id

    async def claim() -> list[str]:
        async with place.open() as registry:
            assert await registry.claim_dead_uploads(older_than=600) == [], "it may be of this moment"
            until = await registry.settle() + timedelta(seconds=60)
            return [lease.image_id for lease in await registry.claim_dead_uploads(older_than=600, until=until)]

    image_id = asyncio.run(begin())
    database = Database(place.url)
    for ahead, claimed in ((timedelta(seconds=300), []), (timedelta(hours=2), [image_id])):
        late = update(IMAGE_UPLOADS).values(renewed_at=now() + ahead)
        database.write(lambda connection, late=late: connection.execute(late))  # type: ignore[misc]
        assert asyncio.run(claim()) == claimed
    database.close()


def test_a_dead_upload_has_one_claimer(place: Place) -> None:
    async def begin() -> set[str]:
        async with place.open() as registry:
            wanted = set(await add(registry, 10))
            for image_id in wanted:
                await registry.begin_upload(lease_of(image_id), from_status=[Status.QUEUED])
            return wanted

    async def claim() -> list[UploadLease]:
        async with place.open() as registry:
            claims = await asyncio.gather(*[registry.claim_dead_uploads(older_than=600) for _ in range(4)])
            claimed = [lease for leases in claims for lease in leases]
            live = {lease.upload_id for lease in await registry.live_uploads()}
            assert {lease.upload_id for lease in claimed} == live
            return claimed

    wanted = asyncio.run(begin())
    database = Database(place.url)
    silent = update(IMAGE_UPLOADS).values(renewed_at=now() - timedelta(hours=1))
    database.write(lambda connection: connection.execute(silent))
    database.close()
    assert sorted(lease.image_id for lease in asyncio.run(claim())) == sorted(wanted)


# -- races ---------------------------------------------------------------------------------------------


def _begin_many(url: str, image_id: str, count: int, ready: object, outcomes: object) -> None:
    """In a process of its own: ``count`` uploads at once to one image."""

    async def body() -> list[str]:
        registry = DatabaseRegistry(Database(url))
        await registry.check()
        ready.wait()  # type: ignore[attr-defined]
        calls = [registry.begin_upload(lease_of(image_id), from_status=[Status.QUEUED]) for _ in range(count)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        await registry.aclose()
        return [type(result).__name__ for result in results]

    outcomes.put(asyncio.run(body()))  # type: ignore[attr-defined]


def test_of_many_uploads_in_two_processes_one_wins(place: Place) -> None:
    async def prepare() -> str:
        async with place.open() as registry:
            return (await add(registry))[0]

    image_id = asyncio.run(prepare())
    processes = multiprocessing.get_context("spawn")
    ready, outcomes = processes.Barrier(2), processes.Queue()
    workers = [processes.Process(target=_begin_many, args=(place.url, image_id, 10, ready, outcomes)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = sorted(outcomes.get(timeout=60) + outcomes.get(timeout=60))
    for worker in workers:
        worker.join(60)
    assert found == ["Image"] + ["WrongStatus"] * 19


@with_registry
async def test_an_upload_against_a_delete(registry: Registry) -> None:
    for image_id in await add(registry, 25):
        began, deleted = await asyncio.gather(
            registry.begin_upload(lease_of(image_id), from_status=[Status.QUEUED]),
            registry.delete_image(image_id),
            return_exceptions=True,
        )
        assert isinstance(deleted, Image)
        assert isinstance(began, Image | NotFound)
    # A lease leads to the bytes that are left, so it stays until its holder, or the sweep, has removed them.
    for lease in await registry.live_uploads():
        assert not await registry.renew_upload(lease.image_id, lease.upload_id)
        assert await registry.end_upload(lease.image_id, lease.upload_id, DONE) is None
    assert await registry.live_uploads() == []
    assert await ids(registry) == []
