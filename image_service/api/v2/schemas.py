"""``/v2/schemas/...``: the JSON schemas (contract C.19), and the check of what clients send against them.

glanceclient builds its objects from these documents: a property that is missing here, or has ``is_base: false``, is a custom
one to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import fastjsonschema
from aiohttp import web

from image_service.api.call import Call, json_answer
from image_service.api.receiving import require_no_body
from image_service.errors import InvalidValue, NotFound
from image_service.model import MemberStatus, Status, Visibility
from image_service.operations.images import MAX_INTEGER, MAX_NAME

UUID_PATTERN = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"

Schema = dict[str, Any]


def _text(description: str, **more: object) -> Schema:
    return {"type": "string", "description": description, **more}


def _text_or_null(description: str, **more: object) -> Schema:
    return {"type": ["null", "string"], "description": description, **more}


def _read_only(schema: Schema) -> Schema:
    return {**schema, "readOnly": True}


def _base(disk_formats: Sequence[str], container_formats: Sequence[str]) -> dict[str, Schema]:
    return {
        "id": _text("The image's id, a UUID", pattern=UUID_PATTERN),
        "name": _text_or_null("A name for people", maxLength=MAX_NAME),
        "status": _read_only(_text("Where the image is in its life", enum=[status.value for status in _STATUSES])),
        "visibility": _text("Who sees the image", enum=sorted(choice.value for choice in Visibility)),
        "protected": {"type": "boolean", "description": "A protected image cannot be deleted"},
        "os_hidden": {"type": "boolean", "description": "A hidden image is in no list unless asked for"},
        "checksum": _read_only(_text_or_null("MD5 of the data, in hex", maxLength=32)),
        "os_hash_algo": _read_only(_text_or_null("The algorithm of os_hash_value", maxLength=64)),
        "os_hash_value": _read_only(_text_or_null("Hash of the data, in hex", maxLength=128)),
        "owner": _text_or_null("The project that owns the image", maxLength=255),
        "size": _read_only({"type": ["null", "integer"], "description": "Size of the data in bytes"}),
        "virtual_size": _read_only(
            {"type": ["null", "integer"], "description": "Size of the disk that the data describe, in bytes"}
        ),
        "container_format": _text_or_null("Format of the container", enum=[None, *container_formats]),
        "disk_format": _text_or_null("Format of the disk", enum=[None, *disk_formats]),
        "created_at": _read_only(_text("When the image was registered")),
        "updated_at": _read_only(_text("When the image was last changed")),
        "tags": {"type": "array", "description": "Words put on the image", "items": {"type": "string", "maxLength": MAX_NAME}},
        "direct_url": _read_only(_text("Where the data are in the store")),
        "min_ram": {"type": "integer", "description": "MB of memory needed to boot the image"},
        "min_disk": {"type": "integer", "description": "GB of disk needed to boot the image"},
        "self": _read_only(_text("Address of the image")),
        "file": _read_only(_text("Address of the image's data")),
        "stores": _read_only(_text("Names of the stores that have the data, with commas between")),
        "schema": _read_only(_text("Address of this schema")),
        "locations": {
            "type": "array",
            "description": "Where the data are in the stores",
            "items": {
                "type": "object",
                "required": ["url", "metadata"],
                "properties": {
                    "url": {"type": "string", "maxLength": 255},
                    "metadata": {"type": "object"},
                    "validation_data": _VALIDATION_DATA,
                },
            },
        },
    }


_STATUSES = (
    Status.QUEUED, Status.SAVING, Status.ACTIVE, Status.KILLED, Status.DELETED, Status.UPLOADING, Status.IMPORTING,
    Status.PENDING_DELETE, Status.DEACTIVATED,
)  # fmt: skip
_VALIDATION_DATA: Schema = {
    "type": "object",
    "description": "Hashes that the data at a new location are known to have",
    "writeOnly": True,
    "additionalProperties": False,
    "required": ["os_hash_algo", "os_hash_value"],
    "properties": {
        "checksum": {"type": "string", "minLength": 32, "maxLength": 32},
        "os_hash_algo": {"type": "string", "maxLength": 64},
        "os_hash_value": {"type": "string", "maxLength": 128},
    },
}
_CUSTOM: dict[str, Schema] = {
    "kernel_id": _text_or_null("The image that is the kernel", pattern=UUID_PATTERN),
    "ramdisk_id": _text_or_null("The image that is the ramdisk", pattern=UUID_PATTERN),
    "instance_uuid": _text("The instance that the image was made of"),
    "architecture": _text("Processor architecture"),
    "os_distro": _text("Distribution of the operating system"),
    "os_version": _text("Version of the operating system"),
    "description": _text("What the image is, in words"),
    "cinder_encryption_key_id": _text("Key of an encrypted volume"),
    "cinder_encryption_key_deletion_policy": _text("What becomes of that key", enum=["on_image_deletion", "do_not_delete"]),
}
_MEMBER: Schema = {
    "name": "member",
    "properties": {
        "member_id": _text("The project that the image is shared with"),
        "image_id": _text("The image's id, a UUID", pattern=UUID_PATTERN),
        "created_at": _text("When the image was shared"),
        "updated_at": _text("When the member was last changed"),
        "status": _text("What the project says to it", enum=[choice.value for choice in MemberStatus]),
        "schema": {"type": "string", "readOnly": True},
    },
}
_TASK_PROPERTIES: dict[str, Schema] = {
    "id": _text("The task's id, a UUID", pattern=UUID_PATTERN),
    "type": _text("What the task does", enum=["import", "api_image_import", "location_import"]),
    "status": _text("Where the task is in its life", enum=["pending", "processing", "success", "failure"]),
    "input": {"type": ["null", "object"], "description": "What the task was asked to do"},
    "result": {"type": ["null", "object"], "description": "What came out"},
    "owner": _text("The project that owns the task"),
    "message": _text("What went wrong, in words"),
    "image_id": _text("The image that the task works on"),
    "request_id": _text("The request that began the task"),
    "user_id": _text("The user who began the task"),
    "expires_at": _text_or_null("When the task is forgotten"),
    "created_at": _text("When the task began"),
    "updated_at": _text("When the task last changed"),
    "self": {"type": "string", "readOnly": True},
    "schema": {"type": "string", "readOnly": True},
}
_IMAGE_LINKS = [
    {"rel": "self", "href": "{self}"},
    {"rel": "enclosure", "href": "{file}"},
    {"rel": "describedby", "href": "{schema}"},
]
_DESCRIBED = {"rel": "describedby", "href": "{schema}"}


def _collection(name: str, item: Schema, paged: bool) -> Schema:
    properties: Schema = {name: {"type": "array", "items": item}, "schema": {"type": "string"}}
    links = [_DESCRIBED]
    if paged:
        properties |= {"first": {"type": "string"}, "next": {"type": "string"}}
        links = [{"rel": "first", "href": "{first}"}, {"rel": "next", "href": "{next}"}, _DESCRIBED]
    return {"name": name, "properties": properties, "links": links}


class Documents:
    """The schemas of one service (its formats are options), and the check of images against them."""

    def __init__(self, disk_formats: Sequence[str], container_formats: Sequence[str]) -> None:
        base = _base(disk_formats, container_formats)
        custom = {name: {**schema, "is_base": False} for name, schema in _CUSTOM.items()}
        image: Schema = {
            "name": "image",
            "properties": {**base, **custom},
            "additionalProperties": {"type": "string"},
            "links": _IMAGE_LINKS,
        }
        task: Schema = {"name": "task", "properties": _TASK_PROPERTIES}
        stub = {name: schema for name, schema in _TASK_PROPERTIES.items() if name not in ("input", "result", "message")}
        self._documents = {
            "image": image,
            "images": _collection("images", image, paged=True),
            "member": _MEMBER,
            "members": _collection("members", _MEMBER, paged=False),
            "task": task,
            "tasks": _collection("tasks", {"name": "task", "properties": stub}, paged=False),
        }
        self._check: Callable[[Any], Any] = fastjsonschema.compile(_checkable(image), detailed_exceptions=False)

    def check_image(self, attributes: Any) -> dict[str, Any]:
        """``attributes`` as a client sends them; ``InvalidValue`` with what is wrong. Whole floats become integers."""
        try:
            checked: dict[str, Any] = self._check(attributes)
        except fastjsonschema.JsonSchemaValueException as error:
            sentence = error.message.removeprefix("data.")
            raise InvalidValue(f"Provided object does not match schema 'image': {sentence}.") from None
        for name in ("min_disk", "min_ram"):
            if name in checked:
                checked[name] = int(checked[name])
        return checked

    async def show(self, call: Call) -> web.Response:
        """``GET /v2/schemas/NAME``."""
        await require_no_body(call.request)
        name = call.params["name"]
        if name not in self._documents:
            raise NotFound(f"There is no schema {name!r}: there are {', '.join(self._documents)}.")
        return json_answer(self._documents[name])


def _checkable(image: Schema) -> Schema:
    """The image's schema with the limits that the published one leaves out."""
    count = {"type": "integer", "minimum": 0, "maximum": MAX_INTEGER}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {**image["properties"], "min_disk": count, "min_ram": count},
        "additionalProperties": {"type": "string", "maxLength": 65535},
        "propertyNames": {"pattern": r"^\s*\S", "maxLength": MAX_NAME},
    }
