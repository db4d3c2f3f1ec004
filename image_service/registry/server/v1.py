"""The registry API v1 (contract part B): what an old glance-api asks, and tools of its time.

Handlers parse, ask ``operations.policy`` whether they may, call the registry, render. Protection, formats, quotas and the life
cycle are the business of image-api, which asks; here a caller may write nearly anything into an image that is his. Members are
as in API v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Never

from aiohttp import web
from oslo_config import cfg

from image_service.api.call import Call, json_answer
from image_service.api.receiving import read_json
from image_service.api.routing import Routes
from image_service.api.v1 import listing, members
from image_service.api.v1.headers import is_true
from image_service.context import RequestContext
from image_service.errors import Conflict, MethodNotAllowed, NotFound, WrongStatus
from image_service.model import Image, Status, Visibility, new_id
from image_service.operations import members as sharing
from image_service.operations import policy
from image_service.registry.interface import ImageQuery
from image_service.registry.server import images_json as form
from image_service.registry.server.internal import LARGEST_BODY

# What lists show only to those who ask for deleted images, or for changes.
_HIDDEN = ("killed",)

# -- images --


async def show(call: Call) -> web.Response:
    """``GET /images/{id}``; an administrator sees deleted ones, too."""
    return _answer(await _visible(call))


async def create(call: Call) -> web.Response:
    """``POST /images``: 200, not 201. ``active`` unless it says otherwise."""
    image_id, said = form.read(await read_json(call.request, LARGEST_BODY))
    policy.require_writer(call.context)
    policy.require_own_files(call.context, image_id, [location.url for location in said.locations or ()])
    policy.ignore_owner(call.context, said.values)
    fields: dict[str, Any] = {"status": Status.ACTIVE, "owner": call.context.project, **said.values}
    image = Image(image_id or new_id(), properties=said.set_properties, locations=said.locations or [], **fields)
    return _answer(await call.registry.create_image(image))


async def update(call: Call) -> web.Response:
    """``PUT /images/{id}``: what is named changes; ``from_state`` makes it a compare-and-set."""
    body = await read_json(call.request, LARGEST_BODY)
    image_id, change = form.read(body)
    if image_id not in (None, call.params["image_id"]):
        raise NotFound("Image not found")
    image = await _mine(call)
    change.purge_properties = call.request.headers.get("X-Glance-Registry-Purge-Props") == "true"
    policy.require_own_files(call.context, image.id, [location.url for location in change.locations or ()])
    policy.ignore_owner(call.context, change.values)
    if change.values.get("visibility") is Visibility.SHARED and image.visibility is not Visibility.PUBLIC:
        del change.values["visibility"]  # Not public takes back public, and says nothing to the others.
    try:
        # The scrubber of an old Glance moves the status of images that it has deleted.
        state, deleted = form.from_state(body), call.context.is_admin
        return _answer(await call.registry.update_image(image.id, change, from_status=state, include_deleted=deleted))
    except WrongStatus:
        raise Conflict("Image operation conflicts") from None


async def delete(call: Call) -> web.Response:
    """``DELETE /images/{id}``: the row stays, with its status; an administrator may do it again."""
    image = await _mine(call)
    return _answer(await call.registry.delete_image(image.id))


def _answer(image: Image) -> web.Response:
    return json_answer({"image": form.full(image)}, charset="UTF-8")


async def _visible(call: Call) -> Image:
    """Unlike API v1: also an image whose status is deleted and whose row is not yet, for its owner is about to delete that. An
    administrator sees deleted ones, too.
    """
    image = await call.registry.get_image(call.params["image_id"], include_deleted=call.context.is_admin)
    await policy.require_visible(call.context, image, call.registry, v1=True)
    return image


async def _mine(call: Call) -> Image:
    """An image that the asker may change: of another, a public one is 403 and any other 404."""
    image = await _visible(call)
    policy.require_change(call.context, image, v1=True)
    return image


def parse(given: Mapping[str, str], context: RequestContext, conf: cfg.ConfigOpts) -> ImageQuery:
    """The query of a list (contract A.10, B.3): as in API v1, and ``deleted`` for an administrator. ``InvalidValue``."""
    # A glance-api always says what it wants; who does not gets what a plain user sees.
    asked = listing.parse({"is_public": "true", **listing.with_nobodys(given, "min_ram")}, context, conf)
    if "deleted" in given and context.is_admin:
        deleted = is_true(given["deleted"])
        return replace(asked, deleted=deleted, exclude_statuses=() if deleted else _HIDDEN)
    return asked if asked.times else replace(asked, exclude_statuses=_HIDDEN)


index, detail = listing.lister(parse, form.brief), listing.lister(parse, form.full)
"""``GET /images``: six keys each; ``GET /images/detail``: twenty."""


# -- members --


async def put_member(call: Call) -> None:
    """``PUT /images/{id}/members/{m}``; without a body ``can_share`` stays, or is false."""
    document = await read_json(call.request, LARGEST_BODY, instead=None)
    can_share = None if document is None else form.can_share(document)
    await sharing.put_v1(call.service, call.context, await call.image(), call.params["member_id"], can_share)


async def refuse_method(call: Call) -> Never:
    """Neither PUT nor DELETE."""
    raise MethodNotAllowed(f"{call.request.method} is not possible here.", {"Allow": "PUT, DELETE"})


ROUTES = Routes(v1=True)
"""Every address, without a version (contract B.1)."""

ROUTES.add("", GET=index)
ROUTES.add("images", GET=index, POST=create)
ROUTES.add("images/detail", GET=detail)
ROUTES.add("images/{image_id}", GET=show, PUT=update, DELETE=delete)
ROUTES.add("images/{image_id}/members", GET=members.index, PUT=members.replace, POST=refuse_method)
ROUTES.add("images/{image_id}/members/{member_id}", PUT=put_member, DELETE=members.remove, GET=refuse_method, POST=refuse_method)
ROUTES.add("shared-images/{member_id}", GET=members.shared)
