"""Reading everything but images: leases, members, sums. One function a query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select

from image_service.model import Member, MemberStatus, Status, UploadKind, UploadLease
from image_service.registry.queries import CHUNK
from image_service.registry.tables import IMAGE_LOCATIONS, IMAGE_MEMBERS, IMAGE_UPLOADS, IMAGES

_RUNNING = (Status.SAVING, Status.UPLOADING, Status.IMPORTING)
_MEMBERS = IMAGE_MEMBERS.c
_WITHOUT_BYTES = (Status.KILLED, Status.DELETED)


def live_uploads(connection: Connection) -> list[UploadLease]:
    """All leases, the one that was silent for longest first."""
    return [lease_of(row) for row in connection.execute(select(IMAGE_UPLOADS).order_by(IMAGE_UPLOADS.c.renewed_at))]


def lease_of(row: Row[Any]) -> UploadLease:
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
    mine = IMAGES.c.owner == owner, IMAGES.c.deleted.is_(False)
    # A constant beside SUM would need a cast on MariaDB, whose sums are decimals.
    kept = (
        select(func.sum(IMAGES.c.size))
        .join(IMAGE_LOCATIONS, IMAGE_LOCATIONS.c.image_id == IMAGES.c.id)
        .where(*mine, IMAGES.c.status.not_in(_WITHOUT_BYTES), IMAGE_LOCATIONS.c.status != "deleted")
    )
    coming = select(func.sum(IMAGES.c.size)).where(
        *mine, IMAGES.c.status.in_(_RUNNING), ~IMAGES.c.id.in_(select(IMAGE_LOCATIONS.c.image_id))
    )
    return int(connection.execute(kept).scalar() or 0) + int(connection.execute(coming).scalar() or 0)


def known_image_ids(connection: Connection, image_ids: Sequence[str]) -> dict[str, Status]:
    """Status by id of those that are there."""
    found: dict[str, Status] = {}
    for start in range(0, len(image_ids), CHUNK):
        chunk = select(IMAGES.c.id, IMAGES.c.status).where(
            IMAGES.c.id.in_(image_ids[start : start + CHUNK]), IMAGES.c.deleted.is_(False)
        )
        found |= {row.id: Status(row.status) for row in connection.execute(chunk)}
    return found
