"""Reading: rows made into images, the show of one image; leases, members, sums. One function a query.

Images are what a busy service reads all day, so their statements are text that the driver runs as it is: every name in it is a
column's, every value of a caller goes in by :class:`Values`. An image is one query, and so is a page; with a marker it is two.
"""

# ruff: noqa: S608 - names of columns alone become text

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

import orjson
from sqlalchemy import Column, ColumnElement, Connection, and_, func, or_, select

from image_service.errors import NotFound
from image_service.model import Image, Location, Member, MemberStatus, Status, UploadKind, UploadLease, Visibility
from image_service.registry.tables import IMAGE_LOCATIONS, IMAGE_MEMBERS, IMAGE_PROPERTIES, IMAGE_TAGS, IMAGE_UPLOADS, IMAGES

_STATUSES = {status.value: status for status in Status}
_VISIBILITIES = {visibility.value: visibility for visibility in Visibility}
# What hangs on an image becomes one JSON object each. Names of properties and tags are keys in hex: MariaDB of
# before 2023 writes quotation marks in a key as they are (MDEV-30412).
_HANGING = (
    ("image_properties", "hex(name), value"),
    ("image_tags", "hex(value), 0"),
    ("image_locations", "id, json_array(value, meta_data, status)"),
)
_MEMBERS = IMAGE_MEMBERS.c
_RUNNING = (Status.SAVING, Status.UPLOADING, Status.IMPORTING)
_WITHOUT_BYTES = (Status.KILLED, Status.DELETED)


# -- images --


