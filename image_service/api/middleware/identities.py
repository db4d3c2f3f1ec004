"""The two files of flavor http_basic, as ``image-manage user`` writes them and the service reads them, and again after a change.

htpasswd           alice:$2b$12$...           as htpasswd -B writes it, and oslo.middleware reads it
identities.json    {"alice": {"project": "p1", "roles": ["member"], "disabled": false}}
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import orjson

LOG = logging.getLogger(__name__)
T = TypeVar("T")

BCRYPT_PREFIXES = ("$2a$", "$2b$", "$2y$")
LONGEST_PASSWORD = 72
"""bcrypt looks at this many bytes of a password, no more."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a user may be besides his name. ``roles`` are lower case."""

    project: str | None = None
    roles: frozenset[str] = frozenset()
    disabled: bool = False


def parse_passwords(text: str) -> dict[str, bytes]:
    """User -> bcrypt hash. Raises ``ValueError`` for a line of another form."""
    found: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        user, colon, hashed = line.strip().partition(":")
        if not user or not colon or not hashed.startswith(BCRYPT_PREFIXES):
            raise ValueError(f"line {number} is not USER:HASH with a bcrypt hash ($2y$...); htpasswd -B makes one")
        found[user] = hashed.partition(":")[0].encode()
    return found


def parse_identities(text: str) -> dict[str, Identity]:
    """User -> identity. Raises ``ValueError`` for another form."""
    raw = orjson.loads(text or "{}")
    if not isinstance(raw, dict):
        raise ValueError('it must be an object: {"USER": {"project": "...", "roles": ["..."]}}')
    return {user: _identity(user, entry) for user, entry in raw.items()}


def _identity(user: str, entry: Any) -> Identity:
    project, roles = (entry.get("project"), entry.get("roles", [])) if isinstance(entry, dict) else (None, None)
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise ValueError(f'the entry of {user} must be {{"project": "...", "roles": ["..."]}}')
    if not isinstance(project, str | None):
        raise ValueError(f"the project of {user} must be a text")
    return Identity(project, frozenset(role.lower() for role in roles), bool(entry.get("disabled", False)))


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
