"""Pages are read from indexes: SQLite's plans for the forms of query that clients send (MariaDB is told its index by name)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, inspect

from image_service.registry import pages, schema
from image_service.registry.engine import Database
from image_service.registry.interface import SORT_KEYS, ImageQuery, SortKey, Visible
from image_service.registry.queries import Values

ADMIN = (Visible(("public", "shared", "private")),)
USER = (Visible(("public",)), Visible(owner="p"), Visible(("shared",), member="p", member_status="accepted"))
READ = ["images", "image_properties", "image_tags", "image_locations"]
"""Tables that whole images are read from, each by an index, when the page is found."""
ORDERS = [(SortKey(key, down),) for key in SORT_KEYS for down in (False, True)]


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('pages')}/registry.db")
    schema.sync(database)
    with database.engine.connect() as found:
        yield found
    database.close()


def plan(connection: Connection, query: ImageQuery) -> str:
    """What SQLite says it will do to find a page."""
    order = pages.full_order(query.sort)
    marker = None if query.marker is None else [None if n == 0 and query.marker == "null" else "x" for n in range(len(order))]
    values = Values(connection)
    rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {pages.Page(query, order, marker, values).statement()}", values)
    found, read = "\n".join(row[3] for row in rows).split("SCAN page\n")
    assert [line.split(" ")[1] for line in read.splitlines() if line.startswith(("SEARCH", "SCAN"))] == READ
    assert "SCAN" not in read
    return found


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("marker", [None, "there"])
def test_all_images_are_read_in_order(connection: Connection, order: tuple[SortKey, ...], marker: str | None) -> None:
    found = plan(connection, ImageQuery(visible=ADMIN, equal={"os_hidden": False}, sort=order, marker=marker, limit=20))
    assert "SCAN images" not in found
    parts = found.split("SCAN (", maxsplit=1)[0].split("UNION")
    assert all(f"ix_images_{order[0].column}" in part for part in parts if "SEARCH images" in part), found
    if marker is None or order[0].column in ("created_at", "id"):
        assert "TEMP B-TREE" not in found


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("marker", [None, "there"])
def test_a_project_finds_its_few_images_first(connection: Connection, order: tuple[SortKey, ...], marker: str | None) -> None:
    found = plan(connection, ImageQuery(visible=USER, equal={"os_hidden": False}, sort=order, marker=marker, limit=20))
    assert "SCAN images" not in found
    searches = [line for line in found.splitlines() if line.strip().startswith("SEARCH images")]
    narrow = ("(visibility=? AND deleted=?", "(owner=? AND deleted=?", "(id=?", "(deleted=? AND id=?")
    assert searches
    assert all(any(way in line for way in narrow) for line in searches), found


def test_mariadb_is_told_an_index_that_there_is(connection: Connection) -> None:
    indexes = {index["name"] for index in inspect(connection).get_indexes("images")}
    for order in ORDERS:
        for visible in (None, ADMIN, USER):
            values = Values(connection)
            values.sqlite = False
            text = pages.Page(ImageQuery(visible=visible, sort=order), pages.full_order(order), None, values).statement()
            named = {part.split(")")[0] for part in text.split("FORCE INDEX (")[1:]}
            assert named
            assert named <= indexes
