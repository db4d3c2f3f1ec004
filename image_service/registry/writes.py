"""Changing what is known: one function a transaction, one short function a statement.

Every transaction that changes an image first locks its row, so changes of one image come one after the other and status changes
are compare-and-set. A function gets the open transaction; it raises the domain's errors, which undo it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Integer, Table, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from image_service import model
from image_service.errors import Duplicate, InvalidValue, NotFound, WrongStatus
from image_service.model import Image, Location, Member, MemberStatus, Status, UploadLease, new_id, now
from image_service.registry import tables
from image_service.registry.interface import ImageChange, require_count
from image_service.registry.queries import find_image, get_member, lease_of, list_members, not_found
from image_service.registry.tables import IMAGE_LOCATIONS, IMAGE_MEMBERS, IMAGE_PROPERTIES, IMAGE_TAGS, IMAGE_UPLOADS, IMAGES

MAX_VALUE_BYTES = 64 * 1024
# What `db purge` erases of a deleted image, and of how many in one transaction.
_ERASE = ("name", "owner", "disk_format", "container_format", "size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value")
_ERASE_AT_ONCE = 500
# What a caller may set through ``ImageChange.values``: the registry keeps the others itself.
_SETTABLE = frozenset(IMAGES.c.keys()) - {"id", "deleted", "deleted_at", "created_at", "updated_at"}

# -- images --


def create_image(connection: Connection, image: Image) -> Image:
    """Insert the image and all that hangs on it."""
    moment = now()
    image = replace(image, created_at=moment, updated_at=moment)
    try:
        _insert(connection, IMAGES, [{column.name: getattr(image, column.name) for column in IMAGES.c}])
    except IntegrityError:
        raise Duplicate(f"An image with identifier {image.id} already exists.") from None
    _insert_properties(connection, image.id, image.properties)
    _insert_tags(connection, image.id, image.tags)
    _insert_locations(connection, image.id, image.locations)
    return find_image(connection, image.id, include_deleted=True)


def update_image(
    connection: Connection,
    image_id: str,
    change: ImageChange,
    *,
    from_status: Collection[Status] | None = None,
    seen_at: datetime | None = None,
    include_deleted: bool = False,
) -> Image:
    """Apply ``change`` to an image whose status is one of ``from_status`` and that nobody changed after ``seen_at``.

    The lease of a running upload stays even when the status moves: whoever holds it has bytes to remove.
    """
    row = _lock(connection, image_id, include_deleted=include_deleted)
    if (from_status is not None and row.status not in from_status) or seen_at not in (None, row.updated_at):
        raise _wrong_status(image_id, row.status)
    if row.deleted:
        # Who says so has removed its bytes, and would not find it again to remove the rows of where they were.
        change = ImageChange(change.values, locations=[] if change.values.get("status") == Status.DELETED else None)
    return _apply(connection, image_id, change)


def delete_image(
    connection: Connection, image_id: str, *, status: Status | None = None, from_status: Collection[Status] | None = None
) -> Image:
    """Mark the row as deleted, drop what hangs on it; but where bytes lie that are still to be removed."""
    row = _lock(connection, image_id, include_deleted=True)
    if from_status is not None and (row.deleted or row.protected or row.status not in from_status):
        raise _wrong_status(image_id, row.status)
    status = status or row.status
    for table in tables.BELONGINGS:
        if table is not IMAGE_LOCATIONS or status != Status.PENDING_DELETE:
            connection.execute(delete(table).where(table.c.image_id == image_id))
    if not row.deleted:
        moment = now()
        marked = {"status": status, "deleted": True, "deleted_at": moment, "updated_at": moment}
        connection.execute(update(IMAGES).where(IMAGES.c.id == image_id).values(marked))
    return find_image(connection, image_id, include_deleted=True)


def erase_deleted(connection: Connection, age_in_days: int, max_rows: int, *, after: str = "") -> Sequence[str]:
    """``db purge``: erase what the rows of at most ``max_rows`` (and at most 500) images still say that were deleted more than
    ``age_in_days`` ago; their ids in order, all beyond ``after``, so that nobody reads again what he has erased.

    The rows stay for ever: an id that could be given out again would let somebody put another image in the place of one that
    people still refer to (CVE-2016-4383).
    """
    old = (
        select(IMAGES.c.id)
        .where(IMAGES.c.deleted.is_(True), IMAGES.c.id > after, IMAGES.c.deleted_at < now() - timedelta(days=age_in_days))
        # Its bytes are still to be removed.
        .where(IMAGES.c.status != Status.PENDING_DELETE)
        .where(or_(*[IMAGES.c[name].is_not(None) for name in _ERASE]))
        .order_by(IMAGES.c.id)
        .limit(min(max_rows, _ERASE_AT_ONCE))
        .with_for_update()
    )
    ids: Sequence[str] = connection.execute(old).scalars().all()
    if ids:
        connection.execute(update(IMAGES).where(IMAGES.c.id.in_(ids)).values(dict.fromkeys(_ERASE)))
    return ids


def _lock(connection: Connection, image_id: str, *, include_deleted: bool = False) -> Any:
    """Lock the row until the transaction ends. The image's ``status``, ``deleted``, ``protected`` and ``updated_at``;
    ``NotFound``.
    """
    columns = select(IMAGES.c.status, IMAGES.c.deleted, IMAGES.c.protected, IMAGES.c.updated_at)
    row = connection.execute(columns.where(IMAGES.c.id == image_id).with_for_update()).first()
    if row is None or (row.deleted and not include_deleted):
        raise not_found(image_id)
    return row


def _apply(connection: Connection, image_id: str, change: ImageChange) -> Image:
    if unknown := change.values.keys() - _SETTABLE:
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
    mine = delete(IMAGE_PROPERTIES).where(IMAGE_PROPERTIES.c.image_id == image_id)
    if change.purge_properties:
        connection.execute(mine)
    elif gone := {*change.remove_properties, *change.set_properties}:
        connection.execute(mine.where(IMAGE_PROPERTIES.c.name.in_(gone)))
    _insert_properties(connection, image_id, change.set_properties)


def _change_tags(connection: Connection, image_id: str, change: ImageChange) -> None:
    mine = delete(IMAGE_TAGS).where(IMAGE_TAGS.c.image_id == image_id)
    if change.tags is not None:
        connection.execute(mine)
    elif gone := {*change.add_tags, *change.remove_tags}:
        connection.execute(mine.where(IMAGE_TAGS.c.value.in_(gone)))
    _insert_tags(connection, image_id, {*(change.tags or ()), *change.add_tags} - {*change.remove_tags})


def _insert_properties(connection: Connection, image_id: str, properties: Mapping[str, str | None]) -> None:
    rows = [{"image_id": image_id, "name": name, "value": value} for name, value in properties.items()]
    _insert(connection, IMAGE_PROPERTIES, rows)


def _insert_tags(connection: Connection, image_id: str, tags: Iterable[str]) -> None:
    _insert(connection, IMAGE_TAGS, [{"image_id": image_id, "value": tag} for tag in dict.fromkeys(tags)])


def _insert_locations(connection: Connection, image_id: str, locations: Sequence[Location]) -> None:
    for at in locations:
        row = {"image_id": image_id, "value": at.url, "meta_data": json.dumps(at.metadata), "status": at.status}
        # One by one: their numbers are their order.
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
    if rows:
        connection.execute(insert(table), rows)


def _require_fit(table: Table, values: Mapping[str, Any]) -> None:
    """``InvalidValue`` for a value that its column cannot hold. SQLite would keep any, MariaDB none; both must answer alike."""
    for name, value in values.items():
        kind = table.c[name].type
        if isinstance(value, str):
            _require_text(name, value, getattr(kind, "length", None))
        elif isinstance(value, int):
            most = model.MAX_INTEGER if type(kind) is Integer else model.MAX_BIG_INTEGER
            if not -most <= value <= most:
                raise InvalidValue(f"{name} is out of range: at most {most}.")
        elif value is None and not table.c[name].nullable:
            raise InvalidValue(f"{name} must have a value.")


def _require_text(name: str, value: str, longest: int | None) -> None:
    if "\0" in value:  # ends a text in too many programs that read it later
        raise InvalidValue(f"{name} may not have zero bytes in it.")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidValue(f"{name} is no valid text.") from None
    if size > MAX_VALUE_BYTES or (longest is not None and len(value) > longest):
        limit = f"{longest} characters" if longest else f"{MAX_VALUE_BYTES} bytes"
        raise InvalidValue(f"{name} is too long: at most {limit}.")


def _wrong_status(image_id: str, status: str) -> WrongStatus:
    return WrongStatus(f"Image {image_id} is {status}; another request may have been faster.")


# -- uploads --


def begin_upload(connection: Connection, lease: UploadLease, *, from_status: Collection[Status]) -> Image:
    """Status to saving and the lease in, unless another has one."""
    row = _lock(connection, lease.image_id)
    if row.status not in from_status:
        raise _wrong_status(lease.image_id, row.status)
    try:
        _insert(connection, IMAGE_UPLOADS, [asdict(replace(lease, renewed_at=_database_time(connection)))])
    except IntegrityError:
        raise WrongStatus(f"Another upload to image {lease.image_id} is running.") from None
    return _apply(connection, lease.image_id, ImageChange(values={"status": Status.SAVING}))


def renew_upload(connection: Connection, image_id: str, upload_id: str) -> bool:
    """Move ``renewed_at`` of a lease that is still held, of an image that is still saving."""
    saving = select(IMAGES.c.id).where(IMAGES.c.id == image_id, IMAGES.c.status == Status.SAVING, IMAGES.c.deleted.is_(False))
    ours = update(IMAGE_UPLOADS).where(*_lease_key(image_id, upload_id), saving.exists())
    return connection.execute(ours.values(renewed_at=_database_time(connection))).rowcount == 1


def end_upload(connection: Connection, image_id: str, upload_id: str, change: ImageChange) -> Image | None:
    """Lease out, outcome in. Of an image that was deleted or moved meanwhile only the lease goes."""
    row = _lock(connection, image_id, include_deleted=True)
    held = connection.execute(delete(IMAGE_UPLOADS).where(*_lease_key(image_id, upload_id))).rowcount == 1
    return _apply(connection, image_id, change) if held and row.status == Status.SAVING and not row.deleted else None


def settle(connection: Connection) -> datetime:
    """Renew nobody's lease."""
    renew_upload(connection, new_id(), new_id())
    return _database_time(connection)


