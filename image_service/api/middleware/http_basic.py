"""User and password by HTTP Basic, checked against bcrypt hashes (flavor http_basic).

bcrypt takes a quarter of a second on purpose. So it runs in threads, few of them; what it said is remembered for a while under a
keyed hash of user, password and stored hash (a new password or a removed user counts at once); many requests that come with the
same password wait for one check. An unknown user takes as long as a known one.

Both files are as ``image-manage user`` writes them, and are read again after a change:

    htpasswd           alice:$2b$12$...           as htpasswd -B writes it, and oslo.middleware reads it
    identities.json    {"alice": {"project": "p1", "roles": ["member"], "disabled": false}}
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import logging
import os
import re
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import bcrypt
import orjson
from aiohttp import web
from oslo_config import cfg

from image_service.api.call import client_address
from image_service.api.middleware.authentication import anonymous, known
from image_service.context import RequestContext
from image_service.errors import NotAuthenticated, ServiceUnavailable

LOG = logging.getLogger(__name__)
T = TypeVar("T")

# With a cost of 17, the highest of htpasswd, a check takes many seconds; each more doubles them.
_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|1[0-7])\$[./A-Za-z0-9]{53}")
LONGEST_PASSWORD = 72
"""bcrypt looks at this many bytes of a password, no more."""
REMEMBER_WRONG = 5.0
MOST_REMEMBERED = 10_000
MOST_WAITING, MOST_OF_CLIENT, MOST_OF_NAME = 100, 30, 10
"""Checks that may wait for a thread: in all, of one address, and of one name there. Who guesses passwords must neither pile up
work without end nor shut others out, nor learn which names there are.
"""


# -- the files --


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
        user, hashed = (line.strip() + "::").split(":")[:2]
        if not user or not _BCRYPT.fullmatch(hashed):
            raise ValueError(
                f"line {number} is not USER:HASH with a bcrypt hash of cost 4 to 17 ($2y$10$...); htpasswd -B makes one"
            )
        found[user] = hashed.encode()
    return found


def parse_identities(text: str) -> dict[str, Identity]:
    """User -> identity. Raises ``ValueError`` for another form."""
    raw = orjson.loads(text)
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

    def __init__(self, path: str, parse: Callable[[str], dict[str, T]]) -> None:
        """Read it for the first time. Raises ``OSError`` or ``ValueError``."""
        self.path = path
        self._parse = parse
        self._seen: tuple[int, int, int] | None = self._look()
        self._content = self._read()

    def content(self) -> dict[str, T]:
        """What is in the file; read again when its time, inode or size is another one."""
        try:
            now = self._look()
            if now != self._seen:
                self._seen = now
                self._content = self._read()
                LOG.info("%s was changed and read again", self.path)
        except OSError as error:
            if self._content:
                LOG.error("%s cannot be read, so nobody in it is known: %s", self.path, error)
            self._content, self._seen = {}, None
        except ValueError as error:
            LOG.error("%s is wrong, what was read before stays: %s", self.path, error)
        return self._content

    def _look(self) -> tuple[int, int, int]:
        found = os.stat(self.path)
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _read(self) -> dict[str, T]:
        with open(self.path, encoding="utf-8") as file:
            return self._parse(file.read())


# -- the check --


class Passwords:
    """Says whether a password is right. ``remember`` is in seconds. What was right once is checked again in a thread of its own,
    so that who guesses does not keep its user waiting.
    """

    def __init__(self, file: WatchedFile[bytes], remember: float) -> None:
        self._file = file
        self._remember = remember
        self._key = os.urandom(32)
        # Until when what was said of a password counts.
        self._right: dict[bytes, float] = {}
        self._wrong: dict[bytes, float] = {}
        self._running: dict[bytes, tuple[tuple[str, str], asyncio.Future[bool]]] = {}
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="bcrypt")
        self._thread_of_known = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bcrypt-again")

    async def check(self, client: str, user: str, password: bytes) -> bool:
        """Whether it is the password of ``user``, whom somebody at the address ``client`` claims to be.

        Raises ``ServiceUnavailable`` when too many checks wait already.
        """
        stored = self._file.content()
        hashed = stored.get(user) or nobodys_hash(stored)
        digest = hmac.digest(self._key, repr((user, password, hashed)).encode(), "sha256")
        now = time.monotonic()
        if self._wrong.get(digest, now) > now:
            return False
        right = self._right.get(digest, now) > now or await self._ask((client, user), digest, password, hashed)
        return right and user in stored

    async def _ask(self, who: tuple[str, str], digest: bytes, password: bytes, hashed: bytes) -> bool:
        if digest not in self._running:
            threads = self._thread_of_known if digest in self._right else self._free_threads(*who)
            running = asyncio.get_running_loop().run_in_executor(threads, matches, password, hashed)
            self._running[digest] = who, running
            running.add_done_callback(lambda done: self._remember_result(digest, done))
        # A client that goes away must not take the check from the others that wait for it.
        return await asyncio.shield(self._running[digest][1])

    def _free_threads(self, client: str, user: str) -> ThreadPoolExecutor:
        names = [name for (address, name), _ in self._running.values() if address == client]
        if len(self._running) >= MOST_WAITING or len(names) >= MOST_OF_CLIENT or names.count(user) >= MOST_OF_NAME:
            raise ServiceUnavailable("Too many passwords are being checked at the moment. Try again in a few seconds.")
        return self._threads

    def _remember_result(self, digest: bytes, done: asyncio.Future[bool]) -> None:
        del self._running[digest]
        if done.cancelled() or done.exception() is not None:
            return
        known, seconds = (self._right, self._remember) if done.result() else (self._wrong, min(REMEMBER_WRONG, self._remember))
        if len(known) >= MOST_REMEMBERED:
            known.clear()
        known[digest] = time.monotonic() + seconds


def matches(password: bytes, hashed: bytes) -> bool:
    """Whether ``hashed`` is of ``password``; slow. A hash that bcrypt cannot read is nobody's."""
    try:
        return bcrypt.checkpw(password[:LONGEST_PASSWORD], hashed)
    except ValueError:
        return False


