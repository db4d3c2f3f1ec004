"""JSON-patch documents of ``PATCH /v2/images/{id}``, in both media types (contract C.5, RFC 6902, RFC 6901)."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from image_service.errors import Conflict, Forbidden, InvalidValue, UnsupportedMediaType

V20 = "application/openstack-images-v2.0-json-patch"
V21 = "application/openstack-images-v2.1-json-patch"
OPERATIONS = ("add", "remove", "replace")


@dataclass(frozen=True, slots=True)
class Operation:
    """One step. ``overwrite``: add may replace what is there (v2.1), else that is a conflict (v2.0)."""

    op: str
    name: str
    value: Any
    overwrite: bool


def require_media_type(content_type: str) -> str:
    """The media type, in lower case; ``UnsupportedMediaType`` (415 with ``Accept-Patch``) for another."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in (V20, V21):
        raise UnsupportedMediaType(
            f"PATCH takes {V21} or {V20}, not {media_type or 'a body without Content-Type'}.", {"Accept-Patch": f"{V20}, {V21}"}
        )
    return media_type


def parse(media_type: str, document: Any) -> list[Operation]:
    """The steps of a document of :data:`V20` or :data:`V21`. ``InvalidValue`` unless it is a list of well-formed operations."""
    if not isinstance(document, list):
        raise InvalidValue("Request body must be a JSON array of operation objects.")
    return [_operation(step, media_type == V21) for step in document]


def _operation(step: Any, v21: bool) -> Operation:
    if not isinstance(step, dict):
        raise InvalidValue("Operations must be JSON objects.")
    op, path = (step.get("op"), step.get("path")) if v21 else _old_form(step)
    if op not in OPERATIONS:
        raise InvalidValue(f"Invalid operation: `{op}`. It must be one of the following: {', '.join(OPERATIONS)}.")
    if not isinstance(path, str):
        raise InvalidValue('An operation needs a "path", which is text.')
    if op != "remove" and "value" not in step:
        raise InvalidValue(f'Operation "{op}" requires a member named "value".')
    return Operation(op, _name(op, path), step.get("value"), v21)


def _old_form(step: dict[str, Any]) -> tuple[Any, Any]:
    """``{"replace": "/name", "value": "x"}``."""
    found = [name for name in OPERATIONS if name in step]
    if len(found) != 1:
        raise InvalidValue("Operation objects must contain exactly one operation, which is add, remove or replace.")
    return found[0], step[found[0]]


def _name(op: str, pointer: str) -> str:
    """The attribute behind a JSON pointer of one step; one of the locations, which has two, is added or removed."""
    if not pointer.startswith("/"):
        raise InvalidValue(f'Pointer `{pointer}` does not start with "/".')
    if re.search(r"~(?![01])", pointer):
        raise InvalidValue(f"Pointer `{pointer}` contains a `~` that is not part of a recognized escape sequence.")
    if "//" in pointer or (pointer != "/" and pointer.endswith("/")) or not pointer[1:].strip():
        raise InvalidValue(f"Pointer `{pointer}` names nothing.")
    first, *rest = pointer[1:].split("/")
    if len(rest) != (first == "locations" and op != "replace"):
        raise InvalidValue(f"Invalid JSON pointer for this resource: '{pointer}'. It has one step, such as /name.")
    return first.replace("~1", "/").replace("~0", "~")


def apply(attributes: dict[str, Any], step: Operation, base: Collection[str]) -> None:
    """Apply one step.

    ``Conflict`` when the attribute is there (add, v2.0) or is not (replace, remove); ``Forbidden`` for a base one.
    """
    if step.op == "remove" and step.name in base:
        raise Forbidden(f"Property {step.name} may not be removed.")
    if step.op == "add" and step.name in attributes and not step.overwrite:
        raise Conflict(f"Property {step.name} already present.")
    if step.op != "add" and step.name not in attributes:
        raise Conflict(f"Property {step.name} does not exist.")
    if step.op == "remove":
        del attributes[step.name]
    else:
        attributes[step.name] = step.value
