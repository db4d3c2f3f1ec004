"""What every registry promises (``registry/interface.py``), on all four combinations of database and distance."""

from __future__ import annotations

import asyncio
import multiprocessing
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import delete, update

from image_service.errors import Duplicate, ImageServiceError, InvalidValue, LimitExceeded, NotFound, WrongStatus
from image_service.model import (
    Image,
    Location,
    Member,
    MemberStatus,
    Status,
    UploadKind,
    UploadLease,
    Visibility,
    new_id,
    now,
)
from image_service.registry.database import DatabaseRegistry
from image_service.registry.engine import Database
from image_service.registry.interface import (
    SORT_KEYS,
    ImageChange,
    ImageQuery,
    Registry,
    SortKey,
    TimeFilter,
    Visible,
)
from image_service.registry.tables import IMAGE_MEMBERS, IMAGE_UPLOADS
from tests.functional.registries import Place, migrated, with_registry
from tests.functional.running import eventually
from tests.mariadb import MariaDB


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


# -- one image -----------------------------------------------------------------------------------------


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
async def test_given_dates_are_kept(registry: Registry) -> None:
    moment = now() - timedelta(days=3, microseconds=now().microsecond)
    image = await registry.create_image(Image(id=new_id(), created_at=moment, updated_at=moment))
    assert (image.created_at, image.updated_at) == (moment, moment)


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
    with pytest.raises(NotFound):
        await registry.get_image(image.id)
    with pytest.raises(NotFound):
        await registry.update_image(image.id, ImageChange(values={"name": "x"}))


# -- lists ---------------------------------------------------------------------------------------------


@with_registry
async def test_every_filter(registry: Registry) -> None:
    await add(registry, name="a", size=1, disk_format="raw", tags=["t"], properties={"k": "v", "l": "w"})
    await add(registry, name="b", size=5, min_disk=3, protected=True, tags=["t", "u"], properties={"k": "V"})
    await add(registry, name="A", status=Status.KILLED, owner="p", os_hidden=True, properties={"k": "v "})
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({"equal": {"name": "a"}}, ["a"]),
        ({"equal": {"name": "a "}}, []),
        ({"equal": {"size": None}}, ["A"]),
        ({"equal": {"protected": True}}, ["b"]),
        ({"equal": {"min_disk": 3, "os_hidden": False}}, ["b"]),
        ({"equal": {"owner": "p", "status": "killed"}}, ["A"]),
        ({"one_of": {"name": ("a", "b", "zz")}}, ["a", "b"]),
        ({"one_of": {"name": ()}}, []),
        ({"properties": {"k": "v"}}, ["a"]),
        ({"properties": {"k": "v", "l": "w"}}, ["a"]),
        ({"properties": {"k": "v", "l": "x"}}, []),
        ({"tags": ("t",)}, ["a", "b"]),
        ({"tags": ("t", "u")}, ["b"]),
        ({"size_min": 1, "size_max": 4}, ["a"]),
        ({"size_min": 1}, ["a", "b"]),
        ({"exclude_statuses": ("killed", "saving")}, ["a", "b"]),
        ({"limit": 0}, []),
        ({"visible": ()}, []),
        ({"deleted": True}, []),
        ({"deleted": None}, ["A", "a", "b"]),
    ]
    for query, wanted in cases:
        assert await names(registry, **query) == wanted, query


@with_registry
async def test_filters_that_there_are_not(registry: Registry) -> None:
    bad: list[dict[str, Any]] = [
        {"equal": {"nonsense": 1}},
        {"one_of": {"nonsense": ("x",)}},
        {"times": (TimeFilter("created_at", "like", now()),)},
        {"sort": (SortKey("nonsense"),)},
        {"marker": new_id()},
    ]
    for query in bad:
        with pytest.raises(InvalidValue):
            await ids(registry, **query)


HOSTILE = ("%s", "%(v0)s", "%%", ":v0", "?", "'", '"', "`", "\\", "' OR 1=1 --", "'; DROP TABLE images; --", "a\nb", "{0}")
JSON = ('","x":"', "[1]", '{"a": 1}', "null", "\\u0041", "/", "\x7f\x01", "\u2028", "🏔")


