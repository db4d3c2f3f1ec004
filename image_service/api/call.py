"""What a handler gets: the request, who asks, and what the service is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web
from oslo_config import cfg

from image_service.context import RequestContext
from image_service.operations.service import Service


class ApiSettings:
    """Options that only the HTTP face needs, read once. ``sendfile``: header name and path prefix, if a proxy sends the files."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        header, _, prefix = conf.api.sendfile_header.partition(":")
        self.sendfile = (header, prefix) if header else None
        self.page_size: int = conf.limit_param_default
        self.page_limit: int = conf.api_limit_max
        self.public_endpoint = (conf.public_endpoint or "").rstrip("/")
        self.show_direct_url: bool = conf.show_image_direct_url
        self.proxy_headers: bool = conf.oslo_middleware.enable_proxy_headers_parsing
        self.max_request_id: int = conf.max_request_id_length
        self.apis = [api for api, on in (("v2", conf.enable_v2_api), ("v1", conf.enable_v1_api)) if on]


_NOBODY = RequestContext()


@dataclass(slots=True)
class Call:
    """One request on its way to a handler. ``params``: the variable parts of the path, percent-decoded."""

    request: web.Request
    service: Service
    settings: ApiSettings
    context: RequestContext = _NOBODY
    params: dict[str, str] = field(default_factory=dict)

    @property
    def image_id(self) -> str:
        """The image in the path."""
        return self.params["image_id"]

    def endpoint(self) -> str:
        """The address of this service as the client wrote it, without a slash at the end."""
        if self.settings.public_endpoint:
            return self.settings.public_endpoint
        request = self.request
        scheme, host = request.scheme, request.host
        if self.settings.proxy_headers:
            scheme = request.headers.get("X-Forwarded-Proto", scheme)
            host = request.headers.get("X-Forwarded-Host", host)
        return f"{scheme}://{host}"


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


_SECONDS = orjson.OPT_NAIVE_UTC | orjson.OPT_OMIT_MICROSECONDS | orjson.OPT_UTC_Z


def json_answer(value: Any, status: int = 200, headers: dict[str, str] | None = None, charset: str | None = None) -> web.Response:
    """An answer whose body is JSON; a time becomes whole seconds, UTC: ``2026-11-22T11:59:11Z``."""
    body = orjson.dumps(value, option=_SECONDS)
    return web.Response(body=body, status=status, headers=headers, content_type="application/json", charset=charset)
