"""``/v2/images/{id}/members`` (contract C.12)."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from image_service.api.call import Call, json_answer
from image_service.api.receiving import read_json
from image_service.api.v2 import wire
from image_service.errors import InvalidValue
from image_service.operations import members


async def _object(call: Call, name: str) -> Any:
    """The value of ``name`` in the JSON object that the body is."""
    body = await read_json(call.request)
    if not isinstance(body, dict) or name not in body:
        raise InvalidValue(f'The body must be a JSON object with "{name}".')
    return body[name]


async def index(call: Call) -> web.Response:
    """``GET``: all members for the owner, else only the asker itself."""
    found = await members.listing_v2(call.service, call.context, await call.image())
    return json_answer({"members": [wire.member(member) for member in found], "schema": "/v2/schemas/members"})


async def add(call: Call) -> web.Response:
    """``POST {"member": ID}``: 200 with the member, not 201."""
    member_id = await _object(call, "member")
    made = await members.add_v2(call.service, call.context, await call.image(), member_id)
    return json_answer(wire.member(made))


async def show(call: Call) -> web.Response:
    """``GET`` of one."""
    image = await call.image()
    return json_answer(wire.member(await members.show_v2(call.service, call.context, image, call.params["member_id"])))


async def answer(call: Call) -> web.Response:
    """``PUT {"status": accepted}``: what the member says."""
    status = await _object(call, "status")
    image, member_id = await call.image(), call.params["member_id"]
    return json_answer(wire.member(await members.answer_v2(call.service, call.context, image, member_id, status)))


async def remove(call: Call) -> None:
    """``DELETE``."""
    await members.remove_v2(call.service, call.context, await call.image(), call.params["member_id"])
