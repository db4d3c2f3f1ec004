"""``/healthcheck``: this process answers. ``/readiness``: everything it needs answers, too. Both without asking who it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from image_service.api.middleware.errors import wanted_form
from image_service.errors import ImageServiceError, MethodNotAllowed

if TYPE_CHECKING:
    from image_service.api.call import Call

Check = Callable[[], Awaitable[None]]

DEADLINE = 5.0
"""Seconds that each check gets; what says nothing until then is not ready."""


async def healthcheck(call: Call) -> web.Response:
    """200 ``OK`` (HEAD: 204), as oslo.middleware answers it."""
    return healthy(call.request)


def healthy(request: web.BaseRequest) -> web.Response:
    """The answer of a process that lives."""
    _only_reading(request)
    if request.method == "HEAD":
        return web.Response(status=204)
    if wanted_form(request.headers.get("Accept")) == "json":
        return web.Response(body=orjson.dumps({"detailed": False, "reasons": ["OK"]}), content_type="application/json")
    return web.Response(text="OK", content_type="text/plain")


async def readiness(call: Call) -> web.Response:
    """200, or 503 when the registry or a store does not work: ``{"ready": true, "checks": {"registry": "ok", ...}}``."""
    checks: dict[str, Check] = {"registry": call.service.registry.check}
    checks |= {f"store:{store.name}": store.check for store in call.service.stores.all()}
    return await ready(call.request, checks)


async def ready(request: web.BaseRequest, checks: Mapping[str, Check]) -> web.Response:
    """The answer of a process that needs what ``checks`` look at; they run side by side."""
    _only_reading(request)
    said = dict(zip(checks, await asyncio.gather(*(_outcome(check) for check in checks.values())), strict=True))
    fine = all(outcome == "ok" for outcome in said.values())
    body = orjson.dumps({"ready": fine, "checks": said})
    return web.Response(body=body, status=200 if fine else 503, content_type="application/json")


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