def claim_dead_uploads(connection: Connection, older_than: float, *, until: datetime | None = None) -> list[UploadLease]:
    """Give every silent lease a new ``upload_id``; who comes second finds the old one gone."""
    moment, columns = _database_time(connection), IMAGE_UPLOADS.c
    if until is not None and moment > until:
        return []
    silent = columns.renewed_at < moment - timedelta(seconds=older_than)
    if until is not None:  # Who is alive has renewed before that. What is much later was written before the clock was set back.
        silent |= columns.renewed_at > until + timedelta(seconds=older_than)
    claimed = []
    for row in connection.execute(select(IMAGE_UPLOADS).where(silent).order_by(columns.image_id)).all():
        lease = replace(lease_of(row), upload_id=new_id(), renewed_at=moment)
        # As it was seen, and as silent: its holder may have renewed it in this very moment.
        same = *_lease_key(row.image_id, row.upload_id), columns.renewed_at == row.renewed_at
        taken = update(IMAGE_UPLOADS).where(*same).values(upload_id=lease.upload_id, renewed_at=moment)
        if connection.execute(taken).rowcount == 1:
            claimed.append(lease)
    return claimed


def _lease_key(image_id: str, upload_id: str) -> tuple[Any, Any]:
    return IMAGE_UPLOADS.c.image_id == image_id, IMAGE_UPLOADS.c.upload_id == upload_id


