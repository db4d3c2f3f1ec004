"""``/v2/schemas/...``: the JSON schemas (contract C.19; schemas.json), and the check of what clients send against them.

glanceclient builds its objects from these documents: a property that is missing here, or has ``is_base: false``, is a custom
one to it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

import fastjsonschema
import orjson
from aiohttp import web
from oslo_config import cfg

from image_service.api.call import Call, json_answer
from image_service.errors import InvalidValue, NotFound
from image_service.model import MAX_INTEGER, MAX_NAME

Schema = dict[str, Any]

_TEXT = files(__package__).joinpath("schemas.json").read_bytes()
_ATTRIBUTES: dict[str, Schema] = orjson.loads(_TEXT)["image"]["properties"]
_NOT_LISTED = ("input", "result", "message")
"""What a list of tasks leaves out of each."""

READ_ONLY = frozenset(name for name, schema in _ATTRIBUTES.items() if schema.get("readOnly"))
BASE = frozenset(name for name, schema in _ATTRIBUTES.items() if schema.get("is_base", True)) - READ_ONLY - {"locations"}
"""Attributes that a client sets and that are no custom properties."""


@cache
def documents(disk_formats: tuple[str, ...], container_formats: tuple[str, ...]) -> dict[str, Schema]:
    """The schemas by their names; the formats are options."""
    known: dict[str, Schema] = orjson.loads(_TEXT)
    attributes, task = known["image"]["properties"], known["task"]["properties"]
    attributes["disk_format"]["enum"] += disk_formats
    attributes["container_format"]["enum"] += container_formats
    listed_task = {"name": "task", "properties": {name: task[name] for name in task if name not in _NOT_LISTED}}
    for name, item in (("images", known["image"]), ("members", known["member"]), ("tasks", listed_task)):
        known[name]["properties"][name]["items"] = item
    return known


@cache
def _image_check(disk_formats: tuple[str, ...], container_formats: tuple[str, ...]) -> Callable[[Any], dict[str, Any]]:
    """The check against the image's schema with the limits that the published one leaves out."""
    count = {"type": "integer", "minimum": 0, "maximum": MAX_INTEGER}
    image = documents(disk_formats, container_formats)["image"]
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {**image["properties"], "min_disk": count, "min_ram": count},
        "additionalProperties": {"type": "string", "maxLength": 65535},
        "propertyNames": {"pattern": r"^\s*\S", "maxLength": MAX_NAME},
    }
    check: Callable[[Any], dict[str, Any]] = fastjsonschema.compile(schema, detailed_exceptions=False)
    return check


def _formats(conf: cfg.ConfigOpts) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return tuple(conf.image_format.disk_formats), tuple(conf.image_format.container_formats)


def check_image(conf: cfg.ConfigOpts, attributes: Any) -> dict[str, Any]:
    """``attributes`` as a client sends them; ``InvalidValue`` with what is wrong. Whole floats become integers."""
    try:
        checked = _image_check(*_formats(conf))(attributes)
    except fastjsonschema.JsonSchemaValueException as error:
        sentence = error.message.removeprefix("data.")
        if "propertyName" in sentence:
            sentence = f"the name of a property must have 1 to {MAX_NAME} characters, not blanks alone"
        raise InvalidValue(f"Provided object does not match schema 'image': {sentence}.") from None
    return checked | {name: int(checked[name]) for name in ("min_disk", "min_ram") if name in checked}


async def show(call: Call) -> web.Response:
    """``GET /v2/schemas/NAME``."""
    known, name = documents(*_formats(call.conf)), call.params["name"]
    if name not in known:
        raise NotFound(f"There is no schema {name!r}: there are {', '.join(known)}.")
    return json_answer(known[name])
