"""``GET /`` and ``/versions``: which APIs there are, and which one a request means (contract A.1, C.1)."""

from __future__ import annotations

import re
from collections.abc import Collection

from aiohttp import web

from image_service.api.call import json_answer

VERSIONS = {"v2": ("v2.7", "v2.5", "v2.4", "v2.3", "v2.2", "v2.1", "v2.0"), "v1": ("v1.1", "v1.0")}
"""Of each API, newest first. v2.6 (imports) and what came after v2.7 is not served yet, so it is not listed."""

_ACCEPT = re.compile(r"application/vnd\.openstack\.images-(v\d+(?:\.\d+)?)(?:$|[\s,;+])")


def negotiate(apis: Collection[str], parts: list[str], accept: str) -> tuple[str | None, list[str]]:
    """Which of ``apis`` a path means, and the rest of the path; without a version in the path, ``Accept`` may name one."""
    named = _api(apis, parts[0])
    if named is not None:
        return named, parts[1:]
    match = _ACCEPT.search(accept) if parts not in ([""], ["versions"]) else None
    return _api(apis, match[1]) if match else None, parts


def _api(apis: Collection[str], name: str) -> str | None:
    api = name.partition(".")[0]
    return api if api in apis and name in (api, *VERSIONS[api]) else None


async def show(request: web.Request, apis: Collection[str], parts: list[str], endpoint: str) -> web.Response:
    """The versions document: 200 at ``/versions``, 300 at ``/`` and at every address that names no API."""
    if request.method == "OPTIONS":
        return web.Response(status=204, headers={"Allow": "GET"})
    versions = [
        {
            "id": name,
            "status": "CURRENT" if name == names[0] else "SUPPORTED",
            "links": [{"rel": "self", "href": f"{endpoint}/{api}/"}],
        }
        for api, names in VERSIONS.items()
        if api in apis
        for name in names
    ]
    return json_answer({"versions": versions}, 200 if parts[0] == "versions" else 300)
