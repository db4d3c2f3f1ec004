"""What image-api and image-registry do around every request.

request -> request id -> health -> the face's own answer          errors of any of them -> middleware.errors
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from aiohttp import web

from image_service.api import health, receiving
from image_service.api.call import Call, Handler
from image_service.api.middleware import errors
from image_service.api.middleware.authentication import make_authenticator
from image_service.api.middleware.request_id import put_request_id, request_id_of
from image_service.api.routing import Routes, decoded, split
from image_service.operations.service import Service


class Face(ABC):
    """One HTTP face of the service. ``checks``: what ``/readiness`` looks at, by name."""

    def __init__(self, service: Service, checks: Mapping[str, health.Check]) -> None:
        self.service, self.conf, self._checks = service, service.conf, checks
        self._authenticate = make_authenticator(self.conf)

    def application(self) -> web.Application:
        """The face as the application of a worker process."""
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{path:(?s:.*)}", self._handle, expect_handler=receiving.expect)
        app.on_response_prepare.append(put_request_id)
        app.on_response_prepare.append(receiving.close_if_refused)
        return app

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        return await errors.guarded(request, self._answer(request))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        parts = split(request.raw_path)
        request["request_id"] = request_id_of(request, self.longest_id(parts))
        place = "/".join(parts).removesuffix("/")
        if place == "healthcheck":
            return await health.healthcheck(request)
        if place == "readiness":
            return await health.readiness(request, self._checks)
        answer = await self.answer(request, parts)
        return web.Response(status=204) if answer is None else answer

    @abstractmethod
    def longest_id(self, parts: list[str]) -> int | None:
        """How long a client's request id may be; None: any length."""

    @abstractmethod
    async def answer(self, request: web.Request, parts: list[str]) -> web.StreamResponse | None:
        """Answer a request to the address of ``parts`` (:func:`routing.split`); None as a :data:`Handler`."""

    async def find(self, request: web.Request, routes: Routes, parts: list[str]) -> tuple[Handler, Call]:
        """Who asks, and which handler answers: what it is to be called with."""
        context = request["context"] = await self._authenticate(request)
        handler, params = routes.find(request.method, parts)
        decoded(request.rel_url.raw_query_string)  # else such bytes would be searched as they are written
        return handler, Call(request, self.service, context, params, routes.v1)
