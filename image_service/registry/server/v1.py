"""The registry API v1 (contract part B): what an old glance-api asks, and tools of its time.

Handlers parse, ask ``operations.policy`` whether they may, call the registry, render. Protection, formats, quotas and the life
cycle are the business of image-api, which asks; here a caller may write nearly anything into an image that is his.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Never

import orjson
from aiohttp import web
from oslo_config import cfg

from image_service.api.receiving import parse_json, read_all
from image_service.api.v1 import listing
from image_service.api.v1.members import memberships
from image_service.context import RequestContext
from image_service.errors import Conflict, MethodNotAllowed, NotFound, WrongStatus
from image_service.model import Image, Status, Visibility, new_id
from image_service.operations import members, policy
from image_service.registry.interface import ImageQuery, Registry
from image_service.registry.server import images_json as form
from image_service.registry.server.internal import LARGEST


def _json(value: object) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json", charset="UTF-8")


async def _body(request: web.Request) -> Any:
    return parse_json(await read_all(request, LARGEST))


class RegistryV1:
    """The handlers."""

    def __init__(self, registry: Registry, conf: cfg.ConfigOpts) -> None:
        self._registry = registry
        self._conf = conf

    # -- images --

    async def index(self, request: web.Request) -> web.Response:
        """``GET /images``: six keys each."""
        return _json({"images": [form.brief(image) for image in await self._list(request)]})

    async def detail(self, request: web.Request) -> web.Response:
        """``GET /images/detail``: twenty keys each."""
        return _json({"images": [form.full(image) for image in await self._list(request)]})

    async def _list(self, request: web.Request) -> list[Image]:
        given = dict(request.query.items())  # of a repeated name the last counts
        return await listing.page(self._registry, request["context"], parse(given, request["context"], self._conf))

    async def show(self, request: web.Request) -> web.Response:
        """``GET /images/{id}``; an administrator sees deleted ones, too."""
        return _json({"image": form.full(await self._visible(request, deleted=request["context"].is_admin))})

    async def create(self, request: web.Request) -> web.Response:
        """``POST /images``: 200, not 201. ``active`` unless it says otherwise."""
        image_id, said = form.read(await _body(request))
        context = request["context"]
        policy.require_writer(context)
        policy.require_own_files(context, image_id, [location.url for location in said.locations or ()])
        if not context.is_admin or "owner" not in said.values:
            said.values["owner"] = context.project
        fields: dict[str, Any] = {"status": Status.ACTIVE, **said.values}
        image = Image(image_id or new_id(), properties=said.set_properties, locations=said.locations or [], **fields)
        return _json({"image": form.full(await self._registry.create_image(image))})

    async def update(self, request: web.Request) -> web.Response:
        """``PUT /images/{id}``: what is named changes; ``from_state`` makes it a compare-and-set."""
        body = await _body(request)
        image_id, change = form.read(body)
        if image_id not in (None, request.match_info["image_id"]):
            raise NotFound("Image not found")
        # The scrubber of an old Glance moves the status of images that it has deleted.
        deleted = request["context"].is_admin
        image = await self._mine(request, deleted=deleted)
        change.purge_properties = request.headers.get("X-Glance-Registry-Purge-Props") == "true"
        policy.require_own_files(request["context"], image.id, [location.url for location in change.locations or ()])
        if not request["context"].is_admin:
            change.values.pop("owner", None)
        if change.values.get("visibility") is Visibility.SHARED and image.visibility is not Visibility.PUBLIC:
            del change.values["visibility"]  # Not public takes back public, and says nothing to the others.
        try:
            state = form.from_state(body)
            changed = await self._registry.update_image(image.id, change, from_status=state, include_deleted=deleted)
        except WrongStatus:
            raise Conflict("Image operation conflicts") from None
        return _json({"image": form.full(changed)})

    async def delete(self, request: web.Request) -> web.Response:
        """``DELETE /images/{id}``: the row stays, with its status; an administrator may do it again."""
        image = await self._mine(request, deleted=request["context"].is_admin)
        return _json({"image": form.full(await self._registry.delete_image(image.id))})

    async def _visible(self, request: web.Request, *, deleted: bool = False) -> Image:
        image = await self._registry.get_image(request.match_info["image_id"], include_deleted=deleted)
        await policy.require_visible(request["context"], image, self._registry, v1=True)
        return image

    async def _mine(self, request: web.Request, *, deleted: bool = False) -> Image:
        """An image that the asker may change: of another, a public one is 403 and any other 404."""
        image = await self._visible(request, deleted=deleted)
        policy.require_change(request["context"], image, v1=True)
        return image

    # -- members --

    async def members(self, request: web.Request) -> web.Response:
        """``GET /images/{id}/members``: all for the owner and an administrator, else only one's own."""
        found = await members.listing(self._registry, request["context"], await self._visible(request))
        return _json({"members": [{"member_id": m.member_id, "can_share": m.can_share} for m in found]})

    async def replace_members(self, request: web.Request) -> web.Response:
        """``PUT /images/{id}/members``: these are the only ones."""
        image = await self._visible(request)
        await members.replace_v1(self._registry, request["context"], image, memberships(await _body(request)))
        return web.Response(status=204)

    async def put_member(self, request: web.Request) -> web.Response:
        """``PUT /images/{id}/members/{m}``; without a body ``can_share`` stays, or is false."""
        image = await self._visible(request)
        body = await read_all(request, LARGEST)
        can_share = form.can_share(parse_json(body)) if body else None
        await members.put_v1(self._registry, request["context"], image, request.match_info["member_id"], can_share)
        return web.Response(status=204)

    async def delete_member(self, request: web.Request) -> web.Response:
        """``DELETE /images/{id}/members/{m}``; a member may leave by itself."""
        await members.remove_v1(self._registry, request["context"], await self._visible(request), request.match_info["member_id"])
        return web.Response(status=204)

    async def refuse_method(self, request: web.Request) -> Never:
        """Neither PUT nor DELETE."""
        raise MethodNotAllowed(f"{request.method} is not possible here.", {"Allow": "PUT, DELETE"})

    async def shared_images(self, request: web.Request) -> web.Response:
        """``GET /shared-images/{m}``; of another project only what the asker may see."""
        found = await members.shared_with(self._registry, request["context"], request.match_info["member_id"])
        return _json({"shared_images": [{"image_id": m.image_id, "can_share": m.can_share} for m in found]})


def parse(given: Mapping[str, str], context: RequestContext, conf: cfg.ConfigOpts) -> ImageQuery:
    """The query of a list (contract A.10, B.3): as in API v1, and ``deleted`` for an administrator. ``InvalidValue``."""
    # A glance-api always says what it wants; who does not gets what a plain user sees.
    asked = listing.parse({"is_public": "true", **listing.with_nobodys(given, "min_ram")}, context, conf)
    if asked.times:
        return asked
    if "deleted" in given and context.is_admin:
        return replace(asked, deleted=listing.flag(given, "deleted"), exclude_statuses=())
    return replace(asked, exclude_statuses=("killed",))
