"""The file that one upload writes until it is whole (its place and names: ``store.filesystem``).

Everything here blocks, so it runs in threads. Bytes go past the page cache where the file system can (``O_DIRECT``): that costs
a tenth of the processor time, leaves memory to others, and the disk sets the pace from the first byte on, so that the fsync at
the end is short.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from contextlib import suppress
from pathlib import Path

from image_service import faults
from image_service.durable import fsync_folder

_HOLE = bytes(65536)
_NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
# What direct writes must be multiples of, in length and place; no disk has larger blocks.
ALIGNMENT = 4096
RESERVE = 4 << 20
"""Bytes of its file system that an image leaves free: SQLite beside it needs room to note even a delete."""


def ignores_case(path: Path) -> bool:
    """Whether the file system of ``path``, which is there, takes ``A`` and ``a`` for the same name (FAT, CIFS)."""
    return os.path.lexists(path.with_name(path.name.swapcase()))


def room_in(place: Path | int) -> int:
    """Bytes that images may still take of the file system of a folder, or of an open file; negative within the reserve.

    ``OSError``: it is read-only.
    """
    found = os.statvfs(place)
    if found.f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(place))
    return found.f_bavail * found.f_frsize - RESERVE


class PartFile:
    """The part file of one upload, made here; it must not exist yet. One method at a time: a cancelled call ends before the
    next begins. Its descriptor is given back when nobody has it any more.
    """

    fd = -1

    def __init__(self, path: Path, final: Path, *, file_perm: int, thin: bool) -> None:
        self.path, self.final = path, final
        self.file_perm, self.thin = file_perm, thin
        self.size = 0
        self.lock = threading.RLock()
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, file_perm or 0o666)
        self.identity = os.fstat(self.fd)
        self.direct = self._set_direct(on=True)

    def _set_direct(self, *, on: bool) -> bool:
        """Whether it is so now: not every file system knows ``O_DIRECT``."""
        flags = fcntl.fcntl(self.fd, fcntl.F_GETFL)
        try:
            fcntl.fcntl(self.fd, fcntl.F_SETFL, flags | os.O_DIRECT if on else flags & ~os.O_DIRECT)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return False
        return on

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append."""
        with self.lock, memoryview(data) as view:
            (self._write_thin if self.thin else self._write_all)(view)
            self.size += len(view)

    def _require_room(self, size: int) -> None:
        if room_in(self.fd) < size:
            raise OSError(errno.ENOSPC, f"the last {RESERVE} bytes are kept free", str(self.path.parent))

    def _write_all(self, data: memoryview) -> None:
        self._require_room(len(data))
        while data:
            whole = len(data) - len(data) % ALIGNMENT
            if self.direct and not whole:
                self.direct = self._set_direct(on=False)
            try:
                data = data[os.write(self.fd, data[:whole] if self.direct else data) :]
            except OSError as error:
                # Not aligned in memory, or the file system wants larger blocks.
                if not self.direct or error.errno != errno.EINVAL:
                    raise
                self.direct = self._set_direct(on=False)

    def _write_thin(self, data: memoryview) -> None:
        """Skip over blocks of zeros: at the end the file must be truncated to its size."""
        start = 0
        while start < len(data):
            end = min(start + len(_HOLE), len(data))
            if data[start:end].tobytes() == _HOLE[: end - start]:
                os.lseek(self.fd, end - start, os.SEEK_CUR)
            else:
                self._write_all(data[start:end])
            start = end

    def finish(self) -> None:
        """All bytes to stable storage."""
        with self.lock:
            if self.thin:
                os.ftruncate(self.fd, self.size)
            self._require_room(0)  # Several uploads look at once, and each finds the same room.
            if self.file_perm:
                os.fchmod(self.fd, self.file_perm)
            faults.point("upload.before-fsync")
            os.fsync(self.fd)

    def publish(self) -> bool:
        """Under the final name, and that to stable storage. False where something has that name: it is left alone (but on a file
        system without hard links).
        """
        with self.lock:
            faults.point("upload.before-rename")
            try:
                os.link(self.path, self.final)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                os.rename(self.path, self.final)
            else:
                os.unlink(self.path)
            fsync_folder(self.final.parent)
            faults.point("upload.after-rename")
            return True

    def abort(self) -> None:
        """Remove the file under whichever name it has; what another upload put there stays.

        The descriptor stays open until then, also after :meth:`publish`: else the inode's number could be another file's by now.
        """
        with self.lock:
            if self.fd < 0:
                return
            for path in (self.path, self.final):
                with suppress(FileNotFoundError):
                    if os.path.samestat(path.stat(follow_symlinks=False), self.identity):
                        path.unlink()
                        fsync_folder(path.parent)
            self.close()

    def close(self) -> None:
        """Give the descriptor back."""
        with self.lock:
            if self.fd >= 0:
                fd, self.fd = self.fd, -1
                os.close(fd)

    def __del__(self) -> None:
        self.close()
