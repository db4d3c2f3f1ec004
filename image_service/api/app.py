"""Builds image-api: which API, and which of its handlers, answers a request. What happens around it: ``api.face``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime

from aiohttp import web
from oslo_config import cfg

from image_service.api import receiving, v1, v2, versions
from image_service.api.call import BACKGROUND, client_address, endpoint
from image_service.api.face import Face
from image_service.model import Status
from image_service.operations.service import Service
from image_service.operations.sweep import let_renew, scrub, sweep_dead_uploads
from image_service.registry.interface import Registry
from image_service.store.stores import Stores

LOG = logging.getLogger(__name__)

_ROUTES = {"v1": v1.ROUTES, "v2": v2.ROUTES}


class ImageApi(Face):
    """Images API v1 and v2."""

    def __init__(self, service: Service) -> None:
        stores = {f"store:{store.name}": store.check for store in service.stores.all()}
        super().__init__(service, {"registry": service.registry.check} | stores)
        self._apis = [api for api, on in (("v2", self.conf.enable_v2_api), ("v1", self.conf.enable_v1_api)) if on]

    def longest_id(self, parts: list[str]) -> int | None:
        """See :meth:`Face.longest_id`."""
        return int(self.conf.max_request_id_length)

    async def answer(self, request: web.Request, parts: list[str]) -> web.StreamResponse | None:
        """See :meth:`Face.answer`."""
        request["client"] = client_address(request, self.conf)
        api, parts = versions.negotiate(self._apis, parts, request.headers.get("Accept", ""))
        if api is None:
            return await versions.show(request, self._apis, parts, endpoint(request, self.conf))
        if not parts:
            return web.Response(status=302, headers={"Location": f"{endpoint(request, self.conf)}/{api}/"})
        handler, call = await self.find(request, _ROUTES[api], parts)
        if api == "v2" and handler not in v2.READ_BODY:
            await receiving.require_no_body(request)
        return await handler(call)


def make_api_app(conf: cfg.ConfigOpts, registry: Registry, stores: Stores) -> web.Application:
    """The application of one worker process. It owns ``registry`` and ``stores`` and closes them when it ends."""
    service = Service(conf, registry, stores)

    async def lifetime(_app: web.Application) -> AsyncIterator[None]:
        async with aclosing(stores), aclosing(registry):
            sweeper = asyncio.create_task(_sweep(service), name="sweep")
            yield
            sweeper.cancel()
            await asyncio.gather(*service.background, return_exceptions=True)

    app = ImageApi(service).application()
    app.cleanup_ctx.append(lifetime)
    app[BACKGROUND] = service.background
    return app


async def _sweep(service: Service) -> None:
    """Clean up after uploads and deletes that died, at the start and then again and again."""
    while True:
        try:
            until = await let_renew(service.registry, service.conf.upload_lease)
            await service.spawn(_sweep_once(service, until), "the sweep of dead uploads and deletes")
        except Exception as error:  # noqa: BLE001 - nobody would begin again
            LOG.warning("the sweep is put off: %s", error)
        await asyncio.sleep(service.conf.upload_lease / 3)


async def _sweep_once(service: Service, until: datetime) -> None:
    await sweep_dead_uploads(service.registry, service.stores, service.conf.upload_lease, until=until)
    await scrub(service.registry, service.stores, Status.DELETED, service.conf.upload_lease)
