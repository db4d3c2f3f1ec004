"""Lists of images: what every registry promises (``registry/interface.py``), in all four places."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import event

from image_service.errors import InvalidValue, NotFound
from image_service.model import Image, Member, MemberStatus, Status, Visibility, new_id, now
from image_service.registry.database import DatabaseRegistry
from image_service.registry.engine import Database
from image_service.registry.interface import SORT_KEYS, ImageChange, ImageQuery, Registry, SortKey, TimeFilter, Visible
from tests.functional.registries import Place, add, ids, names, with_registry


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
        {"sort": (SortKey("min_disk"),)},
        {"marker": new_id()},
    ]
    for query in bad:
        with pytest.raises(InvalidValue):
            await ids(registry, **query)


HOSTILE = ("%s", "%(v0)s", "%%", ":v0", "?", "'", '"', "`", "\\", "' OR 1=1 --", "'; DROP TABLE images; --", "a\nb", "{0}")
MANY = tuple(f"other {number}" for number in range(2000))
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
            ImageQuery(one_of={"name": (text, *MANY)}),
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


@pytest.mark.parametrize("place", ["sqlite", "mariadb"], indirect=True)
def test_a_page_is_one_statement_whatever_is_on_it(place: Place) -> None:
    """And the marker another one."""

    async def body() -> None:
        database, seen = Database(place.url), list[str]()
        registry = DatabaseRegistry(database)
        made = await add(registry, 30, properties={"a": "b", "c": "d"}, tags=["t", "u"])
        event.listen(database.engine, "before_cursor_execute", lambda _c, _cursor, statement, *_: seen.append(statement))
        for query, images, statements in ((ImageQuery(limit=20), 20, 1), (ImageQuery(marker=made[25]), 25, 2)):
            seen.clear()
            assert len(await registry.list_images(query)) == images
            assert len(seen) == statements, seen
        await registry.aclose()

    asyncio.run(body())
