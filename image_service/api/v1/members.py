"""Members of an image, and images shared with a member (contract A.11)."""

from __future__ import annotations

from typing import Any, Never

from aiohttp import web

from image_service.api.call import Call, json_answer
from image_service.api.receiving import read_json
from image_service.errors import InvalidValue, MethodNotAllowed
from image_service.operations import members


async def index(call: Call) -> web.Response:
    """``GET .../members``."""
    found = await members.listing(call.service, call.context, await call.image())
    shown = [{"member_id": member.member_id, "can_share": member.can_share} for member in found]
    return json_answer({"members": shown}, charset="UTF-8")


async def replace(call: Call) -> None:
    """``PUT .../members``: these, and no others."""
    wanted = memberships(await read_json(call.request))
    await members.replace_v1(call.service, call.context, await call.image(), wanted)


def memberships(document: Any) -> dict[str, bool | None]:
    """``{"memberships": [{"member_id": "m", "can_share": true}]}`` -> m: True; a missing ``can_share`` is None."""
    listed = document.get("memberships") if isinstance(document, dict) else None
    if not isinstance(listed, list) or not all(isinstance(item, dict) and "member_id" in item for item in listed):
        raise InvalidValue('The body must be {"memberships": [{"member_id": "ID", "can_share": false}]}.')
    return {members.check_member_id(item["member_id"]): _truth(item) for item in listed}


def _truth(item: dict[str, Any]) -> bool | None:
    return bool(item["can_share"]) if item.get("can_share") is not None else None


async def put(call: Call) -> None:
    """``PUT .../members/{id}``: add one or change it; the body is optional."""
    document = await read_json(call.request, instead={})
    member = document.get("member", {}) if isinstance(document, dict) else None
    if not isinstance(member, dict):
        raise InvalidValue('The body must be {"member": {"can_share": true}}, or nothing.')
    image = await call.image()
    await members.put_v1(call.service, call.context, image, call.params["member_id"], _truth(member))


async def remove(call: Call) -> None:
    """``DELETE .../members/{id}``."""
    await members.remove_v1(call.service, call.context, await call.image(), call.params["member_id"])


async def no_get(_call: Call) -> Never:
    """One member cannot be read: 405, without ``Allow`` as Glance has it."""
    raise MethodNotAllowed("One member cannot be read alone: read the list of members.")


async def shared(call: Call) -> web.Response:
    """``/v1/shared-images/{member}``, whatever the method."""
    found = await members.shared_with(call.service, call.context, call.params["member_id"])
    shown = [{"image_id": member.image_id, "can_share": member.can_share} for member in found]
    return json_answer({"shared_images": shown}, charset="UTF-8")
