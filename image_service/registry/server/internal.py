"""``POST /internal/{call}``: the methods of the registry for ``RemoteRegistry``, behind a shared secret.

The caller is another part of this service, which has checked who may do what; so there is no identity here,
and no rule.
"""

from __future__ import annotations

import hmac
import logging

from aiohttp import web

from image_service.errors import ImageServiceError, NotAuthenticated, NotFound
from image_service.registry import wire
from image_service.registry.interface import Registry

LOG = logging.getLogger(__name__)


class InternalCalls:
    """Answers calls. Without a secret it refuses all of them."""

    def __init__(self, registry: Registry, secret: str | None) -> None:
        self._registry = registry
        self._secret = secret.encode() if secret else None

    async def answer(self, request: web.Request) -> web.Response:
        """Run one call; an error of the domain goes back as its code and sentence. The body is read only for
        who has the secret.
        """
        try:
            self._authenticate(request)
            result = await self._run(request.match_info["call"], await request.read())
        except ImageServiceError as error:
            return _json(wire.encode_error(error), error.status)
        return _json(wire.encode({"result": result}), 200)

    def _authenticate(self, request: web.Request) -> None:
        given = request.headers.get(wire.SECRET_HEADER, "").encode(errors="surrogateescape")
        if self._secret is None or not hmac.compare_digest(given, self._secret):
            LOG.warning("a call from %s without the right secret was refused", request.remote)
            raise NotAuthenticated("These calls are for image-api; the secret is missing or wrong.")

    async def _run(self, name: str, body: bytes) -> object:
        call = wire.CALLS.get(name)
        if call is None:
            raise NotFound(f"There is no call {name}.")
        result: object = await getattr(self._registry, name)(**call.arguments(body))
        return result


def _json(body: bytes, status: int) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")
