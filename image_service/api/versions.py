"""``GET /`` and ``/versions``: which APIs there are, and which one a request means (contract A.1, C.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiohttp import web

from image_service.api.call import ApiSettings, Call, json_answer
from image_service.api.routing import split

V2_MINORS = ("v2.7", "v2.5", "v2.4", "v2.3", "v2.2", "v2.1", "v2.0")
"""Newest first. v2.6 (imports) and what came after v2.7 is not served yet, so it is not listed."""
V1_MINORS = ("v1.1", "v1.0")

_V1_NAMES = frozenset({"v1", *V1_MINORS})
_V2_NAMES = frozenset({"v2", *V2_MINORS})
_ACCEPT = re.compile(r"application/vnd\.openstack\.images-(v\d+(?:\.\d+)?)(?:$|[\s,;+])")


@dataclass(frozen=True, slots=True)
class Negotiated:
    """``api``: v1, v2 or versions; ``parts``: the rest of the path."""

    api: str
    parts: list[str]


def negotiate(settings: ApiSettings, parts: list[str], accept: str) -> Negotiated:
    """Which API a path means; without a version in the path, ``Accept`` may name one."""
    named = _api(settings, parts[0]) if parts else None
    if named is not None:
        return Negotiated(named, parts[1:])
    match = _ACCEPT.search(accept) if parts and parts != [""] else None
    asked = _api(settings, match[1]) if match else None
    return Negotiated(asked, parts) if asked else Negotiated("versions", parts)


def _api(settings: ApiSettings, name: str) -> str | None:
    if settings.v2 and name in _V2_NAMES:
        return "v2"
    if settings.v1 and name in _V1_NAMES:
        return "v1"
    return None


async def show(call: Call) -> web.Response:
    """The versions document: 200 at ``/versions``, 300 at ``/`` and at every address that names no API."""
    if call.request.method == "OPTIONS":
        return web.Response(status=204, headers={"Allow": "GET"})
    settings, endpoint = call.settings, call.endpoint()
    versions = [
        *(_entry(endpoint, "v2", name, name == V2_MINORS[0]) for name in V2_MINORS if settings.v2),
        *(_entry(endpoint, "v1", name, name == V1_MINORS[0]) for name in V1_MINORS if settings.v1),
    ]
    first = next(iter(split_parts(call)), "")
    return json_answer({"versions": versions}, 200 if first == "versions" else 300)


def split_parts(call: Call) -> list[str]:
    """The parts of the path that are not empty."""
    return [part for part in split(call.request.raw_path) if part]


def _entry(endpoint: str, api: str, name: str, current: bool) -> dict[str, object]:
    link = {"rel": "self", "href": f"{endpoint}/{api}/"}
    return {"id": name, "status": "CURRENT" if current else "SUPPORTED", "links": [link]}
