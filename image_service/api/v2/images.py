"""``/v2/images`` and ``/v2/images/{id}`` with its actions and tags (contract C.2 to C.5, C.13).

A handler parses, calls one operation, renders.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from oslo_config import cfg

from image_service.api.call import Call, endpoint, json_answer
from image_service.api.receiving import read_json
from image_service.api.v2 import patch as json_patch
from image_service.api.v2 import query, schemas, wire
from image_service.errors import Forbidden, InvalidValue
from image_service.model import Image, Status
from image_service.operations import images, policy, quota


async def index(call: Call) -> web.Response:
    """``GET /v2/images``: a page, with links to the first and, when it is full, the next one."""
    policy.require_reader(call.context)
    asked = query.parse(call)
    page = await images.page(call.service, call.context, asked)
    answer: dict[str, Any] = {
        "images": [wire.image(call, image) for image in page],
        "first": _link(call, None),
        "schema": "/v2/schemas/images",
    }
    if page and len(page) == asked.limit:
        answer["next"] = _link(call, page[-1].id)
    return json_answer(answer)


def _link(call: Call, marker: str | None) -> str:
    kept = [(name, value) for name, value in call.request.query.items() if name != "marker"]
    kept += [("marker", marker)] if marker else []
    return "/v2/images" + (f"?{urlencode(kept)}" if kept else "")


async def show(call: Call) -> web.Response:
    """``GET /v2/images/{id}``."""
    image = await call.image()
    return json_answer(wire.image(call, image))


async def create(call: Call) -> web.Response:
    """``POST /v2/images``."""
    attributes = await read_json(call.request)
    if not isinstance(attributes, dict):
        raise InvalidValue("The body must be a JSON object of attributes.")
    for name in sorted(wire.ADDED & attributes.keys()):  # before the schema, as in Glance; what an image has comes after it
        wire.require_settable(name)
    checked = schemas.check_image(call.conf, attributes)
    for name in checked:
        wire.require_settable(name)
    # Tags are counted before duplicates go, as Glance does: a client that sends 129 has lost count.
    quota.check_count(call.conf, "tags", len(checked.get("tags", ())))
    wanted = wire.with_attributes(Image(id="", owner=call.context.project), checked)
    made = await images.create(call.service, call.context, wanted)
    headers = {"Location": f"{endpoint(call.request, call.conf)}/v2/images/{made.id}"}
    if call.service.stores.named:
        headers["OpenStack-image-store-ids"] = ",".join(store.name for store in call.service.stores.all())
    return json_answer(wire.image(call, made), 201, headers)


async def patch(call: Call) -> web.Response:
    """``PATCH /v2/images/{id}``: all of the operations, or none."""
    kind = json_patch.require_media_type(call.request.headers.get("Content-Type", ""))
    operations = json_patch.parse(kind, await read_json(call.request))
    # openstacksdk takes stores for a property, and removes it with those that it replaces. Ours; Glance refuses.
    operations = [_checked(call.conf, step) for step in operations if (step.op, step.name) != ("remove", "stores")]
    image = await call.image_to_change()
    attributes = {**image.properties, **{name: getattr(image, name) for name in schemas.BASE}}
    for step in operations:
        json_patch.apply(attributes, step, schemas.BASE)
        policy.require_patch(call.context, step.name, step.value)
        if step.name in ("disk_format", "container_format") and image.status not in (Status.QUEUED, Status.IMPORTING):
            raise Forbidden(f"Attribute {step.name} can be only replaced for a queued image.")
    # API v1 gives properties any name; those that have an attribute's are none here, and stay.
    unseen = {name: value for name, value in image.properties.items() if name in schemas.BASE}
    wanted = wire.with_attributes(replace(image, properties=unseen), attributes)
    return json_answer(wire.image(call, await images.change(call.service, call.context, image, wanted)))


def _checked(conf: cfg.ConfigOpts, step: json_patch.Operation) -> json_patch.Operation:
    """A step that may be applied to some image, with its value as it is kept. ``Forbidden``, ``InvalidValue``."""
    if step.name == "locations":
        if step.op != "remove" and not isinstance(step.value, list if step.op == "replace" else dict):
            raise InvalidValue("One of the locations is a JSON object with url and metadata, all are a list of such.")
        raise Forbidden("It's not allowed to change locations if locations are invisible.")
    wire.require_settable(step.name)
    if step.name == "id":
        raise Forbidden("Attribute 'id' is read-only.")
    return step if step.op == "remove" else replace(step, value=schemas.check_image(conf, {step.name: step.value})[step.name])


async def delete(call: Call) -> None:
    """``DELETE /v2/images/{id}``."""
    await images.delete(call.service, await call.image_to_change())


async def deactivate(call: Call) -> None:
    """``POST /v2/images/{id}/actions/deactivate``."""
    await images.set_deactivated(call.service, await call.image_to_change(), True)


async def reactivate(call: Call) -> None:
    """``POST /v2/images/{id}/actions/reactivate``."""
    await images.set_deactivated(call.service, await call.image_to_change(), False)


async def add_tag(call: Call) -> None:
    """``PUT /v2/images/{id}/tags/{tag}``: idempotent."""
    await images.add_tag(call.service, await call.image_to_change(), call.params["tag"])


async def remove_tag(call: Call) -> None:
    """``DELETE /v2/images/{id}/tags/{tag}``: 404 for a tag that is not there."""
    await images.remove_tag(call.service, await call.image_to_change(), call.params["tag"])
