"""Reading: rows made into images, the show of one image; leases, members, sums. One function a query.

Images are what a busy service reads all day, so their statements are text that the driver runs as it is: every name in it is a
column's, every value of a caller goes in by :class:`Values`. An image is one query, a page two, with a marker three.
"""

# ruff: noqa: S608 - names of columns alone become text

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from image_service.errors import NotFound
from image_service.model import Image, Location, Member, MemberStatus, Status, UploadKind, UploadLease, Visibility
from image_service.registry.tables import IMAGE_LOCATIONS, IMAGE_MEMBERS, IMAGE_UPLOADS, IMAGES

Row = Sequence[Any]

_STATUSES = {status.value: status for status in Status}
_VISIBILITIES = {visibility.value: visibility for visibility in Visibility}
# Images and everything that hangs on them, each with its kind.
_PROPERTY, _TAG, _LOCATION, _IMAGE = range(4)
_PARTS = (
    (f"id, {_IMAGE}, json_array({', '.join(IMAGES.c.keys())}), NULL, NULL, NULL", "images WHERE id"),
    (f"image_id, {_PROPERTY}, name, value, NULL, NULL", "image_properties WHERE image_id"),
    (f"image_id, {_TAG}, value, NULL, NULL, NULL", "image_tags WHERE image_id"),
    (f"image_id, {_LOCATION}, value, meta_data, status, id", "image_locations WHERE image_id"),
)
# Ids in one IN (...): far below SQLite's limit of variables, far above a page.
CHUNK = 500
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

    def row(self, columns: str) -> str:
        """What selects ``columns`` for :func:`read_rows`: on MariaDB they come as one JSON array. PyMySQL is Python, and reads a
        row value by value and a description of every column: 20 images of 20 columns cost it four times what one text each and
        orjson cost.
        """
        return columns if self.sqlite else f"json_array({columns})"


def read_rows(connection: Connection, statement: str, values: Values) -> Sequence[Row]:
    """All rows; times are text, as the database writes them."""
    rows = connection.exec_driver_sql(statement, values).fetchall()
    return rows if values.sqlite else [orjson.loads(packed) for (packed,) in rows]


def find_image(connection: Connection, image_id: str, *, include_deleted: bool = False) -> Image:
    """The whole image, or ``NotFound``."""
    image = whole_images(connection, [image_id]).get(image_id)
    if image is None or (image.deleted and not include_deleted):
        raise not_found(image_id)
    return image


def not_found(image_id: str) -> NotFound:
    """The error for an image that there is not."""
    return NotFound(f"No image found with ID {image_id}.")


def whole_images(connection: Connection, image_ids: Sequence[str]) -> dict[str, Image]:
    """Those that there are with all that hangs on them, by id. One statement, so each is as it was at one moment."""
    images: dict[str, Image] = {}
    for start in range(0, len(image_ids), CHUNK):
        values = Values(connection)
        ids = ", ".join(map(values.bind, image_ids[start : start + CHUNK]))
        selects = [f"SELECT {values.row(columns)} FROM {where} IN ({ids})" for columns, where in _PARTS]
        rows = read_rows(connection, " UNION ALL ".join(selects), values)
        images |= {row[0]: _image(row[2]) for row in rows if row[1] == _IMAGE}
        for image_id, kind, first, second, third, number in rows:
            if kind == _PROPERTY:
                images[image_id].properties[first] = second
            elif kind == _TAG:
                images[image_id].tags.append(first)
            elif kind == _LOCATION:
                images[image_id].locations.append(Location(first, json.loads(second), third, number))
    for image in images.values():
        image.tags.sort()
        image.locations.sort(key=lambda location: location.id or 0)
    return images


def _image(packed: str | Row) -> Image:
    """Of its columns: JSON on SQLite, read already on MariaDB."""
    row: Row = orjson.loads(packed) if isinstance(packed, str) else packed
    moments = [datetime.fromisoformat(text) if text else None for text in row[17:]]
    fields: list[Any] = [*row[3:14], *map(bool, row[14:17]), *moments]
    return Image(row[0], _STATUSES[row[1]], _VISIBILITIES[row[2]], *fields)


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
