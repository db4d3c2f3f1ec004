"""Reading images: compiled statements, rows made into images, and the show of one image.

These two are what a busy service does all day. A statement is written in SQLAlchemy Core, compiled once for
each shape of query, and run by the driver; rows become images by position. An image is two queries, a page
the same two, with a marker three.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Dialect,
    String,
    bindparam,
    cast,
    func,
    literal_column,
    null,
    select,
    union_all,
)

from image_service.errors import NotFound
from image_service.model import Image, Location, Status, Visibility
from image_service.registry.tables import IMAGE_LOCATIONS, IMAGE_PROPERTIES, IMAGE_TAGS, IMAGES

Row = Sequence[Any]

_STATUSES = {status.value: status for status in Status}
_VISIBILITIES = {visibility.value: visibility for visibility in Visibility}
_PROPERTY, _TAG, _LOCATION, _VERSION = range(4)
# Ids in one IN (...): far below SQLite's limit of variables, far above a page.
CHUNK = 500
# Characters of a statement that is kept compiled; that of a page with a marker that a user sees has 20,000.
_LONGEST_KEPT = 64 << 10
# A page that somebody changed between its two queries is read again; this often, then it is answered as it
# is.
_READ_ATTEMPTS = 50


class Statement:
    """A select, compiled for one database; run with values by name."""

    def __init__(self, statement: Any, dialect: Dialect) -> None:
        self._packed = dialect.name != "sqlite"
        compiled = (_packed(statement) if self._packed else statement).compile(dialect=dialect)
        self._text = str(compiled)
        self._names = compiled.positiontup
        # What the compiler adds by itself, such as SQLite's OFFSET 0.
        self._constants = {name: value for name, value in compiled.params.items() if value is not None}

    @property
    def size(self) -> int:
        """Characters of SQL."""
        return len(self._text)

    def rows(self, connection: Connection, values: dict[str, Any]) -> Sequence[Row]:
        """All rows; times are text, as the database writes them."""
        values |= self._constants
        named = values if self._names is None else tuple([values[name] for name in self._names])
        rows = connection.exec_driver_sql(self._text, named).fetchall()
        return [orjson.loads(packed) for (packed,) in rows] if self._packed else rows


def _packed(statement: Any) -> Any:
    """The same rows, each as one JSON array.

    PyMySQL is Python, and reads a row value by value and a description of every column: 20 images of 20
    columns cost it four times what one text each and orjson cost.
    """
    if isinstance(statement, CompoundSelect):
        return union_all(*[_packed(part) for part in statement.selects])
    return statement.with_only_columns(func.json_array(*statement.selected_columns))


class Statements:
    """The statements of one database, each compiled when it is first needed."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._known: dict[object, Statement] = {}
        self.sqlite = dialect.name == "sqlite"
        self.moment: Callable[[datetime], object] = _as_text if self.sqlite else _as_is

    def get(self, shape: object, build: Callable[[], Any]) -> Statement:
        """The statement for ``shape``, built once.

        Shapes are few: clients vary values, hardly ever the form of a query. Who does fills no memory with it.
        """
        statement = self._known.get(shape)
        if statement is None:
            statement = Statement(build(), self._dialect)
            if len(self._known) > 1000:
                self._known.clear()
            if statement.size <= _LONGEST_KEPT:
                self._known[shape] = statement
        return statement


def _as_text(moment: datetime) -> object:
    """A time as SQLAlchemy keeps it in SQLite."""
    return moment.isoformat(" ", "microseconds")


def _as_is(moment: datetime) -> object:
    return moment


# -- one image --


def find_image(connection: Connection, statements: Statements, image_id: str, *, include_deleted: bool = False) -> Image:
    """The whole image, or ``NotFound``."""
    show = statements.get("show", lambda: select(IMAGES).where(IMAGES.c.id == bindparam("id")))
    return whole_images(
        connection,
        statements,
        lambda: _present(show.rows(connection, {"id": image_id}), image_id, include_deleted),
    )[0]


def _present(rows: Sequence[Row], image_id: str, include_deleted: bool) -> Sequence[Row]:
    if not rows or (rows[0][16] and not include_deleted):
        raise NotFound(f"No image found with ID {image_id}.")
    return rows


def whole_images(connection: Connection, statements: Statements, read_rows: Callable[[], Sequence[Row]]) -> list[Image]:
    """Images with what hangs on them, as they were at one moment:

    an image that changed between two queries is read again.
    """
    images: list[Image] = []
    for _ in range(_READ_ATTEMPTS):
        images = [_image(row) for row in read_rows()]
        if _attach(connection, statements, images):
            break
    return images


def _image(row: Row) -> Image:
    moments = [datetime.fromisoformat(text) if text else None for text in row[17:20]]
    flags = bool(row[14]), bool(row[15]), bool(row[16])
    fields: list[Any] = [
        row[0],
        _STATUSES[row[1]],
        _VISIBILITIES[row[2]],
        *row[3:14],
        *flags,
        *moments,
    ]
    return Image(*fields)


def _attach(connection: Connection, statements: Statements, images: list[Image]) -> bool:
    """Give images their properties, tags and locations. False when one of them was changed in between."""
    fresh = True
    for start in range(0, len(images), CHUNK):
        chunk = {image.id: image for image in images[start : start + CHUNK]}
        statement = statements.get(("belongings", len(chunk)), lambda chunk=chunk: _belongings(len(chunk)))  # type: ignore[misc]
        rows = statement.rows(connection, {f"id_{n}": image_id for n, image_id in enumerate(chunk)})
        fresh = _distribute(chunk, rows) and fresh
    return fresh


def _belongings(size: int) -> Any:
    """Rows (image id, kind, text, text, text, number) of ``size`` images, and with kind 3 when each was last
    changed.
    """
    properties, tags, locations = IMAGE_PROPERTIES.c, IMAGE_TAGS.c, IMAGE_LOCATIONS.c
    ids: list[Any] = [bindparam(f"id_{n}") for n in range(size)]

    def kind(number: int) -> ColumnElement[int]:
        return literal_column(str(number))

    return union_all(
        select(properties.image_id, kind(_PROPERTY), properties.name, properties.value, null(), null()).where(
            properties.image_id.in_(ids)
        ),
        select(tags.image_id, kind(_TAG), tags.value, null(), null(), null()).where(tags.image_id.in_(ids)),
        select(
            locations.image_id,
            kind(_LOCATION),
            locations.value,
            locations.meta_data,
            locations.status,
            locations.id,
        ).where(locations.image_id.in_(ids)),
        select(IMAGES.c.id, kind(_VERSION), cast(IMAGES.c.updated_at, String(26)), null(), null(), null()).where(
            IMAGES.c.id.in_(ids)
        ),
    )


def _distribute(images: dict[str, Image], rows: Sequence[Row]) -> bool:
    fresh = True
    for image_id, kind, first, second, third, number in rows:
        image = images[image_id]
        if kind == _PROPERTY:
            image.properties[first] = second
        elif kind == _TAG:
            image.tags.append(first)
        elif kind == _LOCATION:
            image.locations.append(Location(first, json.loads(second), third, number))
        elif first != _as_text(image.updated_at):
            fresh = False
    for image in images.values():
        if len(image.tags) > 1:
            image.tags.sort()
        if len(image.locations) > 1:
            image.locations.sort(key=_location_order)
    return fresh


def _location_order(location: Location) -> int:
    return location.id or 0
