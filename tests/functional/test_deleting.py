"""Deletes that were cut short, refused, or wait; against a real registry and real files."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from image_service import config
from image_service.context import RequestContext
from image_service.errors import (
    Forbidden,
    ImageServiceError,
    NotFound,
    RegistryUnavailable,
    StoreInUse,
    StoreUnavailable,
    WrongStatus,
)
from image_service.model import Location, Status
from image_service.operations import images, sweep
from image_service.operations.service import Service
from image_service.registry.interface import ImageChange
from image_service.store.filesystem import FilesystemStore
from image_service.store.stores import Stores
from tests.functional.house import House, Rooms


@pytest.mark.parametrize("bytes_are_there", [True, False])
def test_a_delete_that_was_cut_short(house: House, bytes_are_there: bool) -> None:
    async def work(rooms: Rooms) -> None:
        spared, image = await rooms.active(), await rooms.active()
        await rooms.registry.update_image(image.id, ImageChange({"status": Status.DELETED}))
        if not bytes_are_there:
            (house.images / image.id).unlink()
        assert (await sweep.scrub(rooms.registry, rooms.stores, Status.DELETED, 60)).done == []
        assert (await sweep.scrub(rooms.registry, rooms.stores, Status.DELETED, 0)).done == [image.id]
        assert house.files() == {spared.id}
        found = await rooms.registry.get_image(image.id, include_deleted=True)
        assert (found.status, found.deleted) == (Status.DELETED, True)
        assert (await sweep.scrub(rooms.registry, rooms.stores, Status.DELETED, 0)).done == []

    house.run(work)


def test_delayed_delete(house: House) -> None:
    async def work(rooms: Rooms) -> None:
        spared, *marked = [await rooms.active() for _ in range(4)]
        for image in marked:
            await rooms.registry.update_image(image.id, ImageChange({"status": Status.PENDING_DELETE}))
        assert (await sweep.scrub(rooms.registry, rooms.stores, Status.PENDING_DELETE, 60)).done == []
        seen = await sweep.scrub(rooms.registry, rooms.stores, Status.PENDING_DELETE, 0, dry_run=True)
        assert len(seen.done) == 3
        assert len(house.files()) == 4
        passes = [sweep.scrub(rooms.registry, rooms.stores, Status.PENDING_DELETE, 0, at_once=2) for _ in range(3)]
        removed = [image_id for found in await asyncio.gather(*passes) for image_id in found.done]
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
        assert (await sweep.scrub(rooms.registry, rooms.stores, Status.DELETED, 0)).done == []
        assert (await sweep.reconcile(rooms.registry, rooms.stores, 0, dry_run=False)).orphans == []
        assert house.files() == {image.id}
        assert (await sweep.scrub(rooms.registry, rooms.stores, Status.PENDING_DELETE, 0)).done == [image.id]
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
        assert (await sweep.scrub(rooms.registry, rooms.stores, Status.PENDING_DELETE, 0)).done == [image.id]

    house.run(work)


def test_a_delayed_delete_that_is_cut_short_at_its_end_leaves_no_rows(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(rooms: Rooms) -> None:
        image = await rooms.active()
        await rooms.registry.update_image(image.id, ImageChange({"status": Status.PENDING_DELETE}))
        await rooms.registry.delete_image(image.id)

        async def away(*_: object) -> None:
            raise RegistryUnavailable("not now")

        with monkeypatch.context() as patch:
            patch.setattr(rooms.registry, "delete_image", away)
            await sweep.scrub(rooms.registry, rooms.stores, Status.PENDING_DELETE, 0)
        for status in (Status.PENDING_DELETE, Status.DELETED):
            await sweep.scrub(rooms.registry, rooms.stores, status, 0)
        found = await rooms.registry.get_image(image.id, include_deleted=True)
        assert (found.deleted, found.status, found.locations) == (True, Status.DELETED, [])
        assert house.files() == set()

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
        assert (await sweep.scrub(rooms.registry, rooms.stores, Status.DELETED, 0)).done == [image.id]
        assert house.files() == set()

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
        assert (await sweep.scrub(rooms.registry, rooms.stores, Status.PENDING_DELETE, 0)).done == [image.id]

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


@pytest.mark.parametrize("delayed", [False, True])
def test_what_was_protected_a_moment_ago_is_not_deleted(house: House, delayed: bool) -> None:
    async def work(rooms: Rooms) -> None:
        image = await rooms.active()
        conf = config.load("glance-api", [], [])
        conf.set_override("delayed_delete", delayed)
        await rooms.registry.update_image(image.id, ImageChange({"protected": True}))
        with pytest.raises(Forbidden):
            await images.delete(Service(conf, rooms.registry, rooms.stores), image)
        after = await rooms.registry.get_image(image.id)
        assert (after.status, after.locations) == (Status.ACTIVE, image.locations)
        assert house.files() == {image.id}

    house.run(work)


def test_nobody_changes_an_image_whose_delete_has_begun(house: House) -> None:
    async def work(rooms: Rooms) -> None:
        image = await rooms.registry.update_image((await rooms.active()).id, ImageChange(add_tags=("old",)))
        service = Service(config.load("glance-api", [], []), rooms.registry, rooms.stores)
        begun = await rooms.registry.update_image(image.id, ImageChange({"status": Status.DELETED}))
        anybody = RequestContext(is_admin=True)
        for late in (
            images.change(service, anybody, image, replace(image, protected=True)),
            images.change(service, anybody, image, replace(image, name="other")),
            images.add_tag(service, image, "new"),
            images.remove_tag(service, image, "old"),
        ):
            with pytest.raises(WrongStatus):
                await late
        assert await rooms.registry.get_image(image.id) == begun

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