def _database_time(connection: Connection) -> datetime:
    """The database's clock, the same for all hosts: leases compare times that different hosts wrote. SQLite has one host."""
    if connection.dialect.name == "sqlite":
        return now()
    moment: datetime = connection.execute(select(func.utc_timestamp(6))).scalar_one()
    return moment


# -- members --


def create_member(connection: Connection, member: Member, *, most: int = -1) -> Member:
    """Insert one, if there are less than ``most``."""
    _lock(connection, member.image_id)
    if most >= 0:
        present = select(func.count()).where(IMAGE_MEMBERS.c.image_id == member.image_id)
        require_count("members", connection.execute(present).scalar_one() + 1, most)
    return _insert_member(connection, member)


def _insert_member(connection: Connection, member: Member) -> Member:
    moment = now()
    member = replace(member, created_at=moment, updated_at=moment)
    try:
        _insert(connection, IMAGE_MEMBERS, [dict(zip(IMAGE_MEMBERS.c.keys(), astuple(member), strict=True))])
    except IntegrityError:
        raise Duplicate(f"Project {member.member_id} is a member of image {member.image_id} already.") from None
    return member


def update_member(
    connection: Connection, image_id: str, member_id: str, *, can_share: bool | None = None, status: MemberStatus | None = None
) -> Member:
    """Write ``can_share``, ``status``, or both."""
    given = {name: value for name, value in (("can_share", can_share), ("status", status)) if value is not None}
    _set_member(connection, image_id, member_id, **given)
    found = get_member(connection, image_id, member_id)
    if found is None:
        raise NotFound("Membership could not be found.")
    return found


def _set_member(connection: Connection, image_id: str, member_id: str, **values: object) -> None:
    connection.execute(update(IMAGE_MEMBERS).where(*_member_key(image_id, member_id)).values(updated_at=now(), **values))


def replace_members(connection: Connection, image_id: str, members: Sequence[Member]) -> None:
    """Those that are not named go; those that stay keep status and dates, and get the ``can_share`` that is given."""
    _lock(connection, image_id)
    present = {member.member_id: member for member in list_members(connection, image_id)}
    wanted = {member.member_id: member for member in members}
    for gone in present.keys() - wanted.keys():
        connection.execute(delete(IMAGE_MEMBERS).where(*_member_key(image_id, gone)))
    for name, member in wanted.items():
        if name not in present:
            _insert_member(connection, replace(member, image_id=image_id))
        elif present[name].can_share != member.can_share:
            _set_member(connection, image_id, name, can_share=member.can_share)


def delete_member(connection: Connection, image_id: str, member_id: str) -> None:
    """Drop one."""
    if connection.execute(delete(IMAGE_MEMBERS).where(*_member_key(image_id, member_id))).rowcount != 1:
        raise NotFound("Membership could not be found.")


def _member_key(image_id: str, member_id: str) -> tuple[Any, Any]:
    return IMAGE_MEMBERS.c.image_id == image_id, IMAGE_MEMBERS.c.member == member_id
