"""Builds image-api: what happens around a request, and which handler answers it.

request -> request id -> version -> who asks -> route -> handler -> operations
                               errors of any of them -> middleware.errors
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from aiohttp import web
from oslo_config import cfg

from image_service.api import health, receiving, v1, v2, versions
from image_service.api.call import BACKGROUND, Call, endpoint
from image_service.api.middleware import errors
from image_service.api.middleware.authentication import make_authenticator
from image_service.api.middleware.request_id import put_request_id, request_id_of
from image_service.api.routing import split
from image_service.model import Status
from image_service.operations.service import Service
from image_service.operations.sweep import scrub, sweep_dead_uploads
from image_service.registry.interface import Registry
from image_service.store.stores import Stores

_ROUTES = {"v1": v1.ROUTES, "v2": v2.ROUTES}


class ImageApi:
    """One application: dispatches a request and turns what goes wrong into an answer."""

    def __init__(self, conf: cfg.ConfigOpts, service: Service) -> None:
        self._conf = conf
        self._service = service
        self._authenticate = make_authenticator(conf)
        self._apis = [api for api, on in (("v2", conf.enable_v2_api), ("v1", conf.enable_v1_api)) if on]

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        return await errors.guarded(request, self._answer(request))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        request["request_id"] = request_id_of(request, self._conf.max_request_id_length)
        api, parts = versions.negotiate(self._apis, split(request.raw_path), request.headers.get("Accept", ""))
        if api is None:
            return await self._outside(request, parts)
        if not parts:
            return web.Response(status=302, headers={"Location": f"{endpoint(request, self._conf)}/{api}/"})
        context = request["context"] = await self._authenticate(request)
        handler, params = _ROUTES[api].find(request.method, parts)
        if api == "v2" and handler not in v2.READ_BODY:
            await receiving.require_no_body(request)
        answer = await handler(Call(request, self._service, self._conf, context, params))
        return web.Response(status=204) if answer is None else answer

    async def _outside(self, request: web.Request, parts: list[str]) -> web.StreamResponse:
        if parts == ["healthcheck"]:
            return await health.healthcheck(request)
        if parts == ["readiness"]:
            stores = {f"store:{store.name}": store.check for store in self._service.stores.all()}
            return await health.readiness(request, {"registry": self._service.registry.check} | stores)
        return await versions.show(request, self._apis, endpoint(request, self._conf))


def make_api_app(conf: cfg.ConfigOpts, registry: Registry, stores: Stores) -> web.Application:
    """The application of one worker process. It owns ``registry`` and ``stores`` and closes them when it ends."""
    service = Service(conf, registry, stores)

    async def lifetime(_app: web.Application) -> AsyncIterator[None]:
        async with aclosing(stores), aclosing(registry):
            sweeper = asyncio.create_task(_sweep(service), name="sweep")
            yield
            sweeper.cancel()
            await service.drain()

    api = ImageApi(conf, service)
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{path:.*}", api, expect_handler=receiving.expect)
    app.on_response_prepare.append(put_request_id)
    app.cleanup_ctx.append(lifetime)
    app[BACKGROUND] = service.background
    return app


async def _sweep(service: Service) -> None:
    """Clean up after uploads and deletes that died, at the start and then as often as one can have died."""
    while True:
        await service.spawn(_sweep_once(service), "the sweep of dead uploads and deletes")
        await asyncio.sleep(service.upload_lease / 3)


async def _sweep_once(service: Service) -> None:
    await sweep_dead_uploads(service.registry, service.stores, service.upload_lease)
    await scrub(service.registry, service.stores, Status.DELETED, service.upload_lease)
