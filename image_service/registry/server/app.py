"""Builds image-registry: the registry API v1 at unversioned paths (contract part B), the calls of image-api, and health.

request -> request id -> who asks -> route -> handler -> registry          errors of any of them -> api.middleware.errors
"""

from __future__ import annotations

import logging
from functools import partial

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from oslo_config import cfg

from image_service.api import health
from image_service.api.middleware import errors
from image_service.api.middleware.authentication import Authenticator, make_authenticator
from image_service.api.middleware.request_id import put_request_id, request_id_of
from image_service.errors import NotFound
from image_service.registry.interface import Registry
from image_service.registry.secret import read_secret
from image_service.registry.server.internal import internal_calls
from image_service.registry.server.v1 import RegistryV1

LOG = logging.getLogger(__name__)

_LONGEST_REQUEST_ID = 64


def make_registry_app(conf: cfg.ConfigOpts, registry: Registry) -> web.Application:
    """The application of one worker process. It owns ``registry`` and closes it when it ends."""
    app = web.Application(middlewares=[_around(make_authenticator(conf))])
    v1 = RegistryV1(registry, conf)
    app.add_routes(
        [
            web.get("/", v1.index, allow_head=False),
            web.get("/images", v1.index, allow_head=False),
            web.get("/images/detail", v1.detail, allow_head=False),
            web.post("/images", v1.create),
            web.get("/images/{image_id}", v1.show, allow_head=False),
            web.put("/images/{image_id}", v1.update),
            web.delete("/images/{image_id}", v1.delete),
            web.get("/images/{image_id}/members", v1.members, allow_head=False),
            web.put("/images/{image_id}/members", v1.replace_members),
            web.put("/images/{image_id}/members/{member_id}", v1.put_member),
            web.delete("/images/{image_id}/members/{member_id}", v1.delete_member),
            # Glance answers 404 to a method that an address does not have, but here.
            web.post("/images/{image_id}/members", v1.refuse_method),
            web.get("/images/{image_id}/members/{member_id}", v1.refuse_method, allow_head=False),
            web.post("/images/{image_id}/members/{member_id}", v1.refuse_method),
            web.get("/shared-images/{member_id}", v1.shared_images, allow_head=False),
            web.post("/internal/{call}", internal_calls(registry, _secret(conf))),
            web.route("*", "/healthcheck", health.healthcheck),
            web.route("*", "/readiness", partial(health.readiness, checks={"database": registry.check})),
        ]
    )
    app.on_response_prepare.append(put_request_id)
    app.on_cleanup.append(lambda _app: registry.aclose())
    return app


def _secret(conf: cfg.ConfigOpts) -> str | None:
    """The secret of image-api's calls; who has none still gets the registry API."""
    try:
        return read_secret(conf.registry_link.secret_file)
    except cfg.Error as error:
        LOG.warning("image-api with data_api = registry is refused: %s", error)
        return None


def _around(authenticate: Authenticator) -> Middleware:
    """What happens around each request."""

    async def answered(request: web.Request, handler: Handler) -> web.StreamResponse:
        # image-api has measured its clients' ids, by an option of its own, and put req- in front.
        longest = None if request.path.startswith("/internal/") else _LONGEST_REQUEST_ID
        request["request_id"] = request_id_of(request, longest)
        if not request.path.startswith(("/internal/", "/healthcheck", "/readiness")):
            request["context"] = await authenticate(request)
        try:
            return await handler(request)
        except web.HTTPException:
            raise NotFound("The resource could not be found.") from None  # Also for a method that an address does not have.

    @web.middleware
    async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await errors.guarded(request, answered(request, handler))

    return around
