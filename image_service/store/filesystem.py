"""Images as files of this host. The layout of a store with two folders (``filesystem_store_datadirs``):

    DATADIR/
    ├── IMAGE_ID                        a finished image: whole, on stable storage; never opened for writing
    └── .IMAGE_ID.UPLOAD_ID.part        an upload that runs, or that a crash ended
    DATADIR2/
    └── ...

A write goes to the part file; it is fsynced, gets its final name, and the folder is fsynced. Both names lie
in one folder, so that is atomic. All system calls run in the store's own threads. Messages name no path: paths
are for the log.
"""

from __future__ import annotations

import asyncio
import errno
import io
import json
import logging
import os
import re
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, TypeVar

from image_service import errors
from image_service.durable import fsync_folder
from image_service.model import UUID, Location
from image_service.store.interface import Confirm, Store, StoredObject, StoreWriter
from image_service.store.part_file import PartFile, ignores_case, room_in

LOG = logging.getLogger(__name__)
T = TypeVar("T")

_READ_AHEAD = 1 << 30  # bytes of a new image that are brought into the page cache
_READ_STEP = 1 << 20
_THREADS = 16
_LISTED_AT_ONCE = 500
_NAME = re.compile(rf"(?P<image>{UUID})|\.(?P<partial>{UUID})\.(?P<upload>{UUID})\.part", re.IGNORECASE)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ALL = os.R_OK | os.W_OK | os.X_OK
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def _as_store_error(error: OSError) -> errors.ImageServiceError:
    LOG.warning("file store: %s", error)
    if error.errno in _FULL:
        return errors.StoreFull("There is no room left in the store for this image. Nothing of it was kept.")
    if error.errno in _REFUSED:
        return errors.StoreUnavailable("The store refuses to read or write: no permission. Tell the administrator.")
    if error.errno == errno.EMFILE:
        return errors.StoreUnavailable("The service has as many files open as it may (LimitNOFILE). Try again later.")
    return errors.StoreUnavailable("The store cannot read or write now. Tell the administrator if it lasts.")


@dataclass(frozen=True, slots=True)
class FileWriter(StoreWriter):
    """See :class:`StoreWriter`."""

    store: FilesystemStore
    part: PartFile
    metadata: dict[str, object]

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        await self.store.run(self.part.write, data)

    async def commit(self, confirm: Confirm) -> Location:
        await self.store.run(self.part.finish)
        if not await self._publish():
            seen = await self.store.run(_open_all, [self.part.final])
            await confirm()
            await self.store.run(_discard, self.part.final.parent, seen)
            if not await self._publish():
                raise errors.UploadLost("Another upload to this image was faster.")
        self.store.warm(self.part.final)
        return Location(f"file://{self.part.final}", self.metadata)

    async def _publish(self) -> bool:
        removed = errors.UploadLost("The upload was declared dead, its bytes were removed.")
        return await self.store.run(self.part.publish, missing=removed)

    async def abort(self) -> None:
        await self.store.run(self.part.abort)