def nobodys_hash(stored: dict[str, bytes]) -> bytes:
    """A hash that no password has, as costly as most of ``stored``: an unknown user must take as long as a known one."""
    costs = Counter(hashed[4:6] for hashed in stored.values())
    cost = costs.most_common(1)[0][0] if costs else b"12"
    return b"$2b$" + cost + b"$" + b"." * 53


class BasicAuthenticator:
    """The authenticator of flavor http_basic."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        """Read both files. Raises ``cfg.Error`` when one cannot be read: nobody could log in."""
        password_file, identity_file = conf.oslo_middleware.http_basic_auth_user_file, conf.http_basic.identity_file
        passwords = _watched("[oslo_middleware] http_basic_auth_user_file", password_file, parse_passwords)
        self._identities = _watched("[http_basic] identity_file", identity_file, parse_identities)
        self._passwords = Passwords(passwords, conf.http_basic.cache_time)
        self._challenge = {"WWW-Authenticate": 'Basic realm="{}"'.format(conf.http_basic.realm.replace('"', ""))}
        self._conf = conf

    async def __call__(self, request: web.BaseRequest) -> RequestContext:
        """The identity of the user in ``Authorization``; ``NotAuthenticated`` with the header that makes clients ask for a
        password.
        """
        header = request.headers.get("Authorization")
        if header is None:
            return anonymous(self._conf, self._refusal("Give a user and a password (HTTP Basic)."))
        user, password = self._credentials(header)
        identities = self._identities.content()
        identity = identities.get(user, Identity())
        client = client_address(request, self._conf)
        right = await self._passwords.check(client, user, password)
        # Without any identity the file is gone, and with it who is disabled.
        if not right or not identities or identity.disabled:
            LOG.warning("Wrong password, or no such user: %r from %s", user[:64], client)
            raise self._refusal("The user or the password is wrong.")
        return known(self._conf, user, identity.project, identity.roles)

    def _refusal(self, sentence: str) -> NotAuthenticated:
        return NotAuthenticated(sentence, self._challenge)

    def _credentials(self, header: str) -> tuple[str, bytes]:
        scheme, _, encoded = header.strip().partition(" ")
        try:
            user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
            if scheme.lower() == "basic" and colon:
                return user.decode(), password
        except ValueError:  # No base64, or no UTF-8.
            pass
        raise self._refusal("The header Authorization must be: Basic, and base64 of USER:PASSWORD.")


def _watched(option: str, path: str, parse: Callable[[str], dict[str, T]]) -> WatchedFile[T]:
    try:
        return WatchedFile(path, parse)
    except (OSError, ValueError) as error:
        hint = "Make the first user with: image-manage user add NAME --project PROJECT --role admin"
        raise cfg.Error(f"{option}: {error}. {hint}") from error
