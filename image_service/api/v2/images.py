"""``/v2/images`` and ``/v2/images/{id}``: parse, call one operation, render (contract C.2 to C.5, C.13)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from image_service.api.call import Call, json_answer
from image_service.api.receiving import read_json, require_no_body
from image_service.api.v2 import patch, query, wire
from image_service.api.v2.patch import Operation
from image_service.api.v2.schemas import Documents
from image_service.errors import InvalidValue, NotFound
from image_service.model import Image, Status
from image_service.operations import images, policy


async def index(call: Call) -> web.Response:
    """``GET /v2/images``: a page, with links to the first and, when it is full, the next one."""
    policy.require_reader(call.context)
    asked = query.parse(call)
    await _require_marker(call, asked.marker)
    page = await images.listing(call.service, asked)
    answer: dict[str, Any] = {
        "images": [wire.image(call, image) for image in page],
        "first": _link(call, None),
        "schema": "/v2/schemas/images",
    }
    if page and len(page) == asked.limit:
        answer["next"] = _link(call, page[-1].id)
    return json_answer(answer)


async def _require_marker(call: Call, marker: str | None) -> None:
    """``InvalidValue`` for a marker that the asker may not know of: to him it is not there."""
    if marker is None or call.context.is_admin:
        return
    try:
        await images.show(call.service, call.context, marker)
    except NotFound as error:
        raise InvalidValue(error.message) from None


def _link(call: Call, marker: str | None) -> str:
    kept = [(name, value) for name, value in call.request.query.items() if name != "marker"]
    if marker is not None:
        kept.append(("marker", marker))
    return "/v2/images" + (f"?{urlencode(kept)}" if kept else "")


async def show(call: Call) -> web.Response:
    """``GET /v2/images/{id}``."""
    await require_no_body(call.request)
    image = await images.show(call.service, call.context, call.image_id)
    return json_answer(wire.image(call, image))


async def delete(call: Call) -> web.Response:
    """``DELETE /v2/images/{id}``."""
    await require_no_body(call.request)
    await images.delete(call.service, await images.to_change(call.service, call.context, call.image_id))
    return web.Response(status=204)


async def deactivate(call: Call) -> web.Response:
    """``POST /v2/images/{id}/actions/deactivate``."""
    return await _set_deactivated(call, True)


async def reactivate(call: Call) -> web.Response:
    """``POST /v2/images/{id}/actions/reactivate``."""
    return await _set_deactivated(call, False)


async def _set_deactivated(call: Call, deactivated: bool) -> web.Response:
    await require_no_body(call.request)
    image = await images.to_change(call.service, call.context, call.image_id)
    await images.set_deactivated(call.service, image, deactivated)
    return web.Response(status=204)


class Images:
    """The handlers that check what they get against the schema."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def create(self, call: Call) -> web.Response:
        """``POST /v2/images``."""
        attributes = await read_json(call.request)
        if not isinstance(attributes, dict):
            raise InvalidValue("The body must be a JSON object of attributes.")
        for name in attributes:
            wire.require_settable(name)
        checked = self._documents.check_image(attributes)
        # Tags are counted before duplicates go, as Glance does: a client that sends 129 has lost count.
        call.service.limits.check_count("tags", len(checked.get("tags", ())))
        wanted = wire.with_attributes(Image(id="", owner=call.context.project), checked)
        policy.require_owner(call.context, wanted.owner)
        made = await images.create(call.service, call.context, wanted)
        headers = {"Location": f"{call.endpoint()}/v2/images/{made.id}"}
        if call.service.stores.named:
            headers["OpenStack-image-store-ids"] = ",".join(store.name for store in call.service.stores.all())
        return json_answer(wire.image(call, made), 201, headers)

    async def patch(self, call: Call) -> web.Response:
        """``PATCH /v2/images/{id}``: all of the operations, or none."""
        media_type = patch.require_media_type(call.request.headers.get("Content-Type", ""))
        operations = patch.parse(media_type, await read_json(call.request))
        image = await images.to_change(call.service, call.context, call.image_id)
        attributes = _settable(image)
        for operation in operations:
            self._apply(image, attributes, operation)
        touched = {name: attributes[name] for name in {step.name for step in operations} if name in attributes}
        attributes |= self._documents.check_image(touched)
        wanted = wire.with_attributes(replace(image, properties={}), attributes)
        return json_answer(wire.image(call, await images.change(call.service, call.context, image, wanted)))

    def _apply(self, image: Image, attributes: dict[str, Any], operation: Operation) -> None:
        if (operation.op, operation.name) == ("remove", "stores"):
            # openstacksdk takes it for a property, and removes it with those that it replaces. Ours; Glance refuses.
            return
        wire.require_settable(operation.name)
        patch.apply(attributes, operation, wire.BASE)
        if operation.name in ("disk_format", "container_format") and image.status not in (Status.QUEUED, Status.IMPORTING):
            patch.refuse_format(operation.name)
        if operation.name == "id":
            patch.refuse_read_only("id")


def _settable(image: Image) -> dict[str, Any]:
    """The image as the attributes that a PATCH works on."""
    return {**image.properties, **{name: getattr(image, name) for name in wire.BASE}}
