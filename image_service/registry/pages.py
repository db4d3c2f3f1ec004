"""Lists of images: what is asked becomes a statement and its values.

A statement depends on the :class:`Shape` of a query alone and is compiled once for each; values go in by
name. Who may see what and which filters apply come as data: no rule of the domain is here.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select

from image_service.errors import InvalidValue
from image_service.model import Image
from image_service.registry.interface import ImageQuery, SortKey, Visible
from image_service.registry.page_statement import PageStatement, Shape
from image_service.registry.queries import Row, Statements, whole_images
from image_service.registry.tables import IMAGES

# Each is a condition of its own, as often as the statement has alternatives, and SQLite takes 1,000 in a row.
_MOST_FILTERS = 128


def find_images(connection: Connection, statements: Statements, query: ImageQuery) -> list[Image]:
    """A page of whole images.

    ``InvalidValue`` for a marker that never existed, a column that there is not, or too many filters.
    """
    if len(query.properties) + len(query.tags) > _MOST_FILTERS:
        raise InvalidValue(f"Images are listed by at most {_MOST_FILTERS} properties and tags at once.")
    if query.visible == () or query.limit == 0:
        return []
    order = full_order(query.sort)
    marker = _marker(connection, statements, query.marker, order)
    shape = shape_of(query, order, marker)
    statement = statements.get(shape, lambda: PageStatement(shape, sqlite=statements.sqlite).build())
    values = _values(query, marker, statements.moment)
    return whole_images(connection, statements, lambda: statement.rows(connection, values))


def full_order(sort: tuple[SortKey, ...]) -> tuple[SortKey, ...]:
    """The sort keys with the ones that break ties, so that no two images are equal; what comes after an id is
    of no use.
    """
    last = sort[-1].descending if sort else True
    order: dict[str, SortKey] = {}
    for key in (*sort, SortKey("created_at", last), SortKey("id", last)):
        if key.column not in IMAGES.c:
            raise InvalidValue(f"Images cannot be sorted by {key.column}.")
        order.setdefault(key.column, key)
        if key.column == "id":
            break
    return tuple(order.values())


def _marker(connection: Connection, statements: Statements, marker: str | None, order: tuple[SortKey, ...]) -> Row | None:
    if marker is None:
        return None
    columns = [IMAGES.c[key.column] for key in order]
    statement = statements.get(("marker", order), lambda: select(*columns).where(IMAGES.c.id == bindparam("id")))
    rows = statement.rows(connection, {"id": marker})
    if not rows:
        raise InvalidValue(f"No image found with ID {marker} (marker).")
    return rows[0]


def shape_of(query: ImageQuery, order: tuple[SortKey, ...], marker: Row | None) -> Shape:
    """What ``query`` has in common with others that differ in values alone."""
    return Shape(
        visible=tuple([_visible_shape(v) for v in query.visible]) if query.visible else (),
        equal=tuple([(column, value is None) for column, value in query.equal.items()]),
        one_of=tuple([(column, len(values)) for column, values in query.one_of.items()]),
        properties=len(query.properties),
        tags=len(query.tags),
        size_min=query.size_min is not None,
        size_max=query.size_max is not None,
        times=tuple([(moment.column, moment.op) for moment in query.times]),
        deleted=query.deleted,
        exclude_statuses=query.exclude_statuses,
        order=order,
        marker_nulls=None if marker is None else tuple([value is None for value in marker]),
        limited=query.limit is not None,
    )


def _visible_shape(reason: Visible) -> tuple[tuple[str, ...], bool, bool, bool]:
    return (
        reason.visibilities,
        reason.owner is not None,
        reason.member is not None,
        reason.member_status is not None,
    )


def _values(query: ImageQuery, marker: Row | None, moment: Callable[[datetime], object]) -> dict[str, Any]:
    """The values of a page's statement, by the names that the functions below give them."""
    values: dict[str, Any] = {"limit": query.limit, "size_min": query.size_min, "size_max": query.size_max}
    for n, reason in enumerate(query.visible or ()):
        values |= {
            f"owner_{n}": reason.owner,
            f"member_{n}": reason.member,
            f"member_status_{n}": reason.member_status,
        }
    for column, value in query.equal.items():
        values[f"equal_{column}"] = value
    for column, choices in query.one_of.items():
        values |= {f"one_of_{column}_{n}": choice for n, choice in enumerate(choices)}
    for n, (name, text) in enumerate(query.properties.items()):
        values |= {f"property_{n}": name, f"property_value_{n}": text}
    values |= {f"tag_{n}": tag for n, tag in enumerate(query.tags)}
    values |= {f"time_{n}": moment(time.value) for n, time in enumerate(query.times)}
    values |= {f"status_{n}": status for n, status in enumerate(query.exclude_statuses)}
    values |= {f"marker_{n}": value for n, value in enumerate(marker or ())}
    return values
