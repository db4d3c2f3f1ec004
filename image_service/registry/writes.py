"""Changing what is known: one function a transaction, one short function a statement.

Every transaction that changes an image first locks its row, so changes of one image come one after the other
and status changes are compare-and-set. A function gets the open transaction; it raises the domain's errors,
which undo it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Integer, String, Table, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from image_service.errors import Duplicate, InvalidValue, NotFound, UploadLost, WrongStatus, require_count
from image_service.model import Image, Location, Member, Status, UploadKind, UploadLease, new_id, now
from image_service.registry.interface import ImageChange
from image_service.registry.queries import find_image, not_found
from image_service.registry.tables import (
    BELONGINGS,
    IMAGE_LOCATIONS,
    IMAGE_MEMBERS,
    IMAGE_PROPERTIES,
    IMAGE_TAGS,
    IMAGE_UPLOADS,
    IMAGES,
)

MAX_VALUE_BYTES = 64 * 1024
_MAX_INTEGER, _MAX_BIG_INTEGER = 2**31 - 1, 2**63 - 1
_COLUMNS = tuple(column.name for column in IMAGES.c)
# What a caller may not set through ``ImageChange.values``: the registry keeps these itself.
_OWN_COLUMNS = frozenset({"id", "deleted", "deleted_at", "created_at", "updated_at"})


# -- images --


def create_image(connection: Connection, image: Image) -> Image:
    """Insert the image and all that hangs on it."""
    moment = now()
    created = moment if image.created_at == datetime.min else image.created_at
    image = replace(image, created_at=created, updated_at=moment if image.updated_at == datetime.min else image.updated_at)
    values = {name: getattr(image, name) for name in _COLUMNS}
    _require_fit(IMAGES, values)
    try:
        connection.execute(insert(IMAGES), values)
    except IntegrityError:
        raise Duplicate(f"An image with identifier {image.id} already exists.") from None
    _insert_properties(connection, image.id, image.properties)
    _insert_tags(connection, image.id, dict.fromkeys(image.tags))
    _insert_locations(connection, image.id, image.locations)
    return find_image(connection, image.id, include_deleted=True)


def update_image(
    connection: Connection,
    image_id: str,
    change: ImageChange,
    *,
    from_status: Collection[Status] | None = None,
    include_deleted: bool = False,
) -> Image:
    """Apply ``change`` to an image whose status is one of ``from_status``.

    The lease of a running upload stays even when the status moves: whoever holds it has bytes to remove.
    """
    status, deleted = _lock_any(connection, image_id)
    if deleted and not include_deleted:
        raise not_found(image_id)
    if from_status is not None and status not in from_status:
        raise _wrong_status(image_id, status)
    return _apply(connection, image_id, ImageChange(change.values) if deleted else change)


def delete_image(connection: Connection, image_id: str) -> Image:
    """Mark the row as deleted, drop what hangs on it."""
    _status, deleted = _lock_any(connection, image_id)
    if not deleted:
        for table in BELONGINGS:
            connection.execute(delete(table).where(table.c.image_id == image_id))
        moment = now()
        marked = update(IMAGES).where(IMAGES.c.id == image_id).values(deleted=True, deleted_at=moment, updated_at=moment)
        connection.execute(marked)
    return find_image(connection, image_id, include_deleted=True)


def _lock(connection: Connection, image_id: str) -> Status:
    """Lock the row until the transaction ends.

    The image's status; ``NotFound`` when it is not there or deleted.
    """
    status, deleted = _lock_any(connection, image_id)
    if deleted:
        raise not_found(image_id)
    return status


def _lock_any(connection: Connection, image_id: str) -> tuple[Status, bool]:
    """As :func:`_lock`, but deleted ones, too: the status, and whether it is deleted."""
    row = connection.execute(select(IMAGES.c.status, IMAGES.c.deleted).where(IMAGES.c.id == image_id).with_for_update()).first()
    if row is None:
        raise not_found(image_id)
    return Status(row.status), bool(row.deleted)


def _apply(connection: Connection, image_id: str, change: ImageChange) -> Image:
    unknown = set(change.values) - set(_COLUMNS) | _OWN_COLUMNS & set(change.values)
    if unknown:
        raise InvalidValue(f"These attributes of an image cannot be set: {', '.join(sorted(unknown))}.")
    _require_fit(IMAGES, change.values)
    connection.execute(update(IMAGES).where(IMAGES.c.id == image_id).values(updated_at=now(), **change.values))
    _change_properties(connection, image_id, change)
    _change_tags(connection, image_id, change)
    if change.locations is not None:
        _replace_locations(connection, image_id, change.locations)
    image = find_image(connection, image_id, include_deleted=True)
    for what, most in change.most.items():
        require_count(what, len(getattr(image, what)), most)
    if any(getattr(image, name) != value for name, value in change.expected.items()):
        raise _wrong_status(image_id, image.status)
    return image


def _change_properties(connection: Connection, image_id: str, change: ImageChange) -> None:
    names = IMAGE_PROPERTIES.c.name
    mine = delete(IMAGE_PROPERTIES).where(IMAGE_PROPERTIES.c.image_id == image_id)
    if change.purge_properties:
        connection.execute(mine)
    elif gone := {*change.remove_properties, *change.set_properties}:
        connection.execute(mine.where(names.in_(gone)))
    _insert_properties(connection, image_id, change.set_properties)


def _change_tags(connection: Connection, image_id: str, change: ImageChange) -> None:
    mine = delete(IMAGE_TAGS).where(IMAGE_TAGS.c.image_id == image_id)
    if change.tags is not None:
        connection.execute(mine)
        _insert_tags(connection, image_id, dict.fromkeys(change.tags))
    if gone := {*change.add_tags, *change.remove_tags}:
        connection.execute(mine.where(IMAGE_TAGS.c.value.in_(gone)))
    _insert_tags(connection, image_id, dict.fromkeys(tag for tag in change.add_tags if tag not in change.remove_tags))


def _insert_properties(connection: Connection, image_id: str, properties: Mapping[str, str | None]) -> None:
    if properties:
        rows = [{"image_id": image_id, "name": name, "value": value} for name, value in properties.items()]
        _insert(connection, IMAGE_PROPERTIES, rows)


def _insert_tags(connection: Connection, image_id: str, tags: Collection[str]) -> None:
    if tags:
        _insert(connection, IMAGE_TAGS, [{"image_id": image_id, "value": tag} for tag in tags])


def _insert_locations(connection: Connection, image_id: str, locations: Sequence[Location]) -> None:
    # One by one: their numbers are their order.
    for at in locations:
        row = {
            "image_id": image_id,
            "value": at.url,
            "meta_data": json.dumps(at.metadata),
            "status": at.status,
        }
        _insert(connection, IMAGE_LOCATIONS, [row])


def _replace_locations(connection: Connection, image_id: str, wanted: Sequence[Location]) -> None:
    """Numbers stay where nothing changes: a v1 client sends the list that it got."""
    columns = IMAGE_LOCATIONS.c
    present = connection.execute(
        select(columns.value, columns.meta_data, columns.status).where(columns.image_id == image_id).order_by(columns.id)
    )
    if [(url, json.loads(meta), status) for url, meta, status in present] == [(at.url, at.metadata, at.status) for at in wanted]:
        return
    connection.execute(delete(IMAGE_LOCATIONS).where(columns.image_id == image_id))
    _insert_locations(connection, image_id, wanted)


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        _require_fit(table, row)
    connection.execute(insert(table), rows)


def _require_fit(table: Table, values: Mapping[str, Any]) -> None:
    """``InvalidValue`` for a value that its column cannot hold:

    SQLite would keep any, MariaDB none, and both must answer alike.
    """
    for name, value in values.items():
        if isinstance(value, str):
            _require_text(table, name, value)
        elif isinstance(value, int):
            most = _MAX_INTEGER if type(table.c[name].type) is Integer else _MAX_BIG_INTEGER
            if not -most <= value <= most:
                raise InvalidValue(f"{name} is out of range: at most {most}.")
        elif value is None and not table.c[name].nullable:
            raise InvalidValue(f"{name} must have a value.")


def _require_text(table: Table, name: str, value: str) -> None:
    kind = table.c[name].type
    try:
        size = len(value) if value.isascii() else len(value.encode())
    except UnicodeEncodeError:
        raise InvalidValue(f"{name} is no valid text.") from None
    longest = kind.length if type(kind) is String else None
    if size > MAX_VALUE_BYTES or (longest is not None and len(value) > longest):
        limit = f"{longest} characters" if longest else f"{MAX_VALUE_BYTES} bytes"
        raise InvalidValue(f"{name} is too long: at most {limit}.")


def _wrong_status(image_id: str, status: str) -> WrongStatus:
    return WrongStatus(f"Image {image_id} is {status}; another request may have been faster.")


# -- uploads --


def begin_upload(connection: Connection, lease: UploadLease, *, from_status: Collection[Status]) -> Image:
    """Status to saving and the lease in, unless another has one."""
    status = _lock(connection, lease.image_id)
    if status not in from_status:
        raise _wrong_status(lease.image_id, status)
    row = {"image_id": lease.image_id, "upload_id": lease.upload_id, "kind": lease.kind, "store": lease.store}
    try:
        _insert(connection, IMAGE_UPLOADS, [row | {"renewed_at": _database_time(connection)}])
    except IntegrityError:
        raise WrongStatus(f"Another upload to image {lease.image_id} is running.") from None
    return _apply(connection, lease.image_id, ImageChange(values={"status": Status.SAVING}))


def renew_upload(connection: Connection, image_id: str, upload_id: str) -> bool:
    """Move ``renewed_at`` of a lease that is still held, of an image that is still saving."""
    saving = select(IMAGES.c.id).where(IMAGES.c.id == image_id, IMAGES.c.status == Status.SAVING, IMAGES.c.deleted.is_(False))
    ours = update(IMAGE_UPLOADS).where(
        IMAGE_UPLOADS.c.image_id == image_id, IMAGE_UPLOADS.c.upload_id == upload_id, saving.exists()
    )
    return connection.execute(ours.values(renewed_at=_database_time(connection))).rowcount == 1


def end_upload(connection: Connection, image_id: str, upload_id: str, change: ImageChange) -> Image | UploadLost:
    """Lease out, outcome in. Of an image that was deleted or moved meanwhile only the lease goes.

    The error is returned then, for raising it here would bring the lease back.
    """
    try:
        status = _lock(connection, image_id)
    except NotFound:
        status = Status.DELETED
    ours = delete(IMAGE_UPLOADS).where(IMAGE_UPLOADS.c.image_id == image_id, IMAGE_UPLOADS.c.upload_id == upload_id)
    if connection.execute(ours).rowcount != 1:
        raise _upload_lost(image_id)
    if status is not Status.SAVING:
        return _upload_lost(image_id)
    return _apply(connection, image_id, change)


def claim_dead_uploads(connection: Connection, older_than: float) -> list[UploadLease]:
    """Give every silent lease a new ``upload_id``; who comes second finds the old one gone."""
    moment, columns = _database_time(connection), IMAGE_UPLOADS.c
    silent = select(IMAGE_UPLOADS).where(columns.renewed_at < moment - timedelta(seconds=older_than)).order_by(columns.image_id)
    claimed = []
    for row in connection.execute(silent).all():
        lease = UploadLease(row.image_id, new_id(), UploadKind(row.kind), row.store, moment)
        # As it was seen, and as silent: its holder may have renewed it in this very moment.
        same = (
            columns.image_id == row.image_id,
            columns.upload_id == row.upload_id,
            columns.renewed_at == row.renewed_at,
        )
        taken = update(IMAGE_UPLOADS).where(*same).values(upload_id=lease.upload_id, renewed_at=moment)
        if connection.execute(taken).rowcount == 1:
            claimed.append(lease)
    return claimed


def _database_time(connection: Connection) -> datetime:
    """The database's clock, the same for all hosts:

    leases compare times that different hosts wrote. SQLite has one host.
    """
    if connection.dialect.name == "sqlite":
        return now()
    moment: datetime = connection.execute(select(func.utc_timestamp(6))).scalar_one()
    return moment


def _upload_lost(image_id: str) -> UploadLost:
    return UploadLost(f"The upload to image {image_id} has ended: the image was deleted, or the upload was silent too long.")


# -- members --


def create_member(connection: Connection, member: Member, *, most: int = -1) -> Member:
    """Insert one, if there are less than ``most``; dates as for images."""
    _lock(connection, member.image_id)
    if most >= 0:
        present = select(func.count()).where(IMAGE_MEMBERS.c.image_id == member.image_id)
        require_count("members", connection.execute(present).scalar_one() + 1, most)
    return _insert_member(connection, member)


def _insert_member(connection: Connection, member: Member) -> Member:
    moment = now()
    created = moment if member.created_at == datetime.min else member.created_at
    member = replace(
        member,
        created_at=created,
        updated_at=moment if member.updated_at == datetime.min else member.updated_at,
    )
    try:
        _insert(connection, IMAGE_MEMBERS, [_member_row(member)])
    except IntegrityError:
        raise Duplicate(f"Project {member.member_id} is a member of image {member.image_id} already.") from None
    return member


def update_member(connection: Connection, member: Member) -> Member:
    """Write ``can_share`` and ``status``; the creation date is the database's."""
    key = _member_key(member.image_id, member.member_id)
    moment = now()
    values = {"can_share": member.can_share, "status": member.status, "updated_at": moment}
    if connection.execute(update(IMAGE_MEMBERS).where(*key).values(**values)).rowcount != 1:
        raise NotFound("Membership could not be found.")
    created: datetime = connection.execute(select(IMAGE_MEMBERS.c.created_at).where(*key)).scalar_one()
    return replace(member, created_at=created, updated_at=moment)


