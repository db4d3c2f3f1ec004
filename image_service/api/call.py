"""What a handler gets: the request, who asks, and what the service is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import orjson
from aiohttp import web
from oslo_config import cfg

from image_service.context import RequestContext
from image_service.model import Image
from image_service.operations import images
from image_service.operations.service import Service
from image_service.registry.interface import Registry

BACKGROUND = web.AppKey("background", set[asyncio.Task[None]])
"""What an application still has to do after the answers; its process ends when that is done."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way to a handler. ``params``: the variable parts of the path, percent-decoded. ``v1``: by the rules of
    API v1, which are those of the registry, too.
    """

    request: web.Request
    service: Service
    context: RequestContext
    params: dict[str, str]
    v1: bool

    @property
    def conf(self) -> cfg.ConfigOpts:
        """The options of the service."""
        return self.service.conf

    @property
    def registry(self) -> Registry:
        """The registry of the service."""
        return self.service.registry

    async def image(self, *, deleted: bool = False) -> Image:
        """The image in the path, if the asker may know of it (:func:`images.show`)."""
        return await images.show(self.service, self.context, self.params["image_id"], v1=self.v1, deleted=deleted)

    async def image_to_change(self) -> Image:
        """The image in the path, if the asker may change it (:func:`images.to_change`)."""
        return await images.to_change(self.service, self.context, self.params["image_id"], v1=self.v1)


def endpoint(request: web.Request, conf: cfg.ConfigOpts) -> str:
    """The address of this service as the client wrote it, without a slash at the end."""
    if conf.public_endpoint:
        return str(conf.public_endpoint).rstrip("/")
    scheme, host, folder = request.scheme, request.host, ""
    if conf.oslo_middleware.enable_proxy_headers_parsing:
        scheme = request.headers.get("X-Forwarded-Proto", scheme)
        host = request.headers.get("X-Forwarded-Host", host)
        folder = request.headers.get("X-Forwarded-Prefix", "").strip("/")
    # Bytes that are no UTF-8 fit into no answer.
    return f"{scheme}://{host}/{folder}".rstrip("/").encode(errors="replace").decode()


def client_address(request: web.BaseRequest, conf: cfg.ConfigOpts) -> str:
    """Where the request comes from: the peer, or whom the proxy in front names as its own."""
    if conf.oslo_middleware.enable_proxy_headers_parsing:
        with suppress(ValueError):
            return str(ip_address(request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()))
    return request.remote or ""


Handler = Callable[[Call], Awaitable[web.StreamResponse | None]]
"""None is answered with 204: done, and there is nothing to say."""


_SECONDS = orjson.OPT_NAIVE_UTC | orjson.OPT_OMIT_MICROSECONDS | orjson.OPT_UTC_Z


def json_answer(value: Any, status: int = 200, headers: dict[str, str] | None = None, charset: str | None = None) -> web.Response:
    """An answer whose body is JSON; a time becomes whole seconds, UTC: ``2026-11-22T11:59:11Z``."""
    body = orjson.dumps(value, option=_SECONDS)
    return web.Response(body=body, status=status, headers=headers, content_type="application/json", charset=charset)