@dataclass(eq=False)
class FilesystemStore(Store):
    """Files in one or several folders (``datadirs``: path and priority). ``file_perm``: a mode, 0 for what the umask says.

    ``chunk_size``: bytes read at a time. ``thin``: blocks of zeros become holes. ``location_metadata`` is kept with every
    location; ``metadata_file`` is JSON with ``id`` and ``mountpoint`` (or a list of such) that is added to it.
    """

    kind = "file"
    schemes = ("file", "filesystem")

    name: str
    datadirs: Sequence[tuple[Path, int]]
    _: KW_ONLY
    file_perm: int = 0
    chunk_size: int = 65536
    thin: bool = False
    metadata_file: str | Path | None = None
    location_metadata: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.datadirs = [(Path(os.path.abspath(folder)), priority) for folder, priority in self.datadirs]
        self._mounts = _read_mounts(self.metadata_file)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"store-{self.name}")
        self._senders = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"send-{self.name}")

    def prepare(self) -> None:
        """See :meth:`Store.prepare`."""
        for folder, _ in self.datadirs:
            with suppress(OSError):  # check() says what is wrong with it
                folder.mkdir(parents=True, exist_ok=True)

    def warm(self, path: Path) -> None:
        """Begin to read a file that was written past the page cache: what was just uploaded is what is downloaded next.

        Nobody waits for it, and what it cannot read it leaves to the download.
        """
        with suppress(RuntimeError):  # the threads are ending
            self._threads.submit(_read_ahead, path)

    async def run(self, call: Callable[..., T], *args: object, missing: errors.ImageServiceError | None = None) -> T:
        """Run a blocking ``call`` in the store's threads; its ``OSError`` becomes ``missing`` or the store error that fits."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, copy_context().run, call, *args)
        except OSError as error:
            if missing is not None and isinstance(error, FileNotFoundError):
                raise missing from error
            raise _as_store_error(error) from error

    async def in_thread(self, call: Callable[..., T], *args: object) -> T:
        """See :meth:`LocalFiles.in_thread`."""
        return await asyncio.get_running_loop().run_in_executor(self._senders, call, *args)

    # -- writing --

    async def begin(self, image_id: str, upload_id: str, size: int | None) -> StoreWriter:
        """See :meth:`Store.begin`: the folder with the highest priority that has room, of equal ones that with most room."""
        _require_plain(image_id, upload_id)
        begun = asyncio.ensure_future(self.run(self._begin, image_id, upload_id, size))
        try:
            return await asyncio.shield(begun)
        except asyncio.CancelledError:
            # Nobody else will ever know of the file that the thread makes.
            with suppress(errors.ImageServiceError):
                await (await begun).abort()
            raise

    def _begin(self, image_id: str, upload_id: str, size: int | None) -> StoreWriter:
        folder = self._folder_with_room(size or 1)
        part = PartFile(part_path(folder, image_id, upload_id), folder / image_id, file_perm=self.file_perm, thin=self.thin)
        if image_id != image_id.lower() and ignores_case(part.path):
            part.abort()  # Else it would write over the image whose id is the same but for the case.
            raise errors.InvalidValue("The store cannot tell A from a: an image whose id has capital letters gets no data here.")
        return FileWriter(self, part, self.location_metadata | self._mount_of(folder))

    def _folder_with_room(self, size: int) -> Path:
        failure, ranked = OSError(), []
        for folder, priority in self.datadirs:
            try:
                ranked.append((priority, room_in(folder), folder))
            except OSError as error:
                LOG.warning("file store %s: %s", self.name, error)
                failure = error
        fitting = [entry for entry in ranked if entry[1] >= size]
        if not fitting:
            raise OSError(errno.ENOSPC, f"no folder has room for {size} bytes") if ranked else failure
        return max(fitting, key=lambda entry: entry[:2])[2]

    def _mount_of(self, folder: Path) -> dict[str, object]:
        """The metadata entry whose mountpoint is over ``folder``; a single entry is everywhere."""
        if len(self._mounts) == 1:
            return self._mounts[0]
        over = [entry for entry in self._mounts if folder.is_relative_to(str(entry["mountpoint"]))]
        return max(over, key=lambda entry: len(str(entry["mountpoint"])), default={})

    # -- reading --

    def path(self, url: str) -> Path:
        """See :meth:`LocalFiles.path`. No ``..`` and no link leads out of the folders."""
        scheme, _, path = url.partition("://")
        if scheme not in self.schemes or not path.startswith("/"):
            raise errors.UnsupportedUrl("This is no location of the file store.")
        folder, name = os.path.split(path)
        folders = [str(ours) for ours, _ in self.datadirs]
        inside = folder in folders or os.path.realpath(folder) in map(os.path.realpath, folders)
        if name.startswith(".") or not name or not inside:
            raise errors.DataMissing("The location is not inside the folders of the file store.")
        return Path(folder, name)

    async def open(self, url: str) -> IO[bytes]:
        """See :meth:`LocalFiles.open`."""
        return await self.run(io.FileIO, self.path(url), missing=_gone())

    async def read(self, url: str, offset: int = 0, length: int | None = None) -> AsyncGenerator[bytes]:
        """See :meth:`Store.read`."""
        end = offset + length if length is not None else None
        await self.size(url)  # Only a file has bytes: a pipe would not even open.
        with await self.open(url) as file:
            while end is None or offset < end:
                wanted = self.chunk_size if end is None else min(self.chunk_size, end - offset)
                data = await self.run(os.pread, file.fileno(), wanted, offset)
                if not data:
                    break
                offset += len(data)
                yield data

    async def size(self, url: str) -> int:
        """See :meth:`Store.size`."""
        found = await self.run(_found, self.path(url))
        if found is None or not stat.S_ISREG(found.st_mode):
            raise _gone()
        return found.st_size

    # -- removing and looking --

    async def delete(self, url: str) -> None:
        """See :meth:`Store.delete`."""
        await self.run(self._delete, self.path(url), missing=_gone())

    def _delete(self, path: Path) -> None:
        # Opened first, and nothing is raised when the bytes are gone: who hears of an error takes them to be there.
        try:
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:  # A folder that is away has not lost its files.
            raise _as_store_error(error) from error
        try:
            path.unlink()
            with suppress(OSError):  # What a power cut brings back image-scrubber finds.
                os.fsync(folder)
        except OSError as error:
            if error.errno in _REFUSED:
                LOG.warning("file store %s: %s", self.name, error)
                raise errors.Forbidden("The store refuses to delete it: no permission. Tell the administrator.") from error
            if error.errno in (errno.EBUSY, errno.ETXTBSY):
                raise errors.StoreInUse("The image's bytes are in use in the store and cannot be deleted now.") from error
            raise
        finally:
            os.close(folder)

    async def discard(self, image_id: str, upload_id: str | None, confirm: Confirm) -> None:
        """See :meth:`Store.discard`. Files that are open keep their inodes' numbers to themselves."""
        _require_plain(image_id, upload_id or "any")
        for folder in await self.run(self._by_reach):
            if seen := await self.run(_look, folder, image_id, upload_id):
                await confirm()
                await self.run(_discard, folder, seen)

    async def objects(self) -> AsyncIterator[list[StoredObject]]:
        """See :meth:`Listable.objects`; files with other names than ours are not listed."""
        for folder in await self.run(self._by_reach):
            found = _scan(folder)
            while batch := await self.run(list[StoredObject], islice(found, _LISTED_AT_ONCE)):
                yield batch

    def _by_reach(self) -> list[Path]:
        """The folders, those that are away last: they end what is done with each, but keep nobody from the others."""
        return sorted((folder for folder, _ in self.datadirs), key=lambda folder: not os.access(folder, _ALL))

    async def check(self) -> None:
        """See :meth:`Store.check`."""
        await self.run(self._check)

    def _check(self) -> None:
        for folder, _ in self.datadirs:
            if not os.access(folder, _ALL):
                LOG.error("store %s: folder %s is missing, or we may not write into it: check owner and mode", self.name, folder)
                raise errors.StoreUnavailable(
                    "A folder of the store is missing, or we may not write into it; the log says which."
                )

    def details(self) -> dict[str, object]:
        """See :meth:`Store.details`."""
        folders = [str(folder) for folder, _ in self.datadirs]
        data_dir = folders if len(folders) > 1 else folders[0]
        return {"data_dir": data_dir, "chunk_size": self.chunk_size, "thin_provisioning": self.thin}

    async def close(self) -> None:
        """End the threads when they have nothing left to do."""
        for threads in (self._threads, self._senders):
            threads.shutdown(wait=False)


