"""What the service knows about images: plain data, no behaviour that needs a database, a store or a request.

Sizes are bytes, ``min_disk`` is GB, ``min_ram`` MB (as in the Images API). Times are naive UTC with microseconds.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

UUID = r"[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}"
"""The id of an image, to be matched in any case."""
MAX_NAME = 255
"""Characters of a name, an owner, a member, a tag, and the name of a property."""
MAX_INTEGER, MAX_BIG_INTEGER = 2**31 - 1, 2**63 - 1
"""The largest disk and memory that an image can ask for, and the largest of its sizes: what the columns hold."""


class Status(StrEnum):
    """Statuses of an image (Images API v2, schema ``image``); the legal moves are in ``operations.lifecycle``."""

    QUEUED = "queued"
    SAVING = "saving"
    UPLOADING = "uploading"
    IMPORTING = "importing"
    ACTIVE = "active"
    DEACTIVATED = "deactivated"
    KILLED = "killed"
    PENDING_DELETE = "pending_delete"
    DELETED = "deleted"


class Visibility(StrEnum):
    """Who sees an image. API v1 knows public or not; its "not public" is ``shared``."""

    PUBLIC = "public"
    COMMUNITY = "community"
    SHARED = "shared"
    PRIVATE = "private"


class MemberStatus(StrEnum):
    """Whether a project wants an image that was shared with it in its lists."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


class UploadKind(StrEnum):
    """What becomes of an image whose upload failed: ``v1`` leaves it killed, ``v2`` queued again."""

    V1 = "v1"
    V2 = "v2"


@dataclass(slots=True)
class Location:
    """Where the bytes of an image are. ``url`` may hold credentials: never show or log it."""

    url: str
    metadata: dict[str, object] = field(default_factory=dict)
    status: str = "active"
    id: int | None = None


@dataclass(slots=True)
class Image:
    """Everything about one image but its bytes."""

    id: str
    status: Status = Status.QUEUED
    visibility: Visibility = Visibility.SHARED
    name: str | None = None
    owner: str | None = None
    disk_format: str | None = None
    container_format: str | None = None
    size: int | None = None
    virtual_size: int | None = None
    checksum: str | None = None
    os_hash_algo: str | None = None
    os_hash_value: str | None = None
    min_disk: int = 0
    min_ram: int = 0
    protected: bool = False
    os_hidden: bool = False
    deleted: bool = False
    created_at: datetime = datetime.min
    updated_at: datetime = datetime.min
    deleted_at: datetime | None = None
    properties: dict[str, str | None] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    locations: list[Location] = field(default_factory=list)


@dataclass(slots=True)
class Member:
    """A project with which an image is shared."""

    image_id: str
    member_id: str
    can_share: bool = False
    status: MemberStatus = MemberStatus.PENDING
    created_at: datetime = datetime.min
    updated_at: datetime = datetime.min


@dataclass(slots=True)
class UploadLease:
    """The right to write the bytes of one image, held by one process as long as it renews it.

    ``upload_id`` is new for every attempt, so a writer that was declared dead and wakes up again cannot finish.
    """

    image_id: str
    upload_id: str
    kind: UploadKind
    store: str
    renewed_at: datetime = datetime.min


def now() -> datetime:
    """The present time as the registry keeps it: naive UTC, microseconds."""
    return datetime.now(UTC).replace(tzinfo=None)


def new_id() -> str:
    """A fresh image or upload id: a random UUID, lower case with dashes."""
    return str(uuid.uuid4())
