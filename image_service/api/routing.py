"""Addresses to handlers: a table for each API version.

A pattern is ``images/{image_id}/file``. What differs from aiohttp's own router: doubled slashes count as one, a slash at the
end is another address, parts are percent-decoded one by one (so a tag may hold a slash), and 405 carries the ``Allow`` that
Glance sends.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from image_service.api.call import Handler
from image_service.errors import InvalidValue, MethodNotAllowed, NotFound


class Routes:
    """The addresses of one API version; ``v1``: whose rules are those of API v1."""

    def __init__(self, *, v1: bool = False) -> None:
        self.v1 = v1
        self._routes: list[tuple[re.Pattern[str], dict[str, Handler]]] = []

    def add(self, pattern: str, **methods: Handler) -> None:
        """``add("images/{image_id}", GET=show, DELETE=remove)``; ``ANY`` answers every other method.

        Of two patterns that fit an address the one that was added first counts.
        """
        self._routes.append((re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", pattern)), methods))

    def find(self, method: str, parts: list[str]) -> tuple[Handler, dict[str, str]]:
        """The handler and the variable parts. ``NotFound``, ``MethodNotAllowed``, ``InvalidValue`` for undecodable bytes."""
        path = "/".join(parts)
        for pattern, methods in self._routes:
            if found := pattern.fullmatch(path):
                handler = methods.get(method) or methods.get("ANY")
                if handler is None:
                    allowed = ", ".join(methods)
                    raise MethodNotAllowed(f"{method} is not possible here: use {allowed}.", {"Allow": allowed})
                return handler, {name: decoded(part) for name, part in found.groupdict().items()}
        raise NotFound("There is nothing at this address.")


def decoded(part: str) -> str:
    """A part of an address without its percent-encoding; ``InvalidValue`` for bytes that are no UTF-8."""
    try:
        return unquote(part, errors="strict") if "%" in part else part
    except UnicodeDecodeError:
        raise InvalidValue("The address has percent-encoded bytes that are not UTF-8.") from None


def split(raw_path: str) -> list[str]:
    """The parts of a path, still percent-encoded; empty parts go, but an empty last one stays: ``/a//b/`` is a, b, "".

    A whole URL is a path, too (RFC 9112 3.2.2).
    """
    path = raw_path.partition("?")[0].partition("#")[0]
    if not path.startswith("/"):
        path = "/" + path.partition("://")[2].partition("/")[2]
    parts = [part for part in path.split("/") if part]
    return [*parts, ""] if path.endswith("/") else parts