@with_registry
async def test_values_never_become_sql(registry: Registry) -> None:
    """Reads are text (docs/decisions/0008): whatever a text is, it finds itself and nothing else, and comes back as it was."""
    made = {}
    for text in (*HOSTILE, *JSON):
        image = Image(id=new_id(), name=text, owner=text, properties={text: text}, tags=[text], visibility=Visibility.PRIVATE)
        made[text] = (await registry.create_image(image)).id
        await registry.create_member(Member(image.id, text))
    for text, image_id in made.items():
        for query in (
            ImageQuery(equal={"name": text}),
            ImageQuery(one_of={"name": (text,)}),
            ImageQuery(visible=(Visible(owner=text),)),
            ImageQuery(properties={text: text}),
            ImageQuery(tags=(text,)),
        ):
            [image] = await registry.list_images(query)
            assert (image.id, image.name, image.properties, image.tags) == (image_id, text, {text: text}, [text]), query
        assert await ids(registry, visible=(Visible(member=text),)) == []  # nobody shares it
        with pytest.raises(NotFound):
            await registry.get_image(text)
        with pytest.raises(InvalidValue):
            await ids(registry, marker=text)
    assert len(await ids(registry)) == len(made)


@with_registry
async def test_times(registry: Registry) -> None:
    [early, late] = await add(registry, 2)
    edge = (await registry.get_image(late)).created_at
    wanted = {"eq": [late], "neq": [early], "gt": [], "gte": [late], "lt": [early], "lte": [late, early]}
    for op, found in wanted.items():
        assert await ids(registry, times=(TimeFilter("created_at", op, edge),)) == found, op
    await registry.delete_image(early)
    assert await ids(registry, deleted=None, times=(TimeFilter("updated_at", "gt", edge),)) == [early]


@with_registry
async def test_who_sees_what_is_any_of_the_reasons(registry: Registry) -> None:
    await add(registry, name="public", visibility=Visibility.PUBLIC)
    await add(registry, name="mine", owner="p", visibility=Visibility.PRIVATE)
    await add(registry, name="mine and public", owner="p", visibility=Visibility.PUBLIC)
    await add(registry, name="community", visibility=Visibility.COMMUNITY)
    for name, status in (("accepted", MemberStatus.ACCEPTED), ("pending", MemberStatus.PENDING)):
        [image_id] = await add(registry, name=name, owner="q", visibility=Visibility.SHARED)
        await registry.create_member(Member(image_id, "p", status=status))
    [private] = await add(registry, name="no longer shared", owner="q", visibility=Visibility.PRIVATE)
    await registry.create_member(Member(private, "p"))
    public, own, shared = Visible(("public",)), Visible(owner="p"), Visible(member="p", member_status="accepted")
    cases: list[tuple[tuple[Visible, ...], list[str]]] = [
        ((public,), ["mine and public", "public"]),
        ((public, own), ["mine", "mine and public", "public"]),
        ((public, own, shared), ["accepted", "mine", "mine and public", "public"]),
        ((Visible(member="p"),), ["accepted", "pending"]),
        ((Visible(("private",), owner="p"),), ["mine"]),
        ((Visible(("community", "private")),), ["community", "mine", "no longer shared"]),
        ((Visible(("shared",), owner="q"), own), ["accepted", "mine", "mine and public", "pending"]),
    ]
    for reasons, wanted in cases:
        assert await names(registry, visible=reasons) == wanted, reasons
        limited = await registry.list_images(ImageQuery(visible=reasons, limit=2))
        everything = await registry.list_images(ImageQuery(visible=reasons))
        assert limited == everything[:2], reasons


