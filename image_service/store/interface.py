"""The seam between the service and the places that keep bytes.

A driver implements :class:`Store`; what only some can do are further small protocols (:class:`LocalFiles`, :class:`Listable`),
so that no driver carries stubs. ``tests/unit/store_conformance.py`` holds every driver to what is written above each method
here, and fails when a driver leaves anything behind.

How every driver writes, so that a crash leaves either nothing or the whole: under a name that only this upload has, to stable
storage, then in one atomic step under the final name. Only then may the registry say active.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Protocol, TypeVar, runtime_checkable

from image_service.model import Location

T = TypeVar("T")
Confirm = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class StoredObject:
    """Something that lies in a store: an image's bytes, or what an upload left (then ``upload_id`` is given)."""

    url: str
    image_id: str
    size: int
    modified_at: datetime
    upload_id: str | None = None


class StoreWriter(ABC):
    """One image being written. Exactly one of :meth:`commit` and :meth:`abort` ends it."""

    @abstractmethod
    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append. ``StoreFull``; ``StoreUnavailable`` when the store refuses. ``data`` may be reused after the return."""

    @abstractmethod
    async def commit(self, confirm: Confirm) -> Location:
        """Make it durable, then visible under its final name, in one step.

        What lies there already, as a dead upload of this image may have left it, is replaced after ``confirm``, which raises
        unless this upload is still the image's. What comes there later stays (``UploadLost``): the process may have stood still.
        """

    @abstractmethod
    async def abort(self) -> None:
        """Remove everything that was written, committed or not.

        Never raises for what is gone already; never removes another upload's bytes.
        """


class Store(ABC):
    """A place for bytes, configured under a name (``file``, or the id from ``enabled_backends``)."""

    name: str
    kind: str
    schemes: tuple[str, ...]
    read_only: bool = False
    description: str | None = None
    weight: int = 0

    @abstractmethod
    async def begin(self, image_id: str, upload_id: str, size: int | None) -> StoreWriter:
        """Start to write the bytes of an image; ``size`` in bytes when known.

        ``StoreFull`` at once when ``size`` cannot fit; ``ReadOnlyStore``; ``StoreUnavailable``.
        """

    @abstractmethod
    def read(self, url: str, offset: int = 0, length: int | None = None) -> AsyncGenerator[bytes]:
        """The bytes from ``offset`` on, ``length`` of them or all, in chunks.

        ``DataMissing`` before the first chunk; ``StoreUnavailable``.
        """

    @abstractmethod
    async def size(self, url: str) -> int:
        """Bytes of what lies at ``url``. ``DataMissing``; ``UnsupportedUrl``; ``StoreUnavailable``."""

    @abstractmethod
    async def delete(self, url: str) -> None:
        """Remove it, durably.

        ``DataMissing`` when it is gone already; ``StoreInUse``; ``Forbidden``; a read-only store does nothing.
        """

    @abstractmethod
    async def discard(self, image_id: str, upload_id: str | None, confirm: Confirm) -> None:
        """Remove what a dead upload of ``image_id`` left; nothing there is fine.

        ``upload_id`` None: everything, unfinished or finished, of all uploads of the image. Else only what that one upload left
        unfinished. ``confirm`` raises unless that is still to be done. Only what was there before it was asked is removed: the
        process may stand still at any moment, for so long that another one cleans up and the next upload ends.
        """

    @abstractmethod
    async def check(self) -> None:
        """Raise ``StoreUnavailable`` with a sentence when it cannot work now (folder missing, no permission)."""

    def details(self) -> dict[str, object]:
        """What ``GET /v2/info/stores/detail`` shows as ``properties``."""
        return {}

    def prepare(self) -> None:  # noqa: B027 - most stores are there
        """Make the place where it is not there yet. Servers do that when they start; who only looks does not."""

    async def close(self) -> None:  # noqa: B027 - most stores have nothing to give back
        """Give connections back."""


@runtime_checkable
class LocalFiles(Protocol):
    """A store whose bytes are files of this host, so that the kernel or a proxy can send them."""

    def path(self, url: str) -> Path:
        """The file behind ``url``. ``DataMissing`` when it is not inside the store's folders; the file may be gone."""
        ...

    async def open(self, url: str) -> IO[bytes]:
        """That file, to read; ``DataMissing`` when it is gone. Nothing else waits where its disk does not answer."""
        ...

    async def in_thread(self, call: Callable[..., T], *args: object) -> T:
        """Run what sends such a file, and may have to wait for its disk, in a thread; raises what it raises. Uploads do not wait
        behind it.
        """
        ...


@runtime_checkable
class Listable(Protocol):
    """A store that can say what lies in it, so that lost and orphaned bytes can be found."""

    def objects(self) -> AsyncIterator[list[StoredObject]]:
        """Everything in the store that looks like ours, finished or not, some hundreds at a time."""
        ...
