"""``POST /internal/{call}``: the methods of the registry for ``RemoteRegistry``, behind a shared secret.

The caller is another part of this service, which has checked who may do what; so there is no identity here, and no rule.
"""

from __future__ import annotations

import hmac
import logging

from aiohttp import web
from aiohttp.typedefs import Handler

from image_service.api.receiving import read_all
from image_service.errors import ImageServiceError, NotAuthenticated, NotFound
from image_service.registry import wire
from image_service.registry.interface import Registry

LOG = logging.getLogger(__name__)

# A call with an image of 128 properties of 64 KiB, escaped, still fits.
LARGEST = 64 << 20


def internal_calls(registry: Registry, secret: str | None) -> Handler:
    """The handler of the calls. Without a secret it refuses all of them; the body is read only for who has it.

    An error of the domain goes back as its code and sentence.
    """

    async def run(request: web.Request) -> object:
        given = request.headers.get(wire.SECRET_HEADER, "").encode(errors="surrogateescape")
        if secret is None or not hmac.compare_digest(given, secret.encode()):
            LOG.warning("a call from %s without the right secret was refused", request.remote)
            raise NotAuthenticated("These calls are for image-api; the secret is missing or wrong.")
        name = request.match_info["call"]
        if name not in wire.CALLS:
            raise NotFound(f"There is no call {name}.")
        return await getattr(registry, name)(**wire.CALLS[name].arguments(await read_all(request, LARGEST)))

    async def answer(request: web.Request) -> web.Response:
        try:
            body, status = wire.encode({"result": await run(request)}), 200
        except ImageServiceError as error:
            body, status = wire.encode_error(error), error.status
        return web.Response(body=body, status=status, content_type="application/json")

    return answer
