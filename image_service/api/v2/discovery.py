"""``/v2/info/...``: what this service can do (contract C.14); and ``/v2/tenants``, which it cannot."""

from __future__ import annotations

from typing import Any, Never

from aiohttp import web

from image_service.api.call import Call, json_answer
from image_service.errors import Forbidden, NotFound
from image_service.operations import policy
from image_service.store.interface import Store


async def import_methods(_call: Call) -> web.Response:
    """``GET /v2/info/import``: none are built."""
    return json_answer({"import-methods": {"description": "Import methods available.", "type": "array", "value": []}})


async def stores(call: Call) -> web.Response:
    """``GET /v2/info/stores``; 404 where stores have no names."""
    return json_answer({"stores": [_store(call, store) for store in named_stores(call)]})


async def stores_detail(call: Call) -> web.Response:
    """``GET /v2/info/stores/detail``: for administrators and services."""
    policy.require_store_details(call.context)
    shown = [
        _store(call, store) | {"type": store.kind, "weight": store.weight, "properties": store.details()}
        for store in named_stores(call)
    ]
    return json_answer({"stores": shown})


async def usage(_call: Call) -> web.Response:
    """``GET /v2/info/usage``: empty without Keystone's limits."""
    return json_answer({"usage": {}})


async def refuse_tenants(_call: Call) -> Never:
    """``GET /v2/tenants``: always ``Forbidden``. ``openstack image add project`` asks it where there is no identity service.

    Without Keystone python-openstackclient takes the address of the images for that of the identities too, and looks a project up
    by ``GET /v2/tenants/NAME`` and then in ``GET /v2/tenants``. A 404 for the list ends the command; a 403 makes it take the
    project as given (``openstackclient.identity.common._find_sdk_id``), which is right: here projects are named by their ids.
    Glance says 404.
    """
    raise Forbidden("This service keeps no list of projects: a project is named by its id.")


def named_stores(call: Call) -> list[Store]:
    """All stores; ``NotFound`` where they have no names."""
    if not call.service.stores.named:
        raise NotFound("Multi backend is not supported at this site: its stores have no names (enabled_backends).")
    return call.service.stores.all()


def _store(call: Call, store: Store) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": store.name}
    if store.description:
        shown["description"] = store.description
    if store is call.service.stores.default:
        shown["default"] = "true"
    if store.read_only:
        shown["read-only"] = "true"
    return shown