def _read_ahead(path: Path) -> None:
    # Linux takes the advice only up to the size of one request to the disk, so it is given in steps.
    with suppress(OSError), path.open("rb") as file:
        for start in range(0, min(_READ_AHEAD, os.fstat(file.fileno()).st_size), _READ_STEP):
            os.posix_fadvise(file.fileno(), start, _READ_STEP, os.POSIX_FADV_WILLNEED)


@dataclass(eq=False)
class Seen:
    """A file that was there, held open until nobody has this any more: so it is known again."""

    path: Path

    def __post_init__(self) -> None:
        self.fd = os.open(self.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)

    def __del__(self) -> None:
        with suppress(AttributeError):  # it was not there
            os.close(self.fd)


def _found(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        path.parent.stat()  # A folder that is away has not lost its files.
        return None


def _look(folder: Path, image_id: str, upload_id: str | None) -> list[Seen]:
    os.stat(folder)  # A folder that is away has not lost its files.
    if upload_id is not None:
        return _open_all([part_path(folder, image_id, upload_id)])
    # As they are written: where case is ignored, the file of another image has this name, too.
    wanted = re.compile(rf"{image_id}|\.{image_id}\..*\.part")
    return _open_all([folder / name for name in os.listdir(folder) if wanted.fullmatch(name)])


def _open_all(doomed: Sequence[Path]) -> list[Seen]:
    """Those that are there."""
    seen = []
    for path in doomed:
        with suppress(FileNotFoundError):
            seen.append(Seen(path))
    return seen


def _discard(folder: Path, seen: Sequence[Seen]) -> None:
    for file in seen:
        with suppress(FileNotFoundError):
            if os.path.samestat(file.path.stat(follow_symlinks=False), os.fstat(file.fd)):
                file.path.unlink()
    fsync_folder(folder)


def _scan(folder: Path) -> Iterator[StoredObject]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if match := _NAME.fullmatch(entry.name):
                with suppress(FileNotFoundError):  # renamed or removed since it was listed
                    found = entry.stat(follow_symlinks=False)
                    if not stat.S_ISREG(found.st_mode):
                        continue
                    modified_at = datetime.fromtimestamp(found.st_mtime, UTC).replace(tzinfo=None)
                    image_id = match["image"] or match["partial"]
                    yield StoredObject(f"file://{entry.path}", image_id, found.st_size, modified_at, match["upload"])


def part_path(folder: Path, image_id: str, upload_id: str) -> Path:
    return folder / f".{image_id}.{upload_id}.part"


def _gone() -> errors.DataMissing:
    return errors.DataMissing("The image's bytes are not in the store.")


def _require_plain(*names: str) -> None:
    """Image and upload ids become file names: letters, digits, dashes and underscores only."""
    for name in names:
        if not re.fullmatch(r"[\w-]+", name, re.ASCII):
            raise errors.InvalidValue(f"{name!r} is no id that the file store can keep.")


def _read_mounts(metadata_file: str | Path | None) -> list[dict[str, object]]:
    """The entries of ``filesystem_store_metadata_file``. ``ValueError`` with a sentence when it is not as it must be."""
    if metadata_file is None:
        return []
    try:
        content = json.loads(Path(metadata_file).read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"filesystem_store_metadata_file = {metadata_file} cannot be read as JSON: {error}") from error
    entries = content if isinstance(content, list) else [content]
    for entry in entries:
        if not (isinstance(entry, dict) and {"id", "mountpoint"} <= entry.keys()):
            raise ValueError(f"{metadata_file}: each entry must be an object with id and mountpoint")
    return entries
