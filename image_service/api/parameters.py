"""Values of query parameters and headers that API v1, API v2 and the registry read alike."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from oslo_config import cfg

from image_service.errors import InvalidValue
from image_service.model import MAX_BIG_INTEGER
from image_service.registry.interface import SORT_KEYS, SortKey

_YEAR_OR_MONTH = re.compile(r"\d{4}(-\d\d)?", re.ASCII)


def whole(text: str) -> int:
    """A number in decimal digits, else ``ValueError``; Python alone would take ``1_000`` and the digits of other scripts, too."""
    if "_" in text or not text.isascii():
        raise ValueError(text)
    return int(text)


def integer(name: str, text: str) -> int:
    """A number; one that no column holds becomes the nearest that one does, so that comparisons come out the same."""
    try:
        value = whole(text)
    except ValueError:
        raise InvalidValue(f"{name} must be an integer, not {text!r}.") from None
    return max(-MAX_BIG_INTEGER, min(value, MAX_BIG_INTEGER))


def count(name: str, text: str) -> int:
    """An :func:`integer` of 0 or more."""
    value = integer(name, text)
    if value < 0:
        raise InvalidValue(f"{name} must not be negative.")
    return value


def page_length(conf: cfg.ConfigOpts, limit: str | None) -> int:
    """How many images a page may have: what ``limit`` says, within the options."""
    wanted: int = conf.limit_param_default if limit is None else count("limit", limit)
    return min(wanted, int(conf.api_limit_max))


def sort_key(key: str, direction: str) -> SortKey:
    """``InvalidValue`` for a column by which nothing is sorted, or another direction than asc and desc."""
    if key not in SORT_KEYS:
        raise InvalidValue(f"Unsupported sort_key. Acceptable values: {', '.join(SORT_KEYS)}.")
    if direction not in ("asc", "desc"):
        raise InvalidValue("Unsupported sort_dir. Acceptable values: asc, desc.")
    return SortKey(key, direction == "desc")


def time(name: str, text: str) -> datetime:
    """ISO 8601 as naive UTC; without a zone it is UTC already, and a year or a month alone is its beginning. ``InvalidValue``."""
    # A plus sign that nobody encoded arrives as a space.
    plain = text.strip().replace(" ", "+") if "T" in text else text.strip()
    if _YEAR_OR_MONTH.fullmatch(plain):
        plain += "-01" * (2 - plain.count("-"))
    try:
        value = datetime.fromisoformat(plain)
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    except (ValueError, OverflowError):
        raise InvalidValue(f"Unrecognized {name} value {text!r}: write it like 2026-11-22T11:59:11Z.") from None
