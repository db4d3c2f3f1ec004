"""Builds image-api: what happens around a request, and which handler answers it.

request -> request id -> version -> who asks -> route -> handler -> operations
                               errors of any of them -> middleware.errors
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web
from oslo_config import cfg

from image_service.api import health, receiving, v1, v2, versions
from image_service.api.call import ApiSettings, Call, Handler
from image_service.api.middleware import errors
from image_service.api.middleware.authentication import make_authenticator
from image_service.api.middleware.request_id import put_request_id, request_id_of
from image_service.api.routing import split
from image_service.context import RequestContext
from image_service.errors import ImageServiceError
from image_service.model import Status
from image_service.operations.service import Service
from image_service.operations.sweep import scrub, sweep_dead_uploads
from image_service.registry.interface import Registry
from image_service.store.stores import Stores

LOG = logging.getLogger(__name__)

Authenticate = Callable[[web.BaseRequest], Awaitable[RequestContext]]

_HEALTH = {"healthcheck": health.healthcheck, "readiness": health.readiness}


class ImageApi:
    """One application: dispatches a request and turns what goes wrong into an answer."""

    def __init__(self, service: Service, settings: ApiSettings, authenticate: Authenticate) -> None:
        self._service = service
        self._settings = settings
        self._authenticate = authenticate
        self._routes = {"v1": v1.routes(), "v2": v2.routes()}

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        return await errors.guarded(request, self._answer(request))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        request["request_id"] = request_id_of(request, self._settings.max_request_id)
        meant = versions.negotiate(self._settings, split(request.raw_path), request.headers.get("Accept", ""))
        if meant.api == "versions":
            return await self._outside(request, meant.parts)
        if not meant.parts:
            return web.Response(status=302, headers={"Location": f"{self._call(request).endpoint()}/{meant.api}/"})
        call = self._call(request)
        call.context = request["context"] = await self._authenticate(request)
        handler, call.params = self._routes[meant.api].find(request.method, meant.parts)
        if meant.api == "v2" and handler not in v2.READ_BODY:
            await receiving.require_no_body(request)
        return await handler(call)

    async def _outside(self, request: web.Request, parts: list[str]) -> web.StreamResponse:
        handler: Handler = _HEALTH.get(parts[0], versions.show) if len(parts) == 1 else versions.show
        return await handler(self._call(request))

    def _call(self, request: web.Request) -> Call:
        return Call(request, self._service, self._settings, RequestContext(), {})


def make_api_app(conf: cfg.ConfigOpts, registry: Registry, stores: Stores) -> web.Application:
    """The application of one worker process. It owns ``registry`` and ``stores`` and closes them when it ends."""
    service = Service(conf, registry, stores)
    api = ImageApi(service, ApiSettings.from_config(conf), make_authenticator(conf))
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{path:.*}", api, expect_handler=receiving.expect)
    app.on_response_prepare.append(put_request_id)
    app.cleanup_ctx.append(_lifetime(service))
    return app


def _lifetime(service: Service) -> Callable[[web.Application], AsyncIterator[None]]:
    async def lifetime(_app: web.Application) -> AsyncIterator[None]:
        sweeper = asyncio.create_task(_sweep(service), name="sweep")
        yield
        sweeper.cancel()
        await service.drain()
        await service.registry.close()
        await service.stores.close()

    return lifetime


async def _sweep(service: Service) -> None:
    """Clean up after uploads and deletes that died, at the start and then as often as one can have died."""
    while True:
        try:
            await sweep_dead_uploads(service.registry, service.stores, service.upload_lease)
            await scrub(service.registry, service.stores, Status.DELETED, service.upload_lease)
        except ImageServiceError as error:
            LOG.warning("the sweep of dead uploads will be tried again: %s", error.message)
        except Exception:
            LOG.exception("the sweep of dead uploads failed and will be tried again")
        await asyncio.sleep(service.upload_lease / 3)
