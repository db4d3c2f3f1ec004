"""Which part of an image is asked for: ``Range`` (RFC 9110 14), and ``Content-Range`` of old clients (contract C.7)."""

from __future__ import annotations

import re

from image_service.errors import InvalidValue, RangeNotSatisfiable

_RANGE = re.compile(r"(\d{0,99})-(\d{0,99})", re.ASCII)
_CONTENT_RANGE = re.compile(r"bytes\s+(\d{1,19})-(\d{1,19})/(\*|\d{1,19})", re.ASCII | re.IGNORECASE)


def parse_range(header: str | None, size: int) -> range | None:
    """What ``Range`` asks of ``size`` bytes; None when there is none, or one to ignore (another unit, malformed, reversed).

    ``InvalidValue`` for several ranges; ``RangeNotSatisfiable`` when none of the bytes exists.
    """
    unit, _, wanted = (header or "").partition("=")
    if unit.strip().lower() != "bytes":
        return None
    parts = [part.strip() for part in wanted.split(",") if part.strip()]
    if len(parts) > 1:
        raise InvalidValue("One range a request: ask for several ranges in several requests.")
    match = _RANGE.fullmatch(parts[0]) if parts else None
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        return _from(size - min(int(last), size), size - 1, size)
    if last and int(last) < int(first):
        return None
    return _from(int(first), int(last) if last else size - 1, size)


def parse_content_range(header: str | None, size: int) -> range | None:
    """What the request's ``Content-Range: bytes A-B/*`` asks for. ``RangeNotSatisfiable``: malformed or out of bounds."""
    if header is None:
        return None
    match = _CONTENT_RANGE.fullmatch(header.strip())
    if match is None:
        raise _unsatisfiable(size)
    first, last, total = int(match[1]), int(match[2]), size if match[3] == "*" else int(match[3])
    if not first <= last < min(total, size):
        raise _unsatisfiable(size)
    return _from(first, last, size)


def _from(first: int, last: int, size: int) -> range:
    if first >= size:
        raise _unsatisfiable(size)
    return range(first, min(last + 1, size))


def _unsatisfiable(size: int) -> RangeNotSatisfiable:
    return RangeNotSatisfiable(
        f"Invalid start position in Range header. The image has {size} bytes.",
        {"Content-Range": f"bytes */{size}"},
    )
