"""The seam between what the service does and what it knows.

``DatabaseRegistry`` (in-process) and ``RemoteRegistry`` (HTTP to ``image-registry``) implement :class:`Registry`; nothing above
can tell which it has. The registry holds no rule of the domain: who may see what arrives as data (:class:`Visible`), which
status changes are legal arrives as ``from_status``. It guarantees three things: each call is one transaction, status changes
are compare-and-set, and what was answered is on stable storage.

Errors that every method may raise: ``RegistryUnavailable`` (nothing is known about the outcome; only reads are retried), and
``RegistryNotWritable`` (nothing was changed).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from image_service.errors import LimitExceeded
from image_service.model import Image, Location, Member, MemberStatus, Status, UploadLease

SORT_KEYS = ("name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at")


@dataclass(frozen=True, slots=True)
class Visible:
    """One reason for which an image may be seen; all parts that are given must hold (see ``operations.policy``).

    ``visibilities``: one of these. ``owner``: its owner. ``member``: a project it is shared with, and the image is
    ``shared``; ``member_status`` (None: any) is what that project said.
    """

    visibilities: tuple[str, ...] = ()
    owner: str | None = None
    member: str | None = None
    member_status: str | None = None


@dataclass(frozen=True, slots=True)
class TimeFilter:
    """``column`` (created_at, updated_at) ``op`` (eq neq gt gte lt lte) ``value``."""

    column: str
    op: str
    value: datetime


@dataclass(frozen=True, slots=True)
class SortKey:
    """A column of :data:`SORT_KEYS` and its direction; nulls are smallest."""

    column: str
    descending: bool = True


DEFAULT_SORT = (SortKey("created_at"), SortKey("id"))


@dataclass(frozen=True, slots=True)
class ImageQuery:
    """Which images, in which order, from where on, how many.

    ``visible``: any of these reasons (None: everything). ``equal``: column -> value, compared exactly. ``one_of``: column ->
    values. ``properties``: name -> value. ``tags``: all of these. ``deleted``: False without, True only, None with deleted
    ones. ``exclude_statuses``: never these. ``marker``: id of the last image of the page before (found whatever the filters
    say). ``limit``: None for all. ``sort``: as asked; ties are broken by created_at and id in the direction of the last key.
    """

    visible: tuple[Visible, ...] | None = None
    equal: dict[str, str | int | bool | None] = field(default_factory=dict)
    one_of: dict[str, tuple[str, ...]] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    size_min: int | None = None
    size_max: int | None = None
    times: tuple[TimeFilter, ...] = ()
    deleted: bool | None = False
    exclude_statuses: tuple[str, ...] = ()
    marker: str | None = None
    limit: int | None = None
    sort: tuple[SortKey, ...] = DEFAULT_SORT


@dataclass(slots=True)
class ImageChange:
    """What to change about an image; what is not named stays.

    ``values``: columns of the image. ``set_properties``: overwritten or added. ``remove_properties``: dropped if there.
    ``purge_properties``: drop all that ``set_properties`` does not name. ``tags``: the new whole set. ``add_tags``,
    ``remove_tags``: single ones. ``locations``: the new whole list. ``updated_at`` moves with every change.

    Two things are asked of what comes out, and nothing is changed when one does not hold: ``most`` (``properties``, ``tags``:
    how many there may be then, ``LimitExceeded``) and ``expected`` (values of other columns, ``WrongStatus``).
    """

    values: dict[str, str | int | bool | None] = field(default_factory=dict)
    set_properties: dict[str, str | None] = field(default_factory=dict)
    remove_properties: tuple[str, ...] = ()
    purge_properties: bool = False
    tags: list[str] | None = None
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()
    locations: list[Location] | None = None
    most: dict[str, int] = field(default_factory=dict)
    expected: dict[str, str | bool | None] = field(default_factory=dict)


def require_count(what: str, count: int, most: int) -> None:
    """Raise ``LimitExceeded`` when an image would have more than ``most`` properties, tags or members; negative: no limit."""
    if 0 <= most < count:
        raise LimitExceeded(
            f"The limit has been exceeded on the number of allowed image {what}. Attempted: {count}, Maximum: {most}."
        )


class Registry(ABC):
    """Everything that is known about images. Safe to use from many tasks at once."""

    @abstractmethod
    async def create_image(self, image: Image) -> Image:
        """Register ``image`` with its properties, tags and locations; ``created_at`` and ``updated_at`` are set here.

        ``Duplicate`` when the id is or was ever taken.
        """

    @abstractmethod
    async def get_image(self, image_id: str, *, include_deleted: bool = False) -> Image:
        """The whole image. ``NotFound`` when there is none, or it is soft-deleted and ``include_deleted`` is not set."""

    @abstractmethod
    async def list_images(self, query: ImageQuery) -> list[Image]:
        """A page of whole images. ``InvalidValue`` for a marker that never existed.

        The same few queries whatever the page's size.
        """

    @abstractmethod
    async def update_image(
        self,
        image_id: str,
        change: ImageChange,
        *,
        from_status: Collection[Status] | None = None,
        seen_at: datetime | None = None,
        include_deleted: bool = False,
    ) -> Image:
        """Apply ``change`` in one transaction and return the new image.

        A soft-deleted image is changed only when ``include_deleted`` is set (the registry API v1 does), and only in its columns;
        with the status ``deleted`` its locations go.
        ``NotFound``; ``WrongStatus`` when ``from_status`` is given and the present status is none of them, or ``seen_at`` and
        ``updated_at`` is another one: nothing is changed then.
        """

    @abstractmethod
    async def delete_image(
        self, image_id: str, *, status: Status | None = None, from_status: Collection[Status] | None = None
    ) -> Image:
        """Soft-delete: ``deleted``, ``deleted_at``; properties, tags, members and locations of it go. It gets ``status`` (None:
        the one that it has).

        A lease of it stays, so that what a dying upload leaves is still found by the sweep; so do the locations of an image that
        is ``pending_delete`` then. Works again on a deleted image, unless ``from_status`` is given.
        Returns the image as it is then. ``NotFound``; where ``from_status`` is given, ``WrongStatus`` when it is deleted or
        protected, or has none of these.
        """

    @abstractmethod
    async def begin_upload(self, lease: UploadLease, *, from_status: Collection[Status]) -> Image:
        """Take the right to write: status ``from_status`` -> saving, and the lease, in one transaction.

        ``NotFound``; ``WrongStatus`` when another has it or the status does not fit: exactly one of many wins.
        """

    @abstractmethod
    async def renew_upload(self, image_id: str, upload_id: str) -> bool:
        """A sign of life. False when the lease is no longer ours, or the image is not saving: stop writing, remove the bytes."""

    @abstractmethod
    async def end_upload(self, image_id: str, upload_id: str, change: ImageChange) -> Image | None:
        """Give the lease back and apply ``change`` (its ``values["status"]`` is the outcome) in one transaction.

        None when the lease is not ours any more; nothing is changed then. The same when the image is not saving any more (it
        was deleted): the lease goes then, and nothing else is changed.
        """

    @abstractmethod
    async def settle(self) -> datetime:
        """A change that changes nothing: it comes through when the changes of others do. The time by the registry's clock."""

    @abstractmethod
    async def claim_dead_uploads(self, older_than: float, *, until: datetime | None = None) -> list[UploadLease]:
        """Take over every lease that was not renewed for ``older_than`` seconds, each under a new ``upload_id``; with ``until``
        also those that were renewed that long after it, by a clock that was set back since.

        A lease is claimed by exactly one caller; its old holder can neither renew nor end it. The leases come back with the new
        id. None is claimed after ``until`` (by the clock of :meth:`settle`): the call itself may have been held up.
        """

    @abstractmethod
    async def live_uploads(self) -> list[UploadLease]:
        """All leases there are."""

    @abstractmethod
    async def list_members(self, image_id: str) -> list[Member]:
        """Projects that an image is shared with, by creation. Empty for an unknown image."""

    @abstractmethod
    async def get_member(self, image_id: str, member_id: str) -> Member | None:
        """One of them, or None."""

    @abstractmethod
    async def create_member(self, member: Member, *, most: int = -1) -> Member:
        """``Duplicate`` when the project is a member already; ``NotFound`` when the image is not there.

        ``most``: how many there may be then (negative: any number), else ``LimitExceeded``.
        """

    @abstractmethod
    async def update_member(
        self, image_id: str, member_id: str, *, can_share: bool | None = None, status: MemberStatus | None = None
    ) -> Member:
        """Write what is given, and that alone: one shares while another answers. ``NotFound``."""

    @abstractmethod
    async def replace_members(self, image_id: str, members: Sequence[Member]) -> None:
        """Make ``members`` the only ones: those that stay keep their status and dates."""

    @abstractmethod
    async def delete_member(self, image_id: str, member_id: str) -> None:
        """``NotFound`` when it is no member."""

    @abstractmethod
    async def list_shared(self, member_id: str) -> list[Member]:
        """Every membership of a project, of images that are not deleted."""

    @abstractmethod
    async def storage_used(self, owner: str | None) -> int:
        """Bytes of an owner's images, counting each location, and images whose upload is running by their declared size."""

    @abstractmethod
    async def check(self) -> None:
        """Raise ``RegistryUnavailable`` with a sentence when it cannot work now (database away, schema too old or too new)."""

    @abstractmethod
    async def aclose(self) -> None:
        """Give connections and threads back."""
