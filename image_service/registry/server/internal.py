"""``POST /internal/{call}``: the methods of the registry for ``RemoteRegistry``, behind a shared secret.

The caller is another part of this service, which has checked who may do what; so there is no identity here, and no rule.
"""

from __future__ import annotations

import hmac
import logging

from aiohttp import web

from image_service.api.receiving import read_all
from image_service.errors import ImageServiceError, NotAuthenticated, RegistryUnavailable
from image_service.registry import wire
from image_service.registry.interface import Registry

LOG = logging.getLogger(__name__)

# A call with an image of 128 properties of 64 KiB, escaped, still fits.
LARGEST_BODY = 64 << 20


async def answer(request: web.Request, parts: list[str], registry: Registry, secret: str | None) -> web.Response:
    """Do the call that ``parts`` name. An error of the domain goes back as its code and sentence."""
    try:
        body, status = wire.encode({"result": await _run(request, "/".join(parts), registry, secret)}), 200
    except ImageServiceError as error:
        body, status = wire.encode_error(error), error.status
    return web.Response(body=body, status=status, content_type="application/json")


async def _run(request: web.Request, name: str, registry: Registry, secret: str | None) -> object:
    """Without a secret all calls are refused; the body is read only for who has it."""
    given = request.headers.get(wire.SECRET_HEADER, "").encode(errors="surrogateescape")
    if secret is None or not hmac.compare_digest(given, secret.encode()):
        LOG.warning("a call from %s without the right secret was refused", request.remote)
        raise NotAuthenticated("These calls are for image-api; the secret is missing or wrong.")
    if request.method != "POST" or name not in wire.CALLS:
        raise RegistryUnavailable(f"image-api and image-registry must be of one release: there is no call {name}.")
    return await getattr(registry, name)(**wire.CALLS[name].arguments(await read_all(request, LARGEST_BODY)))
