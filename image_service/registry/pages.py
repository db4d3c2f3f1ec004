"""Lists of images: what is asked becomes a statement, read from the indexes that fit it.

A page costs the same whatever the table holds, wherever in the list it is (but for those of :meth:`Page._apart`). For that it
is put together from alternatives, each of which is read in order from one index, no further than the limit: a reason to see an
image; deleted or not; equal to the marker in the first key, beyond it, or null. The union of these short lists is sorted again.
Checked with EXPLAIN on 100,000 images, SQLite 3.40 and MariaDB 10.11.

Who may see what and which filters apply come as data: no rule of the domain is here.
"""

# ruff: noqa: S608 - only names of columns become text; see Page

from __future__ import annotations

from collections.abc import Sequence

import orjson
from sqlalchemy import Connection

from image_service.errors import InvalidValue
from image_service.model import Image, Visibility
from image_service.registry.interface import SORT_KEYS, ImageQuery, SortKey, Visible
from image_service.registry.queries import Values, read_images
from image_service.registry.tables import IMAGES

# Each is a condition of its own, as often as the statement has alternatives, and SQLite takes 1,000 in a row.
_MOST_FILTERS = 128
_MANY_CHOICES = 100
_COMPARISONS = {"eq": "=", "neq": "!=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
# What one owner has, and what is public, has indexes of its own in these orders.
_SORTED_APART = ("created_at", "name")
# Nearly all images have the same value of these.
_FLAGS = frozenset({"os_hidden", "protected"})
_EVERYTHING = Visible()


def find_images(connection: Connection, query: ImageQuery) -> list[Image]:
    """A page of whole images.

    ``InvalidValue`` for a marker that never existed, a column that there is not, or too many filters.
    """
    if len(query.properties) + len(query.tags) > _MOST_FILTERS:
        raise InvalidValue(f"Images are listed by at most {_MOST_FILTERS} properties and tags at once.")
    if query.visible == () or query.limit == 0:
        return []
    order = full_order(query.sort)
    values = Values(connection)
    page = Page(query, order, _marker(connection, query.marker, order), values)
    return read_images(connection, page.statement(), values)


def full_order(sort: tuple[SortKey, ...]) -> tuple[SortKey, ...]:
    """The sort keys with the ones that break ties, so that no two images are equal; what comes after an id is of no use."""
    last = sort[-1].descending if sort else True
    order: dict[str, SortKey] = {}
    for key in (*sort, SortKey("created_at", last), SortKey("id", last)):
        if key.column not in SORT_KEYS:
            raise InvalidValue(f"Images cannot be sorted by {key.column}.")
        order.setdefault(key.column, key)
        if key.column == "id":
            break
    return tuple(order.values())


def _marker(connection: Connection, marker: str | None, order: tuple[SortKey, ...]) -> Sequence[object] | None:
    """The sort keys of the last image of the page before."""
    if marker is None:
        return None
    values, keys = Values(connection), ", ".join(key.column for key in order)
    found = connection.exec_driver_sql(f"SELECT {keys} FROM images WHERE id = {values.bind(marker)}", values).first()
    if found is None:
        raise InvalidValue(f"Invalid marker: No image found with ID {marker}.")
    return tuple(found)


class Page:
    """The statement of one page, for ``queries.read_images``.

    What is asked for goes into ``values``; only names of columns become text.
    """

    def __init__(self, query: ImageQuery, order: tuple[SortKey, ...], marker: Sequence[object] | None, values: Values) -> None:
        self._query, self._order, self._values = query, order, values
        # What stands for the marker's value of each sort key; None where that is null.
        self._marker = [None if value is None else values.bind(value) for value in marker or ()]
        self._limit = "" if query.limit is None else f" LIMIT {values.bind(query.limit)}"
        self._filters = self._equalities() + self._ranges()

    def statement(self) -> str:
        """The ordered page."""
        deleted = (False, True) if self._query.deleted is None else (self._query.deleted,)
        alternatives = [
            (reason, flag, segment)
            for reason in self._query.visible or (_EVERYTHING,)
            for flag in deleted
            for segment in self._segments(0, self._apart(reason))
        ]
        columns = ", ".join(dict.fromkeys(["id", *(key.column for key in self._order)]))
        parts = [self._alternative(columns, *each) for each in alternatives]
        page = parts[0]
        if len(parts) > 1:
            union = " UNION ".join(f"SELECT * FROM ({part}) AS part_{n}" for n, part in enumerate(parts))
            page = f"SELECT * FROM ({union}) AS found ORDER BY {self._directions('found')}{self._limit}"
        # Whole images are made of what is on the page, not of all that was sorted for it.
        images = f"({page}) AS page JOIN images ON images.id = page.id"
        return f"SELECT {self._values.image()} FROM {images} ORDER BY {self._directions('page')}"

    def _directions(self, table: str) -> str:
        return ", ".join(_directed(f"{table}.{key.column}", key) for key in self._order)

    def _alternative(self, columns: str, reason: Visible, deleted: bool, segment: tuple[str, int]) -> str:
        after, equal_keys = segment
        conditions = " AND ".join([*self._reason(reason), f"deleted = {int(deleted)}", *self._filters, after])
        # MariaDB sorts again when a column is ordered by that is the same everywhere.
        keys = self._order[equal_keys:]
        order = ", ".join(_directed(self._sorted(key.column, self._apart(reason)), key) for key in keys)
        return f"SELECT {columns} FROM images{self._hint(reason)} WHERE {conditions} ORDER BY {order}{self._limit}"

    def _hint(self, reason: Visible) -> str:
        """The index that an alternative is read from, unless filters may know a better one. Left to itself MariaDB takes
        "deleted" alone as the way in, and reads from the beginning of the list to the marker.
        """
        query, key = self._query, self._order[0].column
        sizes = query.size_min is not None or query.size_max is not None
        selective = query.equal.keys() - _FLAGS or query.one_of or query.properties or query.tags or query.times or sizes
        if self._values.sqlite or selective or reason.member is not None:
            return ""
        if reason.owner is not None or len(reason.visibilities) == 1:
            whose = "visibility" if reason.owner is None else "owner"
            return f" FORCE INDEX (ix_images_{whose}{'_name' if key == 'name' else ''})"
        return f" FORCE INDEX (ix_images_{key})"

    def _apart(self, reason: Visible) -> bool:
        """Is the reason so narrow that its images are found first, and sorted then?"""
        one = reason.owner is not None or len(reason.visibilities) == 1
        return reason.member is not None or (one and self._order[0].column not in _SORTED_APART)

    def _sorted(self, column: str, apart: bool) -> str:
        """A column to sort by. SQLite keeps no statistics here and would walk through all images in order rather than sort a
        few: a plus sign hides the order from it. MariaDB decides better by itself.
        """
        return f"+{column}" if apart and self._values.sqlite else column

    def _reason(self, reason: Visible) -> list[str]:
        """Who may see it."""
        bind, visibilities = self._values.bind, reason.visibilities
        conditions = [] if reason.owner is None else [f"owner = {bind(reason.owner)}"]
        if reason.member is not None:
            of_status = "" if reason.member_status is None else f" AND status = {bind(reason.member_status)}"
            shared = f"SELECT image_id FROM image_members WHERE image_members.member = {bind(reason.member)}{of_status}"
            wanted = Visibility.SHARED if not visibilities or Visibility.SHARED in visibilities else ""
            return [*conditions, f"id IN ({shared})", f"{self._sorted('visibility', True)} = {bind(wanted)}"]
        if len(visibilities) == 1:
            return [*conditions, f"visibility = {bind(visibilities[0])}"]
        # Not IN (...): an index on visibility would not give these in order, so it must not look usable.
        others = [other for other in Visibility if visibilities and other not in visibilities]
        return conditions + [f"visibility != {bind(other)}" for other in others]

    def _equalities(self) -> list[str]:
        query, bind = self._query, self._values.bind
        conditions = [
            f"{_column(column)} IS NULL" if value is None else f"{_column(column)} = {bind(value)}"
            for column, value in query.equal.items()
        ]
        conditions += [f"{_column(column)} IN ({self._choices(choices)})" for column, choices in query.one_of.items()]
        conditions += [f"status != {bind(status)}" for status in query.exclude_statuses]
        for name, value in query.properties.items():
            having = f"SELECT image_id FROM image_properties WHERE name = {bind(name)} AND value = {bind(value)}"
            conditions.append(f"id IN ({having})")
        return conditions + [f"id IN (SELECT image_id FROM image_tags WHERE value = {bind(tag)})" for tag in query.tags]

    def _choices(self, choices: tuple[str, ...]) -> str:
        """What a value is looked for in. SQLite takes long for thousands of names in a statement, and keeps the statement."""
        if self._values.sqlite and len(choices) > _MANY_CHOICES:
            return f"SELECT value FROM json_each({self._values.bind(orjson.dumps(choices).decode())})"
        return ", ".join(map(self._values.bind, choices)) or "NULL"

    def _ranges(self) -> list[str]:
        query, bind = self._query, self._values.bind
        conditions = [] if query.size_min is None else [f"size >= {bind(query.size_min)}"]
        conditions += [] if query.size_max is None else [f"size <= {bind(query.size_max)}"]
        # With a status, which has an index in the usual order, a time must not look like the better way in.
        by_status = query.equal.get("status") is not None
        for time in query.times:
            if time.op not in _COMPARISONS:
                raise InvalidValue(f"There is no comparison {time.op} of times.")
            conditions.append(f"{self._sorted(_column(time.column), by_status)} {_COMPARISONS[time.op]} {bind(time.value)}")
        return conditions

    def _segments(self, n: int, apart: bool) -> list[tuple[str, int]]:
        """Where the images after the marker are, from key ``n`` on: ranges of an index that do not overlap, and how many keys
        are the same all over each. Nulls are smallest.
        """
        if not self._marker:
            return [("TRUE", 0)]
        key, value = self._order[n], self._marker[n]
        column, nullable = self._sorted(key.column, apart), IMAGES.c[key.column].nullable
        if len(self._order) - n <= 2 and not nullable:
            return [(self._tail(n, apart), n)]
        same = f"{column} IS NULL" if value is None else f"{column} = {value}"
        segments = [(f"{same} AND {rest}", equal_keys) for rest, equal_keys in self._segments(n + 1, apart)]
        if value is None:
            return segments if key.descending else [*segments, (f"{column} IS NOT NULL", n)]
        segments.append((f"{column} {'<' if key.descending else '>'} {value}", n))
        return [*segments, (f"{column} IS NULL", n + 1)] if key.descending and nullable else segments

    def _tail(self, n: int, apart: bool) -> str:
        """The last two keys, or the last: nearly no two images are equal in them, so one range is enough."""
        key, value = self._order[n], self._marker[n]
        column, beyond = self._sorted(key.column, apart), "<" if key.descending else ">"
        if n + 1 == len(self._order):
            return f"{column} {beyond} {value}"
        rest = f"{column} {beyond} {value} OR {column} = {value} AND {self._tail(n + 1, apart)}"
        return f"{column} {beyond}= {value} AND ({rest})"


def _directed(column: str, key: SortKey) -> str:
    return f"{column} {'DESC' if key.descending else 'ASC'}"


def _column(name: str) -> str:
    if name not in IMAGES.c:
        raise InvalidValue(f"Images have no attribute {name}.")
    return name
