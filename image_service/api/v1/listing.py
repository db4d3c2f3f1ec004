"""The two lists of API v1 (contract A.10)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Never

from aiohttp import web
from oslo_config import cfg

from image_service.api.call import Call, Handler, json_answer
from image_service.api.parameters import count, page_length, sort_key, time
from image_service.api.v1 import headers
from image_service.context import RequestContext
from image_service.errors import InvalidValue, MethodNotAllowed
from image_service.model import MAX_BIG_INTEGER, Image
from image_service.operations import images, lifecycle, policy
from image_service.registry.interface import ImageQuery, TimeFilter

_TEXTS = ("name", "status", "container_format", "disk_format")
_COUNTS = ("min_ram", "min_disk", "size_min", "size_max")
_FLAGS = {"true": True, "1": True, "false": False, "0": False, "none": None}
Parse = Callable[[Mapping[str, str], RequestContext, cfg.ConfigOpts], ImageQuery]


def lister(parse: Parse, shown: Callable[[Image], dict[str, Any]]) -> Handler:
    """Lists what a request asks for, as ``parse`` reads it; of a parameter that is given twice the last counts."""

    async def answer(call: Call) -> web.Response:
        query = parse(dict(call.request.query.items()), call.context, call.conf)
        found = await images.page(call.service, call.context, query, v1=call.v1)
        return json_answer({"images": [shown(image) for image in found]}, charset="UTF-8")

    return answer


async def no_head(_call: Call) -> Never:
    """``HEAD /v1/images/detail``: 405, although ``Allow`` elsewhere names it."""
    raise MethodNotAllowed("HEAD is not possible here: use GET.", {"Allow": "GET"})


def parse(given: Mapping[str, str], context: RequestContext, conf: cfg.ConfigOpts) -> ImageQuery:
    """What a request asks for. ``InvalidValue`` for a value that makes no sense; unknown parameters are ignored."""
    equal: dict[str, str | int | bool | None] = {name: given[name] for name in _TEXTS if name in given}
    given = with_nobodys(given, "min_disk")
    counts = {name: count(name, given[name]) for name in _COUNTS if name in given}
    protected = _flag(given, "protected")
    if protected is not None:
        equal["protected"] = protected
    since = given.get("changes-since")
    return ImageQuery(
        visible=policy.visible_v1(context, _flag(given, "is_public"), given="is_public" in given),
        size_min=counts.pop("size_min", None),
        size_max=counts.pop("size_max", None),
        equal={**equal, **counts},
        properties={name.removeprefix("property-"): value for name, value in given.items() if name.startswith("property-")},
        times=(TimeFilter("updated_at", "gt", time("changes-since", since)),) if since is not None else (),
        deleted=False if since is None else None,
        exclude_statuses=lifecycle.UNLISTED if since is None else (),
        marker=given.get("marker"),
        limit=page_length(conf, given.get("limit")),
        sort=(sort_key(given.get("sort_key", "created_at"), given.get("sort_dir", "desc")),),
    )


def with_nobodys(given: Mapping[str, str], name: str) -> Mapping[str, str]:
    """A number that is none is a number that no image has."""
    value = given.get(name, "0")
    return given if value.isdecimal() and value.isascii() else {**given, name: str(MAX_BIG_INTEGER)}


def _flag(given: Mapping[str, str], name: str) -> bool | None:
    """true, false, 1, 0 or none; None when it is not given."""
    word = given.get(name, "none").lower()
    if word not in _FLAGS:
        raise InvalidValue(f"{name} must be true, false or none, not {given[name]!r}.")
    return _FLAGS[word]


index, detail = lister(parse, headers.brief), lister(parse, headers.full)
"""``GET /v1/images``: six keys each; ``GET /v1/images/detail``: eighteen."""
