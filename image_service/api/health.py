"""``/healthcheck``: this process answers. ``/readiness``: everything it needs answers, too. Both without asking who it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from image_service.api.call import json_answer
from image_service.api.middleware.errors import wanted_form
from image_service.errors import ImageServiceError, MethodNotAllowed

Check = Callable[[], Awaitable[None]]

DEADLINE = 5.0
"""Seconds that each check gets; what says nothing until then is not ready."""


async def healthcheck(request: web.Request) -> web.Response:
    """200 ``OK`` (HEAD: 204), as oslo.middleware answers it."""
    _only_reading(request)
    if request.method == "HEAD":
        return web.Response(status=204)
    if wanted_form(request.headers.get("Accept")) == "json":
        return json_answer({"detailed": False, "reasons": ["OK"]})
    return web.Response(text="OK", content_type="text/plain")


async def readiness(request: web.Request, checks: Mapping[str, Check]) -> web.Response:
    """200, or 503 when one of ``checks`` fails: ``{"ready": true, "checks": {"registry": "ok", ...}}``. They run side by side."""
    _only_reading(request)
    said = dict(zip(checks, await asyncio.gather(*map(_outcome, checks.values())), strict=True))
    ready = set(said.values()) <= {"ok"}
    return json_answer({"ready": ready, "checks": said}, 200 if ready else 503)


async def _outcome(check: Check) -> str:
    try:
        await asyncio.wait_for(check(), DEADLINE)
    except TimeoutError:
        return f"no answer within {DEADLINE:g} s"
    except ImageServiceError as error:
        return error.message
    return "ok"


def _only_reading(request: web.BaseRequest) -> None:
    if request.method not in ("GET", "HEAD"):
        raise MethodNotAllowed("Only GET and HEAD are possible here.", {"Allow": "GET, HEAD"})
