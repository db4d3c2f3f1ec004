"""``/v2/info/...``: what this service can do (contract C.14)."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from image_service.api.call import Call, json_answer
from image_service.api.receiving import require_no_body
from image_service.errors import Forbidden, NotFound
from image_service.store.interface import Store


async def import_methods(call: Call) -> web.Response:
    """``GET /v2/info/import``: none are built."""
    await require_no_body(call.request)
    methods = {"description": "Import methods available.", "type": "array", "value": []}
    return json_answer({"import-methods": methods})


async def stores(call: Call) -> web.Response:
    """``GET /v2/info/stores``; 404 where stores have no names."""
    await require_no_body(call.request)
    _require_names(call)
    return json_answer({"stores": [_store(call, store) for store in call.service.stores.all()]})


async def stores_detail(call: Call) -> web.Response:
    """``GET /v2/info/stores/detail``: for administrators and services."""
    await require_no_body(call.request)
    if not call.context.is_admin and "service" not in call.context.roles:
        raise Forbidden("Only an administrator or a service may see the details of stores.")
    _require_names(call)
    return json_answer({"stores": [_details(call, store) for store in call.service.stores.all()]})


async def usage(call: Call) -> web.Response:
    """``GET /v2/info/usage``: empty without Keystone's limits."""
    await require_no_body(call.request)
    return json_answer({"usage": {}})


def _require_names(call: Call) -> None:
    if not call.service.stores.named:
        raise NotFound("Multi backend is not supported at this site: its stores have no names (enabled_backends).")


def _store(call: Call, store: Store) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": store.name}
    if store.description:
        shown["description"] = store.description
    if store is call.service.stores.default:
        shown["default"] = "true"
    if store.read_only:
        shown["read-only"] = "true"
    return shown


def _details(call: Call, store: Store) -> dict[str, Any]:
    return {**_store(call, store), "type": store.kind, "weight": store.weight, "properties": store.details()}
