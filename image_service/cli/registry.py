"""``image-registry``: serves the registry API and the calls of image-api, next to the database."""

from __future__ import annotations

from aiohttp import web
from oslo_config import cfg

from image_service.cli.serve import serve
from image_service.registry.opening import open_registry, preload
from image_service.registry.server.app import make_registry_app


async def make_app(conf: cfg.ConfigOpts) -> web.Application:
    """The application of one worker, with database connections of its own."""
    return make_registry_app(conf, await open_registry(conf))


def main() -> None:
    """Serve; never returns."""
    serve("image-registry", "glance-registry", make_app, preload)
