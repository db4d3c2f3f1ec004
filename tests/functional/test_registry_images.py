"""Single images and their changes: what every registry promises (``registry/interface.py``), in all four places."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import patch

import pytest

from image_service.errors import Duplicate, ImageServiceError, InvalidValue, LimitExceeded, NotFound, WrongStatus
from image_service.model import Image, Location, Member, Status, new_id, now
from image_service.registry import queries
from image_service.registry.database import DatabaseRegistry
from image_service.registry.engine import Database
from image_service.registry.interface import ImageChange, ImageQuery, Registry, Visible
from tests.functional.registries import add, ids, lease_of, migrated, rich_image, with_registry
from tests.mariadb import MariaDB


@with_registry
async def test_an_image_comes_back_as_it_was_given(registry: Registry) -> None:
    wanted = rich_image()
    before = now()
    created = await registry.create_image(wanted)
    assert before <= created.created_at == created.updated_at <= now()
    assert [at.id is not None for at in created.locations] == [True, True]
    for place in created.locations:
        place.id = None
    wanted.created_at = wanted.updated_at = created.created_at
    wanted.tags.sort()
    assert created == wanted
    shown = await registry.get_image(wanted.id)
    assert shown.properties == wanted.properties
    assert [at.url for at in shown.locations] == ["file:///b", "file:///a"]
    assert [image.id for image in await registry.list_images(ImageQuery())] == [wanted.id]
    assert await registry.list_images(ImageQuery()) == [shown]


@with_registry
async def test_an_id_is_taken_for_ever(registry: Registry) -> None:
    [image_id] = await add(registry)
    with pytest.raises(Duplicate):
        await registry.create_image(Image(id=image_id))
    await registry.delete_image(image_id)
    with pytest.raises(Duplicate):
        await registry.create_image(Image(id=image_id))


@with_registry
async def test_ids_compare_exactly(registry: Registry) -> None:
    await registry.create_image(Image(id="abc"))
    for other in ("ABC", "abc ", "äbc"):
        with pytest.raises(NotFound):
            await registry.get_image(other)
        await registry.create_image(Image(id=other))


@with_registry
async def test_what_does_not_fit_is_refused_and_nothing_is_kept(registry: Registry) -> None:
    bad: list[dict[str, Any]] = [
        {"name": "n" * 256},
        {"size": 2**63},
        {"min_ram": 2**31},
        {"properties": {"p": "v" * 65537}},
        {"properties": {"p" * 513: "v"}},
        {"tags": ["t" * 256]},
        {"name": "\ud800"},
    ]
    for fields in bad:
        with pytest.raises(InvalidValue):
            await add(registry, **fields)
    assert await ids(registry, deleted=None) == []


@with_registry
async def test_the_largest_values_fit(registry: Registry) -> None:
    name = "ü" * 255
    image = Image(id=new_id(), name=name, size=2**63 - 1, properties={"p" * 512: "v" * 65536}, tags=["t" * 255])
    assert (await registry.create_image(image)).properties == image.properties
    assert await ids(registry, equal={"name": name}, properties={"p" * 512: "v" * 65536}) == [image.id]


@with_registry
async def test_unknown_images(registry: Registry) -> None:
    nobody = new_id()
    for call in (
        registry.get_image(nobody),
        registry.get_image(nobody, include_deleted=True),
        registry.update_image(nobody, ImageChange()),
        registry.delete_image(nobody),
        registry.begin_upload(lease_of(nobody), from_status=[Status.QUEUED]),
        registry.create_member(Member(nobody, "p")),
        registry.replace_members(nobody, []),
    ):
        with pytest.raises(NotFound):
            await call
    assert await registry.list_members(nobody) == []
    assert await registry.get_member(nobody, "p") is None


# -- changes -------------------------------------------------------------------------------------------


@with_registry
async def test_a_change_touches_only_what_it_names(registry: Registry) -> None:
    before = await registry.create_image(rich_image())
    after = await registry.update_image(before.id, ImageChange(values={"name": None, "min_ram": 8}))
    assert after.updated_at > before.updated_at
    before.name, before.min_ram, before.updated_at = None, 8, after.updated_at
    assert after == before
    assert await registry.get_image(before.id) == after


@with_registry
async def test_properties_are_set_removed_and_purged(registry: Registry) -> None:
    [image_id] = await add(registry, properties={"a": "1", "b": "2", "c": "3", "A": "x"})
    change = ImageChange(set_properties={"a": "9", "new": None}, remove_properties=("b", "never was"))
    assert (await registry.update_image(image_id, change)).properties == {"a": "9", "c": "3", "new": None, "A": "x"}
    change = ImageChange(set_properties={"z": "1"}, purge_properties=True)
    assert (await registry.update_image(image_id, change)).properties == {"z": "1"}


@with_registry
async def test_tags_are_replaced_added_and_removed(registry: Registry) -> None:
    [image_id] = await add(registry, tags=["a", "b"])
    change = ImageChange(add_tags=("c", "a"), remove_tags=("b", "never was"))
    assert (await registry.update_image(image_id, change)).tags == ["a", "c"]
    assert (await registry.update_image(image_id, ImageChange(tags=["z", "y", "z"]))).tags == ["y", "z"]
    assert (await registry.update_image(image_id, ImageChange(tags=[]))).tags == []


@with_registry
async def test_locations_keep_their_order_and_their_numbers_while_they_stay(registry: Registry) -> None:
    [image_id] = await add(registry, locations=[Location("file:///1"), Location("file:///2")])
    first = await registry.get_image(image_id)
    same = await registry.update_image(image_id, ImageChange(locations=first.locations))
    assert same.locations == first.locations
    swapped = await registry.update_image(image_id, ImageChange(locations=first.locations[::-1]))
    assert [at.url for at in swapped.locations] == ["file:///2", "file:///1"]
    assert (await registry.update_image(image_id, ImageChange(locations=[]))).locations == []


@with_registry
async def test_columns_of_the_registrys_own_cannot_be_set(registry: Registry) -> None:
    [image_id] = await add(registry)
    for name in ("id", "deleted", "created_at", "updated_at", "deleted_at", "nonsense"):
        with pytest.raises(InvalidValue):
            await registry.update_image(image_id, ImageChange(values={name: "1"}))


@with_registry
async def test_a_status_changes_only_from_where_it_was_expected(registry: Registry) -> None:
    [image_id] = await add(registry)
    change = ImageChange(values={"status": Status.ACTIVE}, set_properties={"a": "b"})
    with pytest.raises(WrongStatus):
        await registry.update_image(image_id, change, from_status=[Status.SAVING, Status.KILLED])
    assert (await registry.get_image(image_id)).properties == {}
    image = await registry.update_image(image_id, change, from_status=[Status.QUEUED])
    assert (image.status, image.properties) == (Status.ACTIVE, {"a": "b"})


@with_registry
async def test_a_delete_may_move_the_status_in_the_same_step(registry: Registry) -> None:
    image = await registry.create_image(rich_image())
    waits = Status.PENDING_DELETE
    assert image.protected
    for status in (Status.QUEUED, image.status):
        with pytest.raises(WrongStatus):
            await registry.delete_image(image.id, status=waits, from_status=[status])
    assert await registry.get_image(image.id) == image
    await registry.update_image(image.id, ImageChange({"protected": False}))
    gone = await registry.delete_image(image.id, status=waits, from_status=[image.status])
    assert (gone.deleted, gone.status, gone.locations, gone.tags) == (True, waits, image.locations, [])


@with_registry
async def test_a_deleted_image_leaves_its_row_alone(registry: Registry) -> None:
    image = await registry.create_image(rich_image())
    await registry.create_member(Member(image.id, "p2"))
    gone = await registry.delete_image(image.id)
    assert gone.deleted
    assert gone.deleted_at is not None
    assert gone.status is Status.ACTIVE
    assert (gone.properties, gone.tags, gone.locations) == ({}, [], [])
    assert await registry.list_members(image.id) == []
    assert await registry.list_shared("p2") == []
    assert await registry.get_image(image.id, include_deleted=True) == gone
    assert await registry.delete_image(image.id) == gone
    with pytest.raises(WrongStatus):
        await registry.delete_image(image.id, from_status=[Status.ACTIVE])
    with pytest.raises(NotFound):
        await registry.get_image(image.id)
    with pytest.raises(NotFound):
        await registry.update_image(image.id, ImageChange(values={"name": "x"}))


# -- changes at the same time --------------------------------------------------------------------------


@with_registry
async def test_one_of_many_status_changes_wins(registry: Registry) -> None:
    [image_id] = await add(registry)
    change = ImageChange(values={"status": Status.ACTIVE})
    calls = [registry.update_image(image_id, change, from_status=[Status.QUEUED]) for _ in range(20)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(result, Image) for result in results) == 1
    assert sum(isinstance(result, WrongStatus) for result in results) == 19


@with_registry
async def test_many_writers_at_once_all_succeed(registry: Registry) -> None:
    [image_id] = await add(registry)
    calls = [registry.update_image(image_id, ImageChange(set_properties={f"p{n}": "v"})) for n in range(60)]
    calls += [registry.create_image(Image(id=new_id(), properties={"a": "b"})) for _ in range(60)]
    await asyncio.gather(*calls)
    assert len((await registry.get_image(image_id)).properties) == 60


@with_registry
async def test_what_comes_out_of_a_change_is_as_was_asked_or_nothing_changes(registry: Registry) -> None:
    [image_id] = await add(registry, disk_format="raw")
    most = {"properties": 3, "tags": -1}
    calls = [registry.update_image(image_id, ImageChange(set_properties={f"p{n}": "v"}, most=most)) for n in range(9)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(result, Image) for result in results) == 3
    assert sum(isinstance(result, LimitExceeded) for result in results) == 6
    for disk_format in ("qcow2", None):
        with pytest.raises(WrongStatus):
            await registry.update_image(image_id, ImageChange({"name": "x"}, expected={"disk_format": disk_format}))
    image = await registry.update_image(image_id, ImageChange({"min_ram": 1}, expected={"disk_format": "raw"}))
    assert (image.name, image.min_ram, len(image.properties)) == (None, 1, 3)


@with_registry
async def test_an_image_is_never_seen_half_changed(registry: Registry) -> None:
    [image_id] = await add(registry, name="0", properties={"n": "0"})

    async def change() -> None:
        for n in map(str, range(1, 60)):
            await registry.update_image(image_id, ImageChange(values={"name": n}, set_properties={"n": n}))

    writing = asyncio.create_task(change())
    while not writing.done():
        image = await registry.get_image(image_id)
        assert image.name == image.properties["n"]
    await writing


def test_an_image_is_whole_whatever_the_database_lets_one_answer_hold(mariadb: MariaDB) -> None:
    """Around ``max_allowed_packet``, above which MariaDB makes no JSON."""

    async def body() -> None:
        registry = DatabaseRegistry(Database(url))
        # In JSON a control character is six bytes. Statuses differ in length, so some sizes are too large for some only.
        common: dict[str, str | None] = {f"p{n}": "\x01" * 10_000 for n in range(16)}
        for more in (1, *range(22_000, 22_400, 16), 60_000):
            wanted = rich_image()
            wanted.properties |= common | {"more": "x" * more}
            created = await registry.create_image(wanted)
            assert (created.properties, created.tags) == (wanted.properties, sorted(wanted.tags))
            assert [at.metadata for at in created.locations] == [{"n": [1, None]}, {}]
            assert await registry.get_image(wanted.id) == created
            changed = await registry.update_image(wanted.id, ImageChange({"status": Status.PENDING_DELETE}))
            assert await registry.list_images(ImageQuery(visible=(Visible(("community",)), Visible(owner="p1")))) == [changed]
            assert changed.properties == wanted.properties
            assert (await registry.delete_image(wanted.id)).deleted
        await registry.aclose()

    url = migrated(mariadb.new_database())
    [[before]] = mariadb.execute("SELECT @@global.max_allowed_packet")
    mariadb.execute(f"SET GLOBAL max_allowed_packet = {1 << 20}")
    try:
        with patch.object(queries, "_large_image", wraps=queries._large_image) as large:
            asyncio.run(body())
        assert 0 < large.call_count < 4 * 27, "images of both kinds"
    finally:
        mariadb.execute(f"SET GLOBAL max_allowed_packet = {before}")


@with_registry
async def test_storage_of_an_owner(registry: Registry) -> None:
    twice = [Location("file:///a"), Location("file:///b")]
    await add(registry, owner="p", size=10, status=Status.ACTIVE, locations=twice)
    await add(registry, owner="p", size=100, status=Status.SAVING)
    await add(registry, owner="p", size=1000, status=Status.QUEUED)
    await add(registry, owner="p", size=10000, status=Status.KILLED, locations=twice[:1])
    await add(registry, owner=None, size=7, status=Status.ACTIVE, locations=twice[:1])
    [gone] = await add(registry, owner="p", size=5, status=Status.ACTIVE, locations=twice)
    await registry.delete_image(gone)
    assert await registry.storage_used("p") == 120
    assert await registry.storage_used(None) == 7
    assert await registry.storage_used("nobody") == 0


@with_registry
async def test_a_registry_that_works_says_so(registry: Registry) -> None:
    await registry.check()


@with_registry
async def test_errors_carry_a_sentence(registry: Registry) -> None:
    with pytest.raises(ImageServiceError) as caught:
        await registry.get_image("nobody")
    assert caught.value.message == "No image found with ID nobody."