async def _many(registry: Registry) -> None:
    for n in range(24):
        name = [None, "b", "a", "B"][n % 4]
        size = [None, 7, 3][n % 3]
        formats: dict[str, Any] = {"disk_format": ["raw", None][n % 2], "container_format": [None, "bare"][n // 12]}
        [image_id] = await add(registry, name=name, size=size, visibility=Visibility.PUBLIC, owner="p", **formats)
        if n % 5 == 0:
            await registry.update_image(image_id, ImageChange(values={"status": Status.ACTIVE}))
        if n % 7 == 0:
            await registry.delete_image(image_id)


def _ordering(image: Image, order: tuple[SortKey, ...]) -> list[tuple[bool, Any]]:
    """A key that sorts as the registry should, for ascending orders; nulls first."""
    values = [getattr(image, key.column) for key in order]
    return [(value is not None, value.encode() if isinstance(value, str) else value) for value in values]


@with_registry
async def test_pages_are_the_list_in_pieces_for_every_order(registry: Registry) -> None:
    await _many(registry)
    reasons = (Visible(("public",)), Visible(owner="p"))
    orders: list[tuple[SortKey, ...]] = [(SortKey(column, down),) for column in SORT_KEYS for down in (False, True)]
    orders += [(SortKey("name", False), SortKey("size", True)), (SortKey("size", True), SortKey("disk_format", False))]
    for order in orders:
        for deleted, visible in ((False, None), (None, reasons)):
            whole = await registry.list_images(ImageQuery(sort=order, deleted=deleted, visible=visible))
            assert len(whole) == (24 if deleted is None else 20)
            paged: list[Image] = []
            while page := await registry.list_images(
                ImageQuery(sort=order, deleted=deleted, visible=visible, limit=5, marker=paged[-1].id if paged else None)
            ):
                paged += page
            assert [image.id for image in paged] == [image.id for image in whole], (order, deleted)
            _check_order(whole, order)


def _check_order(images: list[Image], order: tuple[SortKey, ...]) -> None:
    last = order[-1].descending
    full = (*order, SortKey("created_at", last), SortKey("id", last))
    for first, second in pairwise(images):
        for key in full:
            one, two = _ordering(first, (key,)), _ordering(second, (key,))
            if one != two:
                assert (one > two) is key.descending, (order, key)
                break


@with_registry
async def test_a_marker_is_found_whatever_the_filters_say(registry: Registry) -> None:
    [old, middle, new] = await add(registry, 3, visibility=Visibility.PUBLIC)
    await registry.delete_image(middle)
    assert await ids(registry, visible=(Visible(("public",)),), marker=middle) == [old]
    assert await ids(registry, marker=new, limit=1) == [old]


@with_registry
async def test_a_long_page_has_everything(registry: Registry) -> None:
    wanted = await add(registry, 510, properties={"a": "b"}, tags=["t"])
    images = await registry.list_images(ImageQuery())
    assert [image.id for image in images] == wanted[::-1]
    assert all(image.properties == {"a": "b"} and image.tags == ["t"] for image in images)
    known = await registry.list_images(ImageQuery(one_of={"id": (*wanted, new_id())}))
    assert {image.id for image in known} == set(wanted)


# -- uploads -------------------------------------------------------------------------------------------


def lease_of(image_id: str, kind: UploadKind = UploadKind.V2) -> UploadLease:
    """A fresh right to write an image."""
    return UploadLease(image_id, new_id(), kind, "file")


DONE = ImageChange(values={"status": Status.ACTIVE, "size": 3}, locations=[Location("file:///x")])


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


# -- races between processes ---------------------------------------------------------------------------


def _begin_many(url: str, image_id: str, count: int, ready: object, outcomes: object) -> None:
    """In a process of its own: ``count`` uploads at once to one image."""

    async def body() -> list[str]:
        registry = DatabaseRegistry(url)
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


@with_registry
async def test_a_list_shows_nothing_that_has_left_it(registry: Registry) -> None:
    image_ids = await add(registry, 5, visibility=Visibility.PUBLIC, name="open", tags=["open"])
    secret = ImageChange({"visibility": Visibility.PRIVATE, "name": "secret"}, tags=["secret"])
    public = ImageChange({"visibility": Visibility.PUBLIC, "name": "open"}, tags=["open"])

    async def change() -> None:
        for n in range(60):
            await registry.update_image(image_ids[n % 5], public if n // 5 % 2 else secret)

    writing = asyncio.create_task(change())
    while not writing.done():
        for image in await registry.list_images(ImageQuery(visible=(Visible((Visibility.PUBLIC,)), Visible(owner="p")))):
            assert (image.visibility, image.name, image.tags) == (Visibility.PUBLIC, "open", ["open"])
    await writing


def test_an_image_that_no_row_can_hold_is_refused_and_nothing_is_kept(mariadb: MariaDB) -> None:
    """On MariaDB an answer has at most ``max_allowed_packet`` bytes."""

    async def body() -> None:
        registry = DatabaseRegistry(migrated(mariadb.new_database()))
        [image_id] = await add(registry, properties={"small": "1"})
        most = int(str(mariadb.execute("SELECT @@max_allowed_packet")[0][0]))
        # In JSON a control character is six.
        properties: dict[str, str | None] = {f"p{n}": "\x01" * 60_000 for n in range(most // 360_000 + 1)}
        with pytest.raises(LimitExceeded, match="too large"):
            await registry.update_image(image_id, ImageChange(set_properties=properties))
        with pytest.raises(LimitExceeded, match="too large"):
            await add(registry, properties=properties)
        assert [image.properties for image in await registry.list_images(ImageQuery())] == [{"small": "1"}]
        await registry.aclose()

    asyncio.run(body())


# -- members -------------------------------------------------------------------------------------------


@with_registry
async def test_members(registry: Registry) -> None:
    [image_id, other] = await add(registry, 2)
    first = await registry.create_member(Member(image_id, "p1", can_share=True))
    second = await registry.create_member(Member(image_id, "P1"))
    await registry.create_member(Member(other, "p1"))
    with pytest.raises(Duplicate):
        await registry.create_member(Member(image_id, "p1"))
    assert await registry.list_members(image_id) == [first, second]
    assert await registry.get_member(image_id, "p1") == first
    assert [member.image_id for member in await registry.list_shared("p1")] == [image_id, other]
    changed = await registry.update_member(Member(image_id, "p1", status=MemberStatus.ACCEPTED))
    assert (changed.can_share, changed.status, changed.created_at) == (False, MemberStatus.ACCEPTED, first.created_at)
    assert changed.updated_at > first.updated_at
    assert await registry.get_member(image_id, "p1") == changed
    await registry.delete_member(image_id, "p1")
    assert await registry.get_member(image_id, "p1") is None
    for call in (registry.delete_member(image_id, "p1"), registry.update_member(Member(image_id, "p1"))):
        with pytest.raises(NotFound):
            await call


@with_registry
async def test_members_are_counted_in_the_transaction(registry: Registry) -> None:
    [image_id] = await add(registry)
    calls = [registry.create_member(Member(image_id, f"p{n}"), most=2) for n in range(9)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(result, Member) for result in results) == 2
    assert sum(isinstance(result, LimitExceeded) for result in results) == 7
    await registry.create_member(Member(image_id, "more"), most=-1)
    assert len(await registry.list_members(image_id)) == 3


@with_registry
async def test_replaced_members_keep_what_they_said(registry: Registry) -> None:
    [image_id] = await add(registry)
    kept = await registry.create_member(Member(image_id, "kept", status=MemberStatus.ACCEPTED))
    await registry.create_member(Member(image_id, "gone"))
    await registry.replace_members(
        image_id, [Member(image_id, "kept", can_share=True), Member(image_id, "new"), Member(image_id, "new")]
    )
    members = {member.member_id: member for member in await registry.list_members(image_id)}
    assert members.keys() == {"kept", "new"}
    assert (members["kept"].can_share, members["kept"].status) == (True, MemberStatus.ACCEPTED)
    assert members["kept"].created_at == kept.created_at
    await registry.replace_members(image_id, [])
    assert await registry.list_members(image_id) == []


def test_members_who_answer_or_leave_while_members_are_replaced(mariadb: MariaDB) -> None:
    """SQLite has one writer at a time."""
    url = migrated(mariadb.new_database())
    database = Database(url)

    async def body() -> None:
        registry = DatabaseRegistry(url)
        [image_id] = await add(registry)
        for name in ("leaves", "answers"):
            await registry.create_member(Member(image_id, name))
        with database.engine.connect() as leaving:
            leaving.exec_driver_sql("START TRANSACTION")
            leaving.execute(delete(IMAGE_MEMBERS).where(IMAGE_MEMBERS.c.member == "leaves"))
            replacing = asyncio.create_task(registry.replace_members(image_id, [Member(image_id, "answers", can_share=True)]))
            waits = "SELECT 1 FROM information_schema.innodb_lock_waits"
            await asyncio.to_thread(eventually, lambda: mariadb.execute(waits), "members were read, and the one is waited for")
            await registry.update_member(Member(image_id, "answers", status=MemberStatus.ACCEPTED))
            leaving.exec_driver_sql("COMMIT")
        await replacing
        [member] = await registry.list_members(image_id)
        assert (member.member_id, member.can_share, member.status) == ("answers", True, MemberStatus.ACCEPTED)
        await registry.aclose()

    asyncio.run(body())
    database.close()


# -- sums ----------------------------------------------------------------------------------------------


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