class Values(dict[str, object]):
    """The values of a statement by name, and what of its text differs between the databases."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.sqlite = connection.dialect.name == "sqlite"

    def bind(self, value: object) -> str:
        """What stands for ``value`` in the text."""
        name = f"v{len(self)}"
        # A time as the databases compare and keep it.
        self[name] = value.isoformat(" ", "microseconds") if isinstance(value, datetime) else value
        return f":{name}" if self.sqlite else f"%({name})s"

    def image(self) -> str:
        """What selects whole images from ``images`` for :func:`read_images`: the id, and one JSON array of the other columns and
        what hangs on the image. PyMySQL is Python, and reads value by value: a page of rows costs it many times what texts and
        orjson cost.
        """
        return _IMAGE_ON_SQLITE if self.sqlite else _IMAGE_ON_MYSQL


def _whole_image(make_object: str) -> str:
    parts = [f"images.{column.name}" for column in IMAGES.c if not column.primary_key]
    for table, pair in _HANGING:
        made = f"SELECT {make_object}({pair}) FROM {table} WHERE image_id = images.id"
        # Extracted whole, it is JSON for MariaDB, too, and no text.
        parts.append(f"json_extract(({made}), '$')")
    return f"images.id, json_array({', '.join(parts)})"


_IMAGE_ON_SQLITE, _IMAGE_ON_MYSQL = _whole_image("json_group_object"), _whole_image("json_objectagg")


def read_images(connection: Connection, statement: str, values: Values) -> list[Image]:
    """The images that ``statement`` finds, all as they were at one moment."""
    found = connection.exec_driver_sql(statement, values).all()
    return [_large_image(connection, image_id) if packed is None else _image(image_id, packed) for image_id, packed in found]


def find_image(connection: Connection, image_id: str, *, include_deleted: bool = False) -> Image:
    """The whole image, or ``NotFound``."""
    values = Values(connection)
    found = read_images(connection, f"SELECT {values.image()} FROM images WHERE id = {values.bind(image_id)}", values)
    if not found or (found[0].deleted and not include_deleted):
        raise not_found(image_id)
    return found[0]


def not_found(image_id: str) -> NotFound:
    """The error for an image that there is not."""
    return NotFound(f"No image found with ID {image_id}.")


def _image(image_id: str, packed: str) -> Image:
    status, visibility, *row, properties, tags, locations = orjson.loads(packed)
    # Of IMAGES: name to min_ram; protected, os_hidden, deleted; created_at, updated_at, deleted_at.
    plain, flags, times = row[:11], row[11:14], row[14:]
    moments = [datetime.fromisoformat(text) if text else None for text in times]
    hanging = (
        {_from_hex(name): value for name, value in (properties or {}).items()},
        sorted(map(_from_hex, tags or ())),
        sorted((_location(int(n), *place) for n, place in (locations or {}).items()), key=attrgetter("id")),
    )
    fields: list[Any] = [*plain, *map(bool, flags), *moments, *hanging]
    return Image(image_id, _STATUSES[status], _VISIBILITIES[visibility], *fields)


def _from_hex(text: str) -> str:
    return bytes.fromhex(text).decode()


def _location(number: int, url: str, metadata: str, status: str) -> Location:
    return Location(url, json.loads(metadata), status, number)


def _large_image(connection: Connection, image_id: str) -> Image:
    """One whose JSON is larger than ``max_allowed_packet`` of MariaDB, which has NULL in its place; as it is a moment later."""

    def rows(*columns: Column[Any]) -> Sequence[Any]:
        found = select(*columns).where(columns[0].table.c.image_id == image_id).order_by(columns[0])
        return connection.execute(found).all()

    _, status, visibility, *fields = connection.execute(select(IMAGES).where(IMAGES.c.id == image_id)).one()
    properties, tags, locations = IMAGE_PROPERTIES.c, IMAGE_TAGS.c, IMAGE_LOCATIONS.c
    hanging: list[Any] = [
        dict(map(tuple, rows(properties.name, properties.value))),
        [tag for (tag,) in rows(tags.value)],
        [_location(*row) for row in rows(locations.id, locations.value, locations.meta_data, locations.status)],
    ]
    return Image(image_id, Status(status), Visibility(visibility), *fields, *hanging)


# -- everything but images --


def live_uploads(connection: Connection) -> list[UploadLease]:
    """All leases, the one that was silent for longest first."""
    return [lease_of(row) for row in connection.execute(select(IMAGE_UPLOADS).order_by(IMAGE_UPLOADS.c.renewed_at))]


def lease_of(row: Any) -> UploadLease:
    """A lease of its row."""
    return UploadLease(row.image_id, row.upload_id, UploadKind(row.kind), row.store, row.renewed_at)


def list_members(connection: Connection, image_id: str) -> list[Member]:
    """Members of an image by creation."""
    return _members(connection, _MEMBERS.image_id == image_id)


def get_member(connection: Connection, image_id: str, member_id: str) -> Member | None:
    """One of them, or None."""
    return next(iter(_members(connection, _MEMBERS.image_id == image_id, _MEMBERS.member == member_id)), None)


def list_shared(connection: Connection, member_id: str) -> list[Member]:
    """What a project is a member of. A deleted image has no members any more."""
    return _members(connection, _MEMBERS.member == member_id)


def _members(connection: Connection, *conditions: ColumnElement[bool]) -> list[Member]:
    ordered = select(IMAGE_MEMBERS).where(*conditions).order_by(_MEMBERS.created_at, _MEMBERS.member, _MEMBERS.image_id)
    return [
        Member(row.image_id, row.member, row.can_share, MemberStatus(row.status), row.created_at, row.updated_at)
        for row in connection.execute(ordered)
    ]


def storage_used(connection: Connection, owner: str | None) -> int:
    """Bytes of an owner: each location of a finished image, and the declared sizes of running uploads."""
    places = and_(IMAGE_LOCATIONS.c.image_id == IMAGES.c.id, IMAGE_LOCATIONS.c.status != "deleted")
    taken = select(func.sum(IMAGES.c.size)).outerjoin(IMAGE_LOCATIONS, places)
    mine = IMAGES.c.owner == owner, IMAGES.c.deleted.is_(False), IMAGES.c.status.not_in(_WITHOUT_BYTES)
    kept_or_coming = or_(IMAGE_LOCATIONS.c.id.is_not(None), IMAGES.c.status.in_(_RUNNING))
    return int(connection.execute(taken.where(*mine, kept_or_coming)).scalar() or 0)
