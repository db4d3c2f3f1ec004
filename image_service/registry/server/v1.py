"""The registry API v1 (contract part B): what an old glance-api asks, and tools of its time.

Handlers parse, ask ``operations.policy`` whether they may, call the registry, render. Protection, formats,
quotas and the life cycle are the business of image-api, which asks; here a caller may write nearly anything
into an image that is his.
"""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from image_service.api.receiving import parse_json
from image_service.context import RequestContext
from image_service.errors import Conflict, Forbidden, NotFound, WrongStatus
from image_service.model import Image, Member, Visibility
from image_service.operations import policy
from image_service.registry.interface import Registry
from image_service.registry.server import images_json as form
from image_service.registry.server.query import parse


def _context(request: web.Request) -> RequestContext:
    context: RequestContext = request["context"]
    return context


def _json(value: object) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json", charset="UTF-8")


def _nothing() -> web.Response:
    return web.Response(status=204)


async def _body(request: web.Request) -> Any:
    return parse_json(await request.read())


class RegistryV1:
    """The handlers.

    ``page_size``: images in a list when a request does not say; ``page_limit``: at most so many.
    """

    def __init__(self, registry: Registry, *, page_size: int, page_limit: int) -> None:
        self._registry = registry
        self._page_size = page_size
        self._page_limit = page_limit

    # -- images --

    async def index(self, request: web.Request) -> web.Response:
        """``GET /images``: six keys each."""
        return _json({"images": [form.brief(image) for image in await self._list(request)]})

    async def detail(self, request: web.Request) -> web.Response:
        """``GET /images/detail``: twenty keys each."""
        return _json({"images": [form.full(image) for image in await self._list(request)]})

    async def _list(self, request: web.Request) -> list[Image]:
        return await self._registry.list_images(parse(request.query, _context(request), self._page_size, self._page_limit))

    async def show(self, request: web.Request) -> web.Response:
        """``GET /images/{id}``; an administrator sees deleted ones, too."""
        return _json({"image": form.full(await self._visible(request, deleted=_context(request).is_admin))})

    async def create(self, request: web.Request) -> web.Response:
        """``POST /images``: 200, not 201."""
        values = form.read(await _body(request))
        context = _context(request)
        policy.require_writer(context)
        if not context.is_admin or "owner" not in values.columns:
            values.columns["owner"] = context.project
        return _json({"image": form.full(await self._registry.create_image(form.new_image(values)))})

    async def update(self, request: web.Request) -> web.Response:
        """``PUT /images/{id}``: what is named changes; ``from_state`` makes it a compare-and-set."""
        body = await _body(request)
        values = form.read(body)
        if values.id not in (None, request.match_info["image_id"]):
            raise NotFound("Image not found")
        # The scrubber of an old Glance moves the status of images that it has deleted.
        deleted = _context(request).is_admin
        image = await self._mine(request, deleted=deleted)
        change = form.change(values, image, purge=request.headers.get("X-Glance-Registry-Purge-Props") == "true")
        try:
            state = form.from_state(body)
            changed = await self._registry.update_image(image.id, change, from_status=state, include_deleted=deleted)
        except WrongStatus:
            raise Conflict("Image operation conflicts") from None
        return _json({"image": form.full(changed)})

    async def delete(self, request: web.Request) -> web.Response:
        """``DELETE /images/{id}``: the row stays, with its status; an administrator may do it again."""
        image = await self._mine(request, deleted=_context(request).is_admin)
        return _json({"image": form.full(await self._registry.delete_image(image.id))})

    async def _visible(self, request: web.Request, *, deleted: bool = False) -> Image:
        image = await self._registry.get_image(request.match_info["image_id"], include_deleted=deleted)
        await policy.require_visible(_context(request), image, self._registry.get_member, v1=True)
        return image

    async def _mine(self, request: web.Request, *, deleted: bool = False) -> Image:
        """An image that the asker may change: another's public one is 403, any other 404."""
        image = await self._visible(request, deleted=deleted)
        try:
            policy.require_change(_context(request), image)
        except Forbidden:
            if image.visibility is Visibility.PUBLIC:
                raise
            raise NotFound("Image not found") from None
        return image

    # -- members --

    async def members(self, request: web.Request) -> web.Response:
        """``GET /images/{id}/members``: all for the owner and an administrator, else only one's own."""
        image, context = await self._visible(request), _context(request)
        everybody = context.is_admin or policy.owns(context, image)
        members = await self._registry.list_members(image.id)
        shown = [member for member in members if everybody or member.member_id == context.project]
        return _json({"members": [{"member_id": m.member_id, "can_share": m.can_share} for m in shown]})

    async def replace_members(self, request: web.Request) -> web.Response:
        """``PUT /images/{id}/members``: these are the only ones."""
        image = await self._shareable(request)
        wanted = form.memberships(await _body(request))
        old = {member.member_id: member for member in await self._registry.list_members(image.id)}
        members = []
        for member_id, can_share in wanted.items():
            member = old.get(member_id) or Member(image.id, member_id)
            member.can_share = member.can_share if can_share is None else can_share
            members.append(member)
        await self._registry.replace_members(image.id, members)
        return _nothing()

    async def put_member(self, request: web.Request) -> web.Response:
        """``PUT /images/{id}/members/{m}``; without a body ``can_share`` stays, or is false."""
        image = await self._shareable(request)
        can_share = form.can_share(await _body(request)) if await request.read() else None
        member_id = request.match_info["member_id"]
        member = await self._registry.get_member(image.id, member_id)
        if member is None:
            await self._registry.create_member(Member(image.id, member_id, bool(can_share)))
        elif can_share is not None:
            member.can_share = can_share
            await self._registry.update_member(member)
        return _nothing()

    async def delete_member(self, request: web.Request) -> web.Response:
        """``DELETE /images/{id}/members/{m}``; a member may leave by itself."""
        member_id = request.match_info["member_id"]
        own = member_id == _context(request).project
        image = await (self._visible(request) if own else self._shareable(request))
        await self._registry.delete_member(image.id, member_id)
        return _nothing()

    async def _shareable(self, request: web.Request) -> Image:
        image = await self._visible(request)
        await policy.require_sharing_v1(_context(request), image, self._registry.get_member)
        return image

    async def shared_images(self, request: web.Request) -> web.Response:
        """``GET /shared-images/{m}``; of another project only what the asker may see."""
        context, member_id = _context(request), request.match_info["member_id"]
        memberships = await self._registry.list_shared(member_id)
        if not context.is_admin and context.project != member_id:
            memberships = [m for m in memberships if await self._sees(context, m.image_id)]
        return _json({"shared_images": [{"image_id": m.image_id, "can_share": m.can_share} for m in memberships]})

    async def _sees(self, context: RequestContext, image_id: str) -> bool:
        try:
            image = await self._registry.get_image(image_id)
            await policy.require_visible(context, image, self._registry.get_member, v1=True)
        except NotFound:
            return False
        return True
