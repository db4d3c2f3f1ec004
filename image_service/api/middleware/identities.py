"""The two files of flavor http_basic, as the service reads them and ``image-manage user`` writes them.

htpasswd           alice:$2b$12$...           as htpasswd -B writes it, and oslo.middleware reads it
identities.json    {"alice": {"project": "p1", "roles": ["member"], "disabled": false}}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

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
