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


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Options that only the HTTP face needs. ``sendfile``: header name and path prefix, when a proxy sends the files."""

    page_size: int
    page_limit: int
    public_endpoint: str | None
    show_direct_url: bool
    proxy_headers: bool
    max_request_id: int
    sendfile: tuple[str, str] | None
    apis: tuple[str, ...]

    @classmethod
    def from_config(cls, conf: cfg.ConfigOpts) -> ApiSettings:
        """Read the options once."""
        header, _, prefix = conf.api.sendfile_header.partition(":")
        return cls(
            page_size=conf.limit_param_default,
            page_limit=conf.api_limit_max,
            public_endpoint=conf.public_endpoint.rstrip("/") if conf.public_endpoint else None,
            show_direct_url=conf.show_image_direct_url,
            proxy_headers=conf.oslo_middleware.enable_proxy_headers_parsing,
            max_request_id=conf.max_request_id_length,
            sendfile=(header, prefix) if header else None,
            apis=tuple(api for api, on in (("v2", conf.enable_v2_api), ("v1", conf.enable_v1_api)) if on),
        )


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


def json_answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """An answer whose body is JSON."""
    return web.Response(body=orjson.dumps(value), status=status, headers=headers, content_type="application/json")
