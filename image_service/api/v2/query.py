"""The query of ``GET /v2/images`` (contract C.10) as an :class:`ImageQuery`."""

from __future__ import annotations

import re
from collections.abc import Callable

from image_service.api.call import Call
from image_service.api.parameters import integer, page_length, sort_key, time
from image_service.errors import InvalidValue
from image_service.operations import lifecycle, policy
from image_service.registry.interface import ImageQuery, SortKey, TimeFilter

_OPERATORS = ("name", "id", "status", "container_format", "disk_format")
_TIMES = ("created_at", "updated_at")
_TIME_OPERATORS = ("gt", "gte", "lt", "lte", "neq", "eq")
_NOT_ATTRIBUTES = (
    "limit", "marker", "sort", "sort_key", "sort_dir", "deleted", "tag", "visibility", "member_status", "size_min", "size_max",
)  # fmt: skip


def parse(call: Call) -> ImageQuery:
    """What a request asks for, within what the asker may see. ``InvalidValue`` for every value that makes no sense."""
    given = call.request.query
    last = dict(given.items())  # of a repeated name the last counts
    if "changes-since" in last:
        raise InvalidValue('The "changes-since" filter is no longer available on v2. Use updated_at=gte:TIME.')
    equal: dict[str, str | int | bool | None] = {"os_hidden": False}
    one_of, properties, times = {}, {}, []
    for name, value in last.items():
        if name in _OPERATORS and value.startswith("in:"):
            one_of[name] = tuple(split_quoted(value.removeprefix("in:")))
        elif name in _EQUAL:
            equal[name] = _EQUAL[name](name, value)
        elif name in _TIMES:
            times.append(_time_filter(name, value))
        elif name not in _NOT_ATTRIBUTES:
            properties[name] = value
    return ImageQuery(
        visible=policy.visible_v2(call.context, last.get("visibility"), last.get("member_status"), by_name="name" in last),
        equal=equal,
        one_of=one_of,
        properties=properties,
        tags=tuple(dict.fromkeys(tag.strip() for tag in given.getall("tag", ()))),  # each costs a search
        size_min=integer("size_min", last["size_min"]) if "size_min" in last else None,
        size_max=integer("size_max", last["size_max"]) if "size_max" in last else None,
        times=tuple(times),
        marker=last.get("marker"),
        limit=page_length(call.conf, last.get("limit")),
        sort=_sort(*(given.getall(name, []) for name in ("sort", "sort_key", "sort_dir"))),
        exclude_statuses=lifecycle.UNLISTED,
    )


def _with_operator(_name: str, value: str) -> str:
    operator, colon, rest = value.partition(":")
    if colon and operator != "eq":
        raise InvalidValue(f"Unable to filter by unknown operator '{operator}': use in: or eq:.")
    return rest if colon else value


def _flag(name: str, value: str) -> bool:
    word = value.lower() if name == "os_hidden" else value
    if word not in ("true", "false"):
        raise InvalidValue(f"Invalid value '{value}' for '{name}' filter. Valid values are case sensitive 'true' or 'false'.")
    return word == "true"


_EQUAL: dict[str, Callable[[str, str], str | int | bool]] = {
    **dict.fromkeys(_OPERATORS, _with_operator),
    **dict.fromkeys(("min_ram", "min_disk", "size", "virtual_size"), integer),
    **dict.fromkeys(("owner", "checksum", "os_hash_value", "os_hash_algo"), lambda _name, value: value),
    **dict.fromkeys(("os_hidden", "protected"), _flag),
}
"""Filters that compare with one value, and how it is read."""
# Possessive: what does not fit is known at once. Blanks belong to an item, as in Glance: names may begin and end with them.
_ITEM = re.compile(r'(?:"((?:[^"\\]|\\.)*+)"|([^",]*+))(?:,|$)')


def split_quoted(text: str) -> list[str]:
    """``"a,b",c`` -> ``a,b`` and ``c``, each once; a backslash escapes a quotation mark. ``InvalidValue`` for unbalanced ones."""
    items: dict[str, None] = {}
    at = 0
    while at < len(text):
        match = _ITEM.match(text, at)
        if match is None:
            raise InvalidValue(f"Invalid filter value {text}: it has unbalanced quotation marks.")
        quoted, plain = match.groups()
        items[re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain] = None
        at = match.end()
    return list(items)


def _time_filter(name: str, value: str) -> TimeFilter:
    operator, colon, rest = value.partition(":")
    if not colon or operator not in _TIME_OPERATORS:
        operator, rest = "eq", value
    return TimeFilter(name, operator, time(name, rest))


def _sort(combined: list[str], keys: list[str], directions: list[str]) -> tuple[SortKey, ...]:
    if combined and (keys or directions):
        raise InvalidValue("The old parameters sort_key and sort_dir cannot be used together with sort.")
    if combined:
        pairs = [item.partition(":") for item in ",".join(combined).split(",")]
        return tuple(sort_key(key.strip(), direction.strip() or "desc") for key, _, direction in pairs)
    keys, directions = ([word.strip() for word in words] for words in (keys or ["created_at"], directions or ["desc"]))
    if len(directions) == 1:
        directions *= len(keys)
    if len(keys) != len(directions):
        raise InvalidValue("Give as many sort_dir as sort_key, or one for all.")
    return tuple(sort_key(key, direction) for key, direction in zip(keys, directions, strict=True))
