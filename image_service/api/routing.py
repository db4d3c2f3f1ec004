"""Addresses to handlers: a table for each API version.

A pattern is ``images/{image_id}/file``. What differs from aiohttp's own router: doubled slashes count as one, a slash at the
end is another address, parts are percent-decoded one by one (so a tag may hold a slash), and 405 carries the ``Allow`` that
Glance sends.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote

from image_service.api.call import Handler
from image_service.errors import InvalidValue, MethodNotAllowed, NotFound


class _Route(NamedTuple):
    parts: list[str]
    methods: dict[str, Handler]


class Routes:
    """The addresses of one API version."""

    def __init__(self) -> None:
        self._by_length: dict[int, list[_Route]] = {}

    def add(self, pattern: str, **methods: Handler) -> None:
        """``add("images/{image_id}", GET=show, DELETE=remove)``; ``ANY`` answers every other method.

        Of two patterns that fit an address the one that was added first counts.
        """
        parts = pattern.split("/")
        self._by_length.setdefault(len(parts), []).append(_Route(parts, methods))

    def find(self, method: str, parts: list[str]) -> tuple[Handler, dict[str, str]]:
        """The handler and the variable parts. ``NotFound``, ``MethodNotAllowed``, ``InvalidValue`` for undecodable bytes."""
        for route in self._by_length.get(len(parts), ()):
            params = _match(route.parts, parts)
            if params is not None:
                break
        else:
            raise NotFound("There is nothing at this address.")
        handler = route.methods.get(method) or route.methods.get("ANY")
        if handler is None:
            allowed = ", ".join(route.methods)
            raise MethodNotAllowed(f"{method} is not possible here: use {allowed}.", {"Allow": allowed})
        return handler, params


def _match(pattern: list[str], parts: list[str]) -> dict[str, str] | None:
    params = {}
    for wanted, part in zip(pattern, parts, strict=True):
        if wanted.startswith("{") and part:
            params[wanted[1:-1]] = _decoded(part)
        elif wanted != part:
            return None
    return params


def _decoded(part: str) -> str:
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