def replace_members(connection: Connection, image_id: str, members: Sequence[Member]) -> None:
    """Those that are not named go; those that stay keep status and dates, and get the ``can_share`` that is
    given.
    """
    _lock(connection, image_id)
    wanted = {member.member_id: member for member in members}
    columns = IMAGE_MEMBERS.c
    rows = connection.execute(select(columns.member, columns.can_share).where(columns.image_id == image_id)).all()
    present = {row.member: bool(row.can_share) for row in rows}
    for gone in present.keys() - wanted.keys():
        connection.execute(delete(IMAGE_MEMBERS).where(*_member_key(image_id, gone)))
    for name, member in wanted.items():
        if name not in present:
            _insert_member(connection, replace(member, image_id=image_id))
        elif present[name] != member.can_share:
            changed = update(IMAGE_MEMBERS).where(*_member_key(image_id, name))
            connection.execute(changed.values(can_share=member.can_share, updated_at=now()))


def delete_member(connection: Connection, image_id: str, member_id: str) -> None:
    """Drop one."""
    if connection.execute(delete(IMAGE_MEMBERS).where(*_member_key(image_id, member_id))).rowcount != 1:
        raise NotFound("Membership could not be found.")


def _member_key(image_id: str, member_id: str) -> tuple[Any, Any]:
    return IMAGE_MEMBERS.c.image_id == image_id, IMAGE_MEMBERS.c.member == member_id


def _member_row(member: Member) -> dict[str, Any]:
    return {
        "image_id": member.image_id,
        "member": member.member_id,
        "can_share": member.can_share,
        "status": member.status,
        "created_at": member.created_at,
        "updated_at": member.updated_at,
    }
