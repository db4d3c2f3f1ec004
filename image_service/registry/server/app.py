"""Builds image-registry: the registry API v1 at unversioned paths (contract part B), the calls of image-api, and health.

What happens around a request: ``api.face``.
"""

from __future__ import annotations

import logging

from aiohttp import web
from oslo_config import cfg

from image_service.api.face import Face
from image_service.errors import MethodNotAllowed, NotFound
from image_service.operations.service import Service
from image_service.registry.interface import Registry
from image_service.registry.secret import read_secret
from image_service.registry.server import internal, v1
from image_service.store.stores import Stores

LOG = logging.getLogger(__name__)

_LONGEST_REQUEST_ID = 64


class ImageRegistry(Face):
    """The registry API v1, and the calls of image-api for who has the secret."""

    def __init__(self, service: Service) -> None:
        super().__init__(service, {"database": service.registry.check})
        self._secret: str | None = None
        try:
            self._secret = read_secret(self.conf.registry_link.secret_file)
        except cfg.Error as error:
            LOG.warning("image-api with data_api = registry is refused: %s", error)

    def longest_id(self, parts: list[str]) -> int | None:
        """See :meth:`Face.longest_id`. image-api has measured the ids of its clients, and put req- in front."""
        return None if parts[0] == "internal" else _LONGEST_REQUEST_ID

    async def answer(self, request: web.Request, parts: list[str]) -> web.StreamResponse | None:
        """See :meth:`Face.answer`."""
        if parts[0] == "internal":
            return await internal.answer(request, parts[1:], self.service.registry, self._secret)
        try:
            handler, call = await self.find(request, v1.ROUTES, parts)
        except MethodNotAllowed:  # Glance answers so, but for the two addresses where a handler says it.
            raise NotFound("The resource could not be found.") from None
        return await handler(call)


def make_registry_app(conf: cfg.ConfigOpts, registry: Registry) -> web.Application:
    """The application of one worker process. It owns ``registry`` and closes it when it ends."""
    app = ImageRegistry(Service(conf, registry, Stores())).application()
    app.on_cleanup.append(lambda _app: registry.aclose())
    return app
