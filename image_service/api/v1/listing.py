"""The two lists of API v1 (contract A.10)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Never

from aiohttp import web

from image_service.api.call import Call, json_answer
from image_service.api.parameters import integer, time
from image_service.api.v1 import headers
from image_service.errors import InvalidValue, MethodNotAllowed
from image_service.operations import images, policy
from image_service.registry.interface import SORT_KEYS, ImageQuery, SortKey, TimeFilter

_TEXTS = ("name", "status", "container_format", "disk_format")
_FLAGS = {"true": True, "1": True, "false": False, "0": False, "none": None}
HIDDEN_STATUSES = ("killed", "deleted", "pending_delete")


async def index(call: Call) -> web.Response:
    """``GET /v1/images``: six keys each."""
    page = await images.listing(call.service, parse(call))
    return json_answer({"images": [headers.brief(image) for image in page]})


async def detail(call: Call) -> web.Response:
    """``GET /v1/images/detail``: eighteen keys each."""
    page = await images.listing(call.service, parse(call))
    return json_answer({"images": [headers.full(image) for image in page]})


async def no_head(_call: Call) -> Never:
    """``HEAD /v1/images/detail``: 405, although ``Allow`` elsewhere names it."""
    raise MethodNotAllowed("HEAD is not possible here: use GET.", {"Allow": "GET"})


def parse(call: Call) -> ImageQuery:
    """What a request asks for. ``InvalidValue`` for a value that makes no sense; unknown parameters are ignored."""
    given = call.request.query
    last = dict(given.items())  # of a repeated name the last counts
    since = _changes_since(last)
    public = flag(last, "is_public")
    protected = flag(last, "protected")
    equal: dict[str, str | int | bool | None] = {name: last[name] for name in _TEXTS if name in last}
    equal |= {name: number(last, name) for name in ("min_ram", "min_disk") if name in last}
    if protected is not None:
        equal["protected"] = protected
    return ImageQuery(
        visible=policy.visible_v1(call.context, public, given="is_public" in last),
        equal=equal,
        properties={name.removeprefix("property-"): value for name, value in last.items() if name.startswith("property-")},
        size_min=number(last, "size_min"),
        size_max=number(last, "size_max"),
        times=since,
        deleted=None if since else False,
        exclude_statuses=() if since else HIDDEN_STATUSES,
        marker=_marker(last),
        limit=_limit(call, last),
        sort=sort(last),
    )


def flag(given: Mapping[str, str], name: str) -> bool | None:
    """true, false, 1, 0 or none; None when it is not given."""
    word = given.get(name, "none").lower()
    if word not in _FLAGS:
        raise InvalidValue(f"{name} must be true, false or none, not {given[name]!r}.")
    return _FLAGS[word]


def number(given: Mapping[str, str], name: str) -> int | None:
    """An integer of 0 or more; None when it is not given."""
    if name not in given:
        return None
    value = integer(name, given[name])
    if value < 0:
        raise InvalidValue(f"{name} must not be negative.")
    return value


def _limit(call: Call, given: Mapping[str, str]) -> int:
    limit = number(given, "limit")
    return min(call.settings.page_size if limit is None else limit, call.settings.page_limit)


def _marker(given: Mapping[str, str]) -> str | None:
    marker = given.get("marker")
    if marker is not None:
        try:
            images.require_uuid(marker)
        except InvalidValue:
            raise InvalidValue("Invalid marker format: it is the id of the last image of the page before.") from None
    return marker


def sort(given: Mapping[str, str]) -> tuple[SortKey, ...]:
    """``sort_key`` and ``sort_dir``; by default the newest first."""
    key, direction = given.get("sort_key", "created_at"), given.get("sort_dir", "desc")
    if key not in SORT_KEYS:
        raise InvalidValue(f"Unsupported sort_key. Acceptable values: {', '.join(SORT_KEYS)}.")
    if direction not in ("asc", "desc"):
        raise InvalidValue("Unsupported sort_dir. Acceptable values: asc, desc.")
    return (SortKey(key, direction == "desc"),)


def _changes_since(given: Mapping[str, str]) -> tuple[TimeFilter, ...]:
    text = given.get("changes-since")
    return () if text is None else (TimeFilter("updated_at", "gt", time("changes-since", text)),)
