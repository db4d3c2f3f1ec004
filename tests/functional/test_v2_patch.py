"""PATCH of an image in both media types (contract C.5)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.functional.service import Service
from tests.functional.v2 import JSON, V20, V21, patch, show

BOTH = {
    "accept-patch": {"application/openstack-images-v2.0-json-patch", "application/openstack-images-v2.1-json-patch"},
}


def add(path: str, value: Any) -> dict[str, Any]:
    """An operation in the form of v2.1, as the others below."""
    return {"op": "add", "path": path, "value": value}


def replace(path: str, value: Any) -> dict[str, Any]:
    return {"op": "replace", "path": path, "value": value}


def remove(path: str) -> dict[str, Any]:
    return {"op": "remove", "path": path}


def old_form(operation: dict[str, Any]) -> dict[str, Any]:
    """The same operation in the form of v2.0."""
    return {operation["op"]: operation["path"], **({"value": operation["value"]} if "value" in operation else {})}


# Each on a queued image with the name "n", the tag "t" and the properties p = v and "q/r~s" = w.
CHANGES: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
    ([], {}),
    ([replace("/name", "☃")], {"name": "☃"}),
    ([replace("/name", None)], {"name": None}),
    ([replace("/name", "a"), replace("/name", "b")], {"name": "b"}),
    ([replace("/visibility", "private")], {"visibility": "private"}),
    ([replace("/visibility", "community")], {"visibility": "community"}),
    ([replace("/visibility", "public")], {"visibility": "public"}),
    ([replace("/protected", True), replace("/protected", False)], {"protected": False}),
    ([replace("/os_hidden", True)], {"os_hidden": True}),
    ([replace("/min_disk", 7), replace("/min_ram", 1.0)], {"min_disk": 7, "min_ram": 1}),
    ([replace("/owner", "somebody")], {"owner": "somebody"}),
    ([replace("/owner", "somebody"), replace("/owner", "")], {"owner": None}),
    ([replace("/disk_format", "qcow2"), replace("/container_format", None)], {"disk_format": "qcow2", "container_format": None}),
    ([replace("/tags", ["b", "a", "b"])], {"tags": ["a", "b"]}),
    ([replace("/tags", [])], {"tags": []}),
    ([replace("/p", "other")], {"p": "other"}),
    ([add("/new", "x")], {"new": "x"}),
    ([add("/new", "x"), replace("/new", "y")], {"new": "y"}),
    ([add("/new", "x"), remove("/new")], {"new": "(absent)"}),
    ([remove("/p")], {"p": "(absent)"}),
    ([replace("/q~1r~0s", "x")], {"q/r~s": "x"}),
    ([remove("/q~1r~0s")], {"q/r~s": "(absent)"}),
    ([add("/is_public", "True")], {"is_public": "True"}),
    # As many properties as may be are counted at the end, not in between.
    ([add(f"/n{n}", "v") for n in range(127)] + [remove(f"/n{n}") for n in range(5)], {f"n{n}": "v" for n in range(5, 127)}),
]
OVERWRITES: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
    ([add("/p", "other")], {"p": "other"}),
    ([add("/name", "other")], {"name": "other"}),
    ([add("/tags", ["x"])], {"tags": ["x"]}),
]


def _fresh(service: Service) -> dict[str, Any]:
    attributes: dict[str, Any] = {"name": "n", "tags": ["t"], "p": "v", "q/r~s": "w"}
    return service.image(**attributes)


@pytest.mark.parametrize(("operations", "changed"), CHANGES, ids=lambda value: str(value)[:60])
def test_all_operations_are_applied(service: Service, operations: list[Any], changed: dict[str, Any]) -> None:
    _changed(service, _fresh(service), operations, V21, changed)


@pytest.mark.parametrize(("operations", "changed"), CHANGES, ids=lambda value: str(value)[:60])
def test_the_older_form_does_the_same(embedded: Service, operations: list[Any], changed: dict[str, Any]) -> None:
    _changed(embedded, _fresh(embedded), [old_form(step) for step in operations], V20, changed)


@pytest.mark.parametrize(("operations", "changed"), OVERWRITES, ids=lambda value: str(value)[:60])
def test_add_overwrites_in_the_newer_media_type_alone(service: Service, operations: list[Any], changed: dict[str, Any]) -> None:
    image = _fresh(service)
    conflict = patch(service, image["id"], [old_form(step) for step in operations], V20)
    assert (conflict.status, "already present" in conflict.text) == (409, True)
    _changed(service, image, operations, V21, changed)


def _changed(
    service: Service, image: dict[str, Any], document: list[Any], media: dict[str, str], changed: dict[str, Any]
) -> None:
    answer = patch(service, image["id"], document, media)
    assert answer.status == 200, answer.text
    wanted = {name: value for name, value in {**image, **changed}.items() if value != "(absent)" and name != "updated_at"}
    for found in (answer.json, show(service, image["id"])):
        found["tags"] = sorted(found["tags"])
        assert {name: value for name, value in found.items() if name != "updated_at"} == wanted


REFUSALS: list[tuple[Any, int, str]] = [
    # The document.
    (None, 400, "Body expected"),
    (b"{", 400, "JSON"),
    ({}, 400, "array"),
    (b'"text"', 400, "array"),
    (["text"], 400, "objects"),
    # The operation.
    ([{}], 400, ""),
    ([{"op": "move", "path": "/name", "from": "/p"}], 400, "Invalid operation: `move`"),
    ([{"op": "test", "path": "/name", "value": "n"}], 400, "add, remove, replace"),
    ([{"op": "add", "path": "/new"}], 400, 'requires a member named "value"'),
    ([{"op": "replace", "path": "/name"}], 400, 'requires a member named "value"'),
    ([{"op": "add", "value": "x"}], 400, "path"),
    ([{"op": "add", "path": 5, "value": "x"}], 400, "path"),
    # The pointer.
    ([replace("name", "x")], 400, 'does not start with "/"'),
    ([add("", "x")], 400, ""),
    ([add("/", "x")], 400, ""),
    ([add("//new", "x")], 400, ""),
    ([add("/new/", "x")], 400, ""),
    ([add("/ ", "x")], 400, ""),
    ([add("/ne~2w", "x")], 400, "~"),
    ([add("/new~", "x")], 400, "~"),
    ([add("/tags/-", "x")], 400, "Invalid JSON pointer for this resource: '/tags/-'"),
    ([replace("/name/first", "x")], 400, "Invalid JSON pointer"),
    # What is there and what is not.
    ([replace("/nope", "x")], 409, "Property nope does not exist."),
    ([remove("/nope")], 409, "Property nope does not exist."),
    ([remove("/p"), remove("/p")], 409, "does not exist"),
    *(
        ([remove(f"/{name}")], 403, f"Property {name} may not be removed.")
        for name in (
            "name", "disk_format", "container_format", "visibility", "tags", "protected", "os_hidden", "min_disk", "min_ram",
            "owner",
        )
    ),
    # What nobody sets.
    *(
        ([replace(f"/{name}", "x")], 403, f"Attribute '{name}' is read-only.")
        for name in (
            "id", "status", "size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value", "created_at", "updated_at",
            "self", "file", "schema", "stores", "direct_url",
        )
    ),
    *(
        ([add(f"/{name}", "x")], 403, f"Attribute '{name}' is reserved.")
        for name in ("location", "deleted", "deleted_at", "os_glance_import_task", "os_glance")
    ),
    ([add("/locations/-", {"url": "http://127.0.0.1/", "metadata": {}})], 403, "locations"),
    ([replace("/locations", [])], 403, "locations"),
    ([remove("/locations/0")], 403, "locations"),
    *(([step], 400, "locations") for step in (add("/locations", []), replace("/locations/0", {}), remove("/locations"))),
    ([replace("/locations", "x")], 400, "locations"),
    ([add("/locations/-", "x")], 400, "locations"),
    # The schema.
    ([replace("/name", 5)], 400, "name"),
    ([replace("/name", "n" * 256)], 400, "name"),
    ([replace("/disk_format", "floppy")], 400, "disk_format"),
    ([replace("/container_format", "box")], 400, "container_format"),
    ([replace("/visibility", "secret")], 400, "visibility"),
    ([replace("/protected", "true")], 400, "protected"),
    ([replace("/os_hidden", None)], 400, "os_hidden"),
    ([replace("/min_disk", -1)], 400, "min_disk"),
    ([replace("/min_ram", 2147483648)], 400, "min_ram"),
    ([replace("/tags", "t")], 400, "tags"),
    ([replace("/tags", ["t" * 256])], 400, "tags"),
    ([replace("/owner", 5)], 400, "owner"),
    ([add("/new", None)], 400, "new"),
    ([add("/new", 5)], 400, "new"),
    ([add("/" + "n" * 256, "x")], 400, ""),
    # What no image would take is looked for in all steps first.
    ([replace("/nope", "x"), replace("/status", "x")], 403, "Attribute 'status' is read-only."),
    ([replace("/nope", "x"), replace("/name", 5)], 400, "name"),
    ([replace("/name", 5), replace("/name", "x")], 400, "name"),
    # The quotas.
    ([add(f"/n{n}", "v") for n in range(127)], 413, "128"),
    ([replace("/tags", [f"t{n}" for n in range(129)])], 413, "128"),
    # All or nothing.
    ([replace("/name", "changed"), remove("/nope")], 409, ""),
]  # fmt: skip


@pytest.mark.parametrize(("document", "status", "sentence"), REFUSALS, ids=lambda value: str(value)[:60])
def test_a_refused_document_changes_nothing(embedded: Service, document: Any, status: int, sentence: str) -> None:
    image = _fresh(embedded)
    answer = patch(embedded, image["id"], document, V21)
    assert answer.status == status
    assert sentence in answer.text
    assert show(embedded, image["id"]) == image


@pytest.mark.parametrize(
    "step",
    [
        {"move": "/name", "value": "x"},
        {"add": "/new", "replace": "/new", "value": "x"},
        {"value": "x"},
        {"add": "/new"},
        {"add": 5, "value": 1},
    ],
)
def test_the_older_form_has_exactly_one_operation(embedded: Service, step: dict[str, Any]) -> None:
    assert patch(embedded, _fresh(embedded)["id"], [step], V20).status == 400


@pytest.mark.parametrize("name", ["id", "status", "self"])
def test_the_older_form_cannot_add_what_nobody_sets(embedded: Service, name: str) -> None:
    assert patch(embedded, _fresh(embedded)["id"], [{"add": f"/{name}", "value": "x"}], V20).status == 403


@pytest.mark.parametrize("step", [{"add": "/new", "value": "x"}, {"op": "add", "path": "/new", "value": "x"}])
def test_what_else_stands_in_an_operation_is_ignored(embedded: Service, step: dict[str, Any]) -> None:
    answer = patch(embedded, _fresh(embedded)["id"], [{**step, "note": "y"}], V21 if "op" in step else V20)
    assert (answer.status, answer.json.get("new")) == (200, "x")


MEDIA_TYPES = [
    ("application/openstack-images-v2.1-json-patch", 200),
    ("application/openstack-images-v2.0-json-patch", 200),
    ("Application/OpenStack-Images-v2.1-JSON-Patch", 200),
    ("application/openstack-images-v2.1-json-patch; charset=UTF-8", 200),
    ("application/json-patch+json", 415),
    ("application/openstack-images-v2.2-json-patch", 415),
    (JSON["Content-Type"], 415),
    ("", 415),
    (None, 415),
]


@pytest.mark.parametrize(("kind", "status"), MEDIA_TYPES)
def test_another_media_type_is_told_the_right_ones(embedded: Service, kind: str | None, status: int) -> None:
    image = embedded.image()
    headers = {} if kind is None else {"Content-Type": kind}
    answer = embedded.ask("PATCH", f"/v2/images/{image['id']}", b"[]", headers)
    assert answer.status == status
    if status == 415:
        assert set(answer.headers["accept-patch"].split(", ")) == BOTH["accept-patch"]


@pytest.mark.parametrize(("name", "value"), [("disk_format", "qcow2"), ("container_format", "ova"), ("disk_format", "raw")])
def test_formats_do_not_change_once_there_are_data(service: Service, name: str, value: str) -> None:
    image = service.image(b"data")
    answer = patch(service, image["id"], [replace(f"/{name}", value)])
    assert (answer.status, name in answer.text) == (403, True)
    assert show(service, image["id"]) == image


def test_everything_else_of_an_active_image_changes(service: Service) -> None:
    image = service.image(b"data")
    answer = patch(service, image["id"], [replace("/name", "renamed"), add("/new", "x")])
    assert answer.status == 200
    assert (answer.json["name"], answer.json["new"], answer.json["checksum"]) == ("renamed", "x", image["checksum"])


def test_a_property_with_the_name_of_an_attribute_stays(service: Service) -> None:
    """API v1 makes such properties; API v2 does not see them."""
    headers = {f"x-image-meta-property-{name}": name for name in ("owner", "name", "foo")}
    image_id = service.ask("POST", "/v1/images", headers=headers).json["image"]["id"]
    assert patch(service, image_id, [replace("/foo", "2")]).json["foo"] == "2"
    shown = service.ask("HEAD", f"/v1/images/{image_id}").headers
    assert [shown.get(f"x-image-meta-property-{name}") for name in ("owner", "name", "foo")] == ["owner", "name", "2"]
