"""The query of the registry's lists (contract A.10, B.3):

as in API v1, and ``deleted`` for an administrator.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from multidict import MultiMapping

from image_service.api.parameters import integer, time
from image_service.api.v1.listing import flag, number, sort
from image_service.context import RequestContext
from image_service.errors import InvalidValue
from image_service.operations import policy
from image_service.registry.interface import ImageQuery, TimeFilter

_TEXTS = ("name", "status", "container_format", "disk_format")
_NUMBERS = ("min_ram", "min_disk")


def parse(given: MultiMapping[str], context: RequestContext, page_size: int, page_limit: int) -> ImageQuery:
    """What a request asks for.

    ``InvalidValue`` for a value that makes no sense; of a repeated key the last counts.
    """
    last = dict(given.items())
    since = _changes_since(last)
    deleted, all_statuses = _deleted(last, context, since)
    limit = number(last, "limit")
    return ImageQuery(
        visible=policy.visible_v1(context, _public(last), given=True),
        equal=_equal(last),
        properties={name.removeprefix("property-"): value for name, value in last.items() if name.startswith("property-")},
        size_min=number(last, "size_min"),
        size_max=number(last, "size_max"),
        times=since,
        deleted=deleted,
        exclude_statuses=() if all_statuses else ("killed",),
        marker=_marker(last),
        limit=min(page_size if limit is None else limit, page_limit),
        sort=sort(last),
    )


def _public(given: Mapping[str, str]) -> bool | None:
    """A glance-api always says what it wants; who does not gets what a plain user sees."""
    return flag(given, "is_public") if "is_public" in given else True


def _equal(given: Mapping[str, str]) -> dict[str, str | int | bool | None]:
    equal: dict[str, str | int | bool | None] = {name: given[name] for name in _TEXTS if name in given}
    # A number that is none is a number that no image has.
    equal |= {name: integer(name, given[name]) if given[name].isdecimal() else -1 for name in _NUMBERS if name in given}
    protected = flag(given, "protected")
    return equal if protected is None else equal | {"protected": protected}


def _deleted(given: Mapping[str, str], context: RequestContext, since: tuple[TimeFilter, ...]) -> tuple[bool | None, bool]:
    """Which of the deleted ones, and whether killed ones are shown."""
    if since:
        return None, True
    if "deleted" in given and context.is_admin:
        return flag(given, "deleted"), True
    return False, False


def _marker(given: Mapping[str, str]) -> str | None:
    marker = given.get("marker")
    if marker is not None:
        try:
            UUID(marker)
        except ValueError:
            raise InvalidValue("Invalid marker format") from None
    return marker


def _changes_since(given: Mapping[str, str]) -> tuple[TimeFilter, ...]:
    text = given.get("changes-since")
    return () if text is None else (TimeFilter("updated_at", "gt", time("changes-since", text)),)
