"""``image-api``: serves the Images API."""

from __future__ import annotations

from aiohttp import web
from oslo_config import cfg

from image_service.api.app import make_api_app
from image_service.api.v2.schemas import check_image
from image_service.cli.serve import serve
from image_service.registry import opening
from image_service.store.stores import Stores


async def make_app(conf: cfg.ConfigOpts) -> web.Application:
    """The application of one worker, with a registry and stores of its own."""
    stores = Stores.from_config(conf)
    for store in stores.all():
        store.prepare()
    return make_api_app(conf, await opening.open_registry(conf), stores)


def preload(conf: cfg.ConfigOpts) -> None:
    """Make what all workers need and share."""
    opening.preload(conf)
    check_image(conf, {})  # compiles the schema


def main() -> None:
    """Serve; never returns."""
    serve("image-api", "glance-api", make_app, preload)
