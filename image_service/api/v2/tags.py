"""``/v2/images/{id}/tags/{tag}`` (contract C.13)."""

from __future__ import annotations

from aiohttp import web

from image_service.api.call import Call
from image_service.api.receiving import require_no_body
from image_service.operations import images


async def add(call: Call) -> web.Response:
    """``PUT``: idempotent."""
    await require_no_body(call.request)
    image = await images.to_change(call.service, call.context, call.image_id)
    await images.add_tag(call.service, image, call.params["tag"])
    return web.Response(status=204)


async def remove(call: Call) -> web.Response:
    """``DELETE``: 404 for a tag that is not there."""
    await require_no_body(call.request)
    image = await images.to_change(call.service, call.context, call.image_id)
    await images.remove_tag(call.service, image, call.params["tag"])
    return web.Response(status=204)
