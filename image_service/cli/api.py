"""``image-api``: serves the Images API."""

from __future__ import annotations

from aiohttp import web
from oslo_config import cfg

from image_service.api.app import make_api_app
from image_service.cli.serve import serve
from image_service.registry.opening import open_registry, preload
from image_service.store.stores import Stores


async def make_app(conf: cfg.ConfigOpts) -> web.Application:
    """The application of one worker, with a registry and stores of its own."""
    stores = Stores.from_config(conf)
    for store in stores.all():
        store.prepare()
    return make_api_app(conf, await open_registry(conf), stores)


def main() -> None:
    """Serve; never returns."""
    serve("image-api", "glance-api", make_app, preload)
