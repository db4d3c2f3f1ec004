"""The query of ``GET /v2/images`` (contract C.10) as an :class:`ImageQuery`."""

from __future__ import annotations

import re
from collections.abc import Callable

from image_service.api.call import Call
from image_service.api.parameters import integer, time
from image_service.errors import InvalidValue
from image_service.operations import policy
from image_service.registry.interface import SORT_KEYS, ImageQuery, SortKey, TimeFilter

_OPERATORS = ("name", "id", "status", "container_format", "disk_format")
_TIMES = ("created_at", "updated_at")
_TIME_OPERATORS = ("gt", "gte", "lt", "lte", "neq", "eq")
_NUMBERS = ("min_ram", "min_disk", "size", "virtual_size")
_TEXTS = ("owner", "checksum", "os_hash_value", "os_hash_algo")
_NOT_FILTERS = ("limit", "marker", "sort", "sort_key", "sort_dir", "deleted")


def parse(call: Call) -> ImageQuery:
    """What a request asks for, within what the asker may see. ``InvalidValue`` for every value that makes no sense."""
    given = call.request.query
    last = dict(given.items())  # of a repeated name the last counts
    filters = _Filters()
    for name, value in last.items():
        if name not in _NOT_FILTERS:
            filters.add(name, value)
    return ImageQuery(
        visible=policy.visible_v2(call.context, filters.visibility, filters.member_status),
        equal={"os_hidden": False} | filters.equal,
        one_of=filters.one_of,
        properties=filters.properties,
        tags=tuple(tag.strip() for tag in given.getall("tag", ())),
        size_min=filters.sizes.get("size_min"),
        size_max=filters.sizes.get("size_max"),
        times=tuple(filters.times),
        marker=last.get("marker"),
        limit=_limit(call, last.get("limit")),
        sort=_sort(list(given.getall("sort", ())), list(given.getall("sort_key", ())), list(given.getall("sort_dir", ()))),
        exclude_statuses=("deleted", "pending_delete"),
    )


class _Filters:
    """The filters of one request, sorted by what the registry does with them."""

    def __init__(self) -> None:
        self.visibility: str | None = None
        self.member_status: str | None = None
        self.equal: dict[str, str | int | bool | None] = {}
        self.one_of: dict[str, tuple[str, ...]] = {}
        self.properties: dict[str, str] = {}
        self.sizes: dict[str, int] = {}
        self.times: list[TimeFilter] = []

    def add(self, name: str, value: str) -> None:
        """Take one parameter."""
        special: dict[str, Callable[[str, str], None]] = {
            "changes-since": self._changes_since,
            "visibility": self._choice,
            "member_status": self._choice,
            "os_hidden": self._flag,
            "protected": self._flag,
            "size_min": self._size,
            "size_max": self._size,
            "tag": lambda _name, _value: None,
        }
        if name in special:
            special[name](name, value)
        elif name in _OPERATORS:
            self._with_operator(name, value)
        elif name in _TIMES:
            self.times.append(_time_filter(name, value))
        elif name in _NUMBERS:
            self.equal[name] = integer(name, value)
        elif name in _TEXTS:
            self.equal[name] = value
        else:
            self.properties[name] = value

    def _changes_since(self, _name: str, _value: str) -> None:
        raise InvalidValue('The "changes-since" filter is no longer available on v2. Use updated_at=gte:TIME.')

    def _choice(self, name: str, value: str) -> None:
        setattr(self, name, value)

    def _flag(self, name: str, value: str) -> None:
        word = value.lower() if name == "os_hidden" else value
        if word not in ("true", "false"):
            raise InvalidValue(f"Invalid value '{value}' for '{name}' filter. Valid values are case sensitive 'true' or 'false'.")
        self.equal[name] = word == "true"

    def _size(self, name: str, value: str) -> None:
        self.sizes[name] = integer(name, value)

    def _with_operator(self, name: str, value: str) -> None:
        operator, colon, rest = value.partition(":")
        if not colon:
            self.equal[name] = value
        elif operator == "eq":
            self.equal[name] = rest
        elif operator == "in":
            self.one_of[name] = tuple(split_quoted(rest))
        else:
            raise InvalidValue(f"Unable to filter by unknown operator '{operator}': use in: or eq:.")


_ITEM = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^",]+))\s*(?:,|$)')


def split_quoted(text: str) -> list[str]:
    """``"a,b",c`` -> ``a,b`` and ``c``; a backslash escapes a quotation mark. ``InvalidValue`` for unbalanced marks."""
    items, at = [], 0
    while at < len(text):
        match = _ITEM.match(text, at)
        if match is None:
            raise InvalidValue(f"Invalid filter value {text}: it has an empty item or unbalanced quotation marks.")
        quoted, plain = match.groups()
        items.append(re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain.strip())
        at = match.end()
    return items


def _time_filter(name: str, value: str) -> TimeFilter:
    operator, colon, rest = value.partition(":")
    if not colon or operator not in _TIME_OPERATORS:
        operator, rest = "eq", value
    return TimeFilter(name, operator, time(name, rest))


def _limit(call: Call, text: str | None) -> int:
    if text is None:
        return call.settings.page_size
    limit = integer("limit", text)
    if limit < 0:
        raise InvalidValue("limit must not be negative.")
    return min(limit, call.settings.page_limit)


def _sort(combined: list[str], keys: list[str], directions: list[str]) -> tuple[SortKey, ...]:
    if combined and (keys or directions):
        raise InvalidValue("The old parameters sort_key and sort_dir cannot be used together with sort.")
    if combined:
        return tuple(_sort_key(*_split_sort(item)) for item in ",".join(combined).split(","))
    keys, directions = keys or ["created_at"], directions or ["desc"]
    if len(directions) == 1:
        directions *= len(keys)
    if len(keys) != len(directions):
        raise InvalidValue("Give as many sort_dir as sort_key, or one for all.")
    return tuple(_sort_key(key, direction) for key, direction in zip(keys, directions, strict=True))


def _split_sort(item: str) -> tuple[str, str]:
    key, _, direction = item.strip().partition(":")
    return key.strip(), direction.strip() or "desc"


def _sort_key(key: str, direction: str) -> SortKey:
    if key not in SORT_KEYS:
        raise InvalidValue(f"Invalid sort key: {key}. It must be one of {', '.join(SORT_KEYS)}.")
    if direction not in ("asc", "desc"):
        raise InvalidValue(f"Invalid sort direction: {direction}. It must be asc or desc.")
    return SortKey(key, direction == "desc")
