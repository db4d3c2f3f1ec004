"""The query of the registry's lists (contract A.10, B.3): as in API v1, and ``deleted`` for an administrator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from image_service.api.v1 import listing
from image_service.context import RequestContext
from image_service.operations import policy
from image_service.registry.interface import ImageQuery


def parse(given: Mapping[str, str], context: RequestContext, page_size: int, page_limit: int) -> ImageQuery:
    """What a request asks for. ``InvalidValue`` for a value that makes no sense."""
    # A number that is none is a number that no image has.
    nobodys = {name: -1 for name in ("min_ram", "min_disk") if not given.get(name, "0").isdecimal()}
    known = {name: value for name, value in given.items() if name not in nobodys}
    asked = listing.parse(known, context, page_size, page_limit)
    # A glance-api always says what it wants; who does not gets what a plain user sees.
    public = listing.flag(given, "is_public") if "is_public" in given else True
    asked = replace(asked, visible=policy.visible_v1(context, public, given=True), equal={**asked.equal, **nobodys})
    if asked.times:
        return asked
    if "deleted" in given and context.is_admin:
        return replace(asked, deleted=listing.flag(given, "deleted"), exclude_statuses=())
    return replace(asked, exclude_statuses=("killed",))
