"""Addresses to handlers: a table for each API version.

A pattern is ``images/{image_id}/file``. What differs from aiohttp's own router: doubled slashes count as one, a slash at the
end is another address, parts are percent-decoded one by one (so a tag may hold a slash), and 405 carries the ``Allow`` that
Glance sends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote

from image_service.api.call import Handler
from image_service.errors import InvalidValue, MethodNotAllowed, NotFound


@dataclass(slots=True)
class _Node:
    """One part of a path: what may follow it, and what stands at its end."""

    fixed: dict[str, _Node] = field(default_factory=dict)
    variable: tuple[str, _Node] | None = None
    methods: dict[str, Handler] = field(default_factory=dict)
    allow: str | None = None


class Routes:
    """The addresses of one API version."""

    def __init__(self) -> None:
        self._root = _Node()

    def add(self, pattern: str, allow: str | None = None, **methods: Handler) -> None:
        """``add("images/{image_id}", GET=show, DELETE=remove)``; ``ANY`` answers every other method.

        ``allow`` replaces the list of methods in a 405, "" leaves it out.
        """
        node = self._root
        for part in pattern.split("/"):
            if part.startswith("{"):
                if node.variable is None:
                    node.variable = (part[1:-1], _Node())
                node = node.variable[1]
            else:
                node = node.fixed.setdefault(part, _Node())
        node.methods |= methods
        node.allow = ", ".join(methods) if allow is None else allow

    def find(self, method: str, parts: list[str]) -> tuple[Handler, dict[str, str]]:
        """The handler and the variable parts. ``NotFound``, ``MethodNotAllowed``, ``InvalidValue`` for undecodable bytes."""
        found = _walk(self._root, parts, 0, {})
        if found is None:
            raise NotFound("There is nothing at this address.")
        node, params = found
        handler = node.methods.get(method) or node.methods.get("ANY")
        if handler is None:
            headers = {"Allow": node.allow} if node.allow else {}
            raise MethodNotAllowed(f"{method} is not possible here: use {node.allow or 'another address'}.", headers)
        return handler, params


def _walk(node: _Node, parts: list[str], at: int, params: dict[str, str]) -> tuple[_Node, dict[str, str]] | None:
    if at == len(parts):
        return (node, params) if node.methods else None
    part = parts[at]
    if part in node.fixed:
        found = _walk(node.fixed[part], parts, at + 1, params)
        if found is not None:
            return found
    if node.variable is None or not part:
        return None
    name, after = node.variable
    return _walk(after, parts, at + 1, {**params, name: _decoded(part)})


def _decoded(part: str) -> str:
    if "%" not in part:
        return part
    try:
        return unquote(part, errors="strict")
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
    if path.endswith("/"):
        parts.append("")
    return parts
