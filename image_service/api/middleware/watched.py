"""A small file that is read again when it was changed: users, identities."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Generic, TypeVar

LOG = logging.getLogger(__name__)
T = TypeVar("T")


class WatchedFile(Generic[T]):
    """The parsed content of ``path``, as it is now.

    Looking costs one stat. A file that cannot be read counts as empty, so that removing it shuts everybody out; a file whose
    content is wrong (somebody is editing it) leaves what was read before. ``parse`` raises ``ValueError`` for wrong content.
    """

    def __init__(self, path: str, parse: Callable[[str], T], empty: T) -> None:
        """Read it for the first time. Raises ``OSError`` or ``ValueError``."""
        self.path = path
        self._parse = parse
        self._empty = empty
        self._seen: tuple[int, int, int] | None = self._look()
        self._content = self._read()

    def content(self) -> T:
        """What is in the file; read again when its time, inode or size is another one."""
        try:
            now = self._look()
            if now != self._seen:
                self._seen = now
                self._content = self._read()
                LOG.info("%s was changed and read again", self.path)
        except OSError as error:
            if self._content is not self._empty:
                LOG.error("%s cannot be read, so nobody in it is known: %s", self.path, error)
            self._content, self._seen = self._empty, None
        except ValueError as error:
            LOG.error("%s is wrong, what was read before stays: %s", self.path, error)
        return self._content

    def _look(self) -> tuple[int, int, int]:
        found = os.stat(self.path)
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _read(self) -> T:
        with open(self.path, encoding="utf-8") as file:
            return self._parse(file.read())
