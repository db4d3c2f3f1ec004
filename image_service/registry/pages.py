"""Lists of images: the statement of a page for every form of query, keyset paging, and the values that go
into it.

A statement depends on the :class:`Shape` of a query alone and is compiled once for each; values go in by
name. Who may see what and which filters apply come as data: no rule of the domain is here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, literal_column, or_, select, union

from image_service.errors import InvalidValue
from image_service.model import Image, Visibility
from image_service.registry.interface import ImageQuery, SortKey, Visible
from image_service.registry.queries import Row, Statements, whole_images
from image_service.registry.tables import IMAGE_MEMBERS, IMAGE_PROPERTIES, IMAGE_TAGS, IMAGES

Condition = ColumnElement[bool]

_COMPARISONS = {
    "eq": "__eq__",
    "neq": "__ne__",
    "gt": "__gt__",
    "gte": "__ge__",
    "lt": "__lt__",
    "lte": "__le__",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """The form of a query without its values: what a compiled statement is found by."""

    visible: tuple[tuple[tuple[str, ...], bool, bool, bool], ...]
    equal: tuple[tuple[str, bool], ...]
    one_of: tuple[tuple[str, int], ...]
    properties: int
    tags: int
    size_min: bool
    size_max: bool
    times: tuple[tuple[str, str], ...]
    deleted: bool | None
    exclude_statuses: tuple[str, ...]
    order: tuple[SortKey, ...]
    # Of each sort key: is the marker's value null? None: there is no marker.
    marker_nulls: tuple[bool, ...] | None
    limited: bool


def find_images(connection: Connection, statements: Statements, query: ImageQuery) -> list[Image]:
    """A page of whole images.

    ``InvalidValue`` for a marker that never existed or a column that there is not.
    """
    if query.visible == () or query.limit == 0:
        return []
    order = full_order(query.sort)
    marker = _marker(connection, statements, query.marker, order)
    shape = shape_of(query, order, marker)
    statement = statements.get(shape, lambda: page_statement(shape))
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


def page_statement(shape: Shape) -> Any:
    """The ordered page. Each alternative (a reason to see an image; deleted or not; before or among the
    nulls) is read from an index of its own, in order and no further than the limit, and the union of these
    short lists is sorted again.
    """
    order = [_direction(IMAGES.c[key.column], key) for key in shape.order]
    common = [*_filters(shape), *_exclusions(shape)]
    alternatives = [
        _limited(select(IMAGES).where(reason, deleted, after, *common).order_by(*order), shape)
        for reason in _reasons(shape)
        for deleted in _deleted(shape)
        for after in _after_marker(shape)
    ]
    if len(alternatives) == 1:
        return alternatives[0]
    merged = union(*[select(alternative.subquery()) for alternative in alternatives]).subquery()
    return _limited(select(merged).order_by(*[_direction(merged.c[key.column], key) for key in shape.order]), shape)


def _limited(statement: Select[Any], shape: Shape) -> Select[Any]:
    return statement.limit(bindparam("limit")) if shape.limited else statement


def _direction(column: ColumnElement[Any], key: SortKey) -> ColumnElement[Any]:
    return column.desc() if key.descending else column.asc()


def _true() -> Condition:
    return and_(True)


def _false() -> Condition:
    return literal_column("0") == literal_column("1")


def _reasons(shape: Shape) -> Iterator[Condition]:
    if not shape.visible:
        yield _true()
    for n, (visibilities, by_owner, by_member, by_status) in enumerate(shape.visible):
        parts = [_visibility(visibilities)]
        if by_owner:
            parts.append(IMAGES.c.owner == bindparam(f"owner_{n}"))
        if by_member:
            parts += [
                IMAGES.c.visibility == literal_column("'shared'"),
                IMAGES.c.id.in_(_shared_with(n, by_status)),
            ]
        yield and_(True, *parts)


def _visibility(visibilities: tuple[str, ...]) -> Condition:
    """Several are written as "none of the others":

    an index on visibility would not give them in order, so it must not look usable.
    """
    if len(visibilities) == 1:
        return IMAGES.c.visibility == literal_column(f"'{Visibility(visibilities[0])}'")
    others: list[ColumnElement[str]] = [literal_column(f"'{v}'") for v in Visibility if visibilities and v not in visibilities]
    return and_(True, *[IMAGES.c.visibility != other for other in others])


def _shared_with(n: int, by_status: bool) -> Select[Any]:
    ids = select(IMAGE_MEMBERS.c.image_id).where(IMAGE_MEMBERS.c.member == bindparam(f"member_{n}"))
    return ids.where(IMAGE_MEMBERS.c.status == bindparam(f"member_status_{n}")) if by_status else ids


def _deleted(shape: Shape) -> Iterator[Condition]:
    """Both is two alternatives, because every index begins with this column."""
    for deleted in (False, True) if shape.deleted is None else (shape.deleted,):
        yield IMAGES.c.deleted == literal_column(str(int(deleted)))


def _filters(shape: Shape) -> Iterator[Condition]:
    for column, is_null in shape.equal:
        yield _column(column).is_(None) if is_null else _column(column) == bindparam(f"equal_{column}")
    for column, count in shape.one_of:
        choices: list[ColumnElement[Any]] = [bindparam(f"one_of_{column}_{n}") for n in range(count)]
        yield _column(column).in_(choices) if choices else _false()
    for n in range(shape.properties):
        having = (
            IMAGE_PROPERTIES.c.name == bindparam(f"property_{n}"),
            IMAGE_PROPERTIES.c.value == bindparam(f"property_value_{n}"),
        )
        yield IMAGES.c.id.in_(select(IMAGE_PROPERTIES.c.image_id).where(*having))
    for n in range(shape.tags):
        yield IMAGES.c.id.in_(select(IMAGE_TAGS.c.image_id).where(IMAGE_TAGS.c.value == bindparam(f"tag_{n}")))
    if shape.size_min:
        yield IMAGES.c.size >= bindparam("size_min")
    if shape.size_max:
        yield IMAGES.c.size <= bindparam("size_max")


def _exclusions(shape: Shape) -> Iterator[Condition]:
    for n, (column, op) in enumerate(shape.times):
        if op not in _COMPARISONS:
            raise InvalidValue(f"There is no comparison {op} of times.")
        yield getattr(_column(column), _COMPARISONS[op])(bindparam(f"time_{n}"))
    for n in range(len(shape.exclude_statuses)):
        yield IMAGES.c.status != bindparam(f"status_{n}")


def _column(name: str) -> ColumnElement[Any]:
    if name not in IMAGES.c:
        raise InvalidValue(f"Images have no attribute {name}.")
    return IMAGES.c[name]


def _after_marker(shape: Shape) -> Iterator[Condition]:
    """Where the images after the marker are, as ranges of an index:

    nulls are smallest, so going down they are a second range.
    """
    if shape.marker_nulls is None:
        yield _true()
        return
    first = shape.order[0]
    column: ColumnElement[Any] = IMAGES.c[first.column]
    value: ColumnElement[Any] = bindparam("marker_0")
    nullable = IMAGES.c[first.column].nullable
    if shape.marker_nulls[0]:
        after = _after(shape, 0)
        yield and_(column.is_(None), after) if first.descending else after
    elif first.descending:
        yield and_(column <= value, _after(shape, 0))
        if nullable:
            yield column.is_(None)
    else:
        yield and_(column >= value, _after(shape, 0))


def _after(shape: Shape, n: int) -> Condition:
    """Sorted after the marker by key ``n`` and those that follow."""
    key, nulls = shape.order[n], shape.marker_nulls or ()
    column: ColumnElement[Any] = IMAGES.c[key.column]
    value: ColumnElement[Any] = bindparam(f"marker_{n}")
    beyond: Condition = column < value if key.descending else column > value
    same: Condition = column == value
    if nulls[n]:
        beyond, same = _false() if key.descending else column.is_not(None), column.is_(None)
    elif key.descending and IMAGES.c[key.column].nullable and n > 0:
        # For the first key the nulls are a range of their own.
        beyond = or_(beyond, column.is_(None))
    return beyond if n + 1 == len(shape.order) else or_(beyond, and_(same, _after(shape, n + 1)))
