"""Images API v1, contract A.8 and A.12: PUT and DELETE, and which status follows which."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.conftest import running
from tests.functional.running import eventually
from tests.functional.service import OCTET_STREAM, Service
from tests.functional.v1 import DATA, DETAIL_KEYS, MD5, RAW, files_of, head, listed, make, meta, put, state

OTHER = b"fedcba9876543210" * 8


@pytest.fixture
def delayed(
    request: pytest.FixtureRequest, services: dict[tuple[str, str], Service], tmp_path_factory: pytest.TempPathFactory
) -> Service:
    """A service where DELETE only marks an image."""
    return running("sqlite", "delayed", request, services, tmp_path_factory, "delayed_delete = True")


def _killed(service: Service) -> str:
    """The id of an image whose upload failed."""
    image_id = str(uuid.uuid4())
    headers = {**OCTET_STREAM, **meta(id=image_id, checksum="a" * 32, **RAW)}
    assert service.ask("POST", "/v1/images", DATA, headers).status == 400
    assert state(service, image_id) == "killed"
    return image_id


def _deleted(service: Service, data: bytes | None = DATA) -> str:
    image_id: str = make(service, data)["id"]
    assert service.ask("DELETE", f"/v1/images/{image_id}").status == 200
    return image_id


# -- metadata --------------------------------------------------------------------------------------------------------------

# sent, wanted parts of the answer
CHANGES: list[tuple[dict[str, str], dict[str, Any]]] = [
    ({"x-image-meta-name": "new"}, {"name": "new"}),
    ({"x-image-meta-name": ""}, {"name": None}),
    ({"x-image-meta-min_ram": "5", "x-image-meta-min-disk": "6"}, {"min_ram": 5, "min_disk": 6}),
    ({"x-image-meta-is_public": "True"}, {"is_public": True}),
    ({"x-image-meta-protected": "True"}, {"protected": True}),
    ({"x-image-meta-owner": "somebody"}, {"owner": "somebody"}),
    ({"x-image-meta-disk_format": "iso"}, {"disk_format": "iso", "container_format": "bare"}),
    ({"x-image-meta-container_format": "ovf"}, {"disk_format": "raw", "container_format": "ovf"}),
    ({"x-image-meta-status": "active"}, {"status": "active"}),
    ({"x-image-meta-size": "64"}, {"size": 64}),
    ({"x-image-meta-checksum": MD5}, {"checksum": MD5}),
    ({"x-image-meta-created_at": "2001-01-01T00:00:00"}, {}),
    ({"x-image-meta-updated_at": "x"}, {}),
    ({"x-image-meta-deleted_at": "2001-01-01T00:00:00"}, {"deleted_at": None}),
    ({"x-image-meta-deleted": "True"}, {"deleted": False, "status": "active"}),
    ({"x-image-meta-uri": "http://example.org"}, {}),
    ({"x-image-meta-property-b": "2"}, {"properties": {"a": "1", "b": "2"}}),
    ({"x-image-meta-property-a": "3"}, {"properties": {"a": "3"}}),
    ({"x-image-meta-property-a": ""}, {"properties": {"a": None}}),
]


@pytest.mark.parametrize(("sent", "wanted"), CHANGES)
def test_put_changes_what_it_says_and_nothing_else(service: Service, sent: dict[str, str], wanted: dict[str, Any]) -> None:
    image = make(service, DATA, property_a="1")
    answer = put(service, image["id"], headers=sent)
    assert answer.status == 200, answer.text
    changed = answer.json["image"]
    assert set(changed) == DETAIL_KEYS
    assert {key: changed[key] for key in wanted} == wanted
    same = DETAIL_KEYS - set(wanted) - {"updated_at"}
    assert {key: changed[key] for key in same} == {key: image[key] for key in same}
    assert service.ask("GET", f"/v1/images/{image['id']}").body == DATA


def test_a_change_moves_updated_at_and_not_created_at(service: Service) -> None:
    image = make(service)
    changed = put(service, image["id"], name="later").json["image"]
    assert changed["updated_at"] > image["updated_at"] or image["updated_at"][-6:] == "000000"
    assert changed["created_at"] == image["created_at"]


def test_public_and_back(service: Service) -> None:
    image = make(service, is_public="True")
    assert image["is_public"] is True
    assert put(service, image["id"], is_public="False").json["image"]["is_public"] is False
    assert head(service, image["id"]).headers["x-image-meta-is_public"] == "False"


@pytest.mark.parametrize("visibility", ["private", "shared", "community"])
def test_what_is_not_public_stays_as_api_v2_has_it(service: Service, visibility: str) -> None:
    """glanceclient says is_public with every update."""
    image = service.image(visibility=visibility)
    for word in ("False", "None"):
        assert put(service, image["id"], is_public=word, name="new").json["image"]["is_public"] is False
    assert service.ask("GET", f"/v2/images/{image['id']}").json["visibility"] == visibility


# headers of the PUT, properties afterwards
PURGES: list[tuple[dict[str, str], dict[str, str]]] = [
    ({"x-image-meta-property-b": "2"}, {"b": "2"}),
    ({}, {}),
    ({"x-image-meta-name": "x"}, {}),
    ({"x-glance-registry-purge-props": "true", "x-image-meta-property-b": "2"}, {"b": "2"}),
    ({"x-glance-registry-purge-props": "True"}, {}),
    ({"x-glance-registry-purge-props": "1"}, {}),
    ({"x-glance-registry-purge-props": "false", "x-image-meta-property-b": "2"}, {"a": "1", "b": "2", "c": "3"}),
    ({"x-glance-registry-purge-props": "False"}, {"a": "1", "c": "3"}),
    ({"x-glance-registry-purge-props": "0"}, {"a": "1", "c": "3"}),
    ({"X-Glance-Registry-Purge-Props": "nonsense"}, {"a": "1", "c": "3"}),
]


@pytest.mark.parametrize(("sent", "wanted"), PURGES)
def test_properties_that_are_not_mentioned_go_unless_the_client_says_no(
    service: Service, sent: dict[str, str], wanted: dict[str, str]
) -> None:
    image = make(service, property_a="1", property_c="3")
    answer = service.ask("PUT", f"/v1/images/{image['id']}", headers=sent)
    assert (answer.status, answer.json["image"]["properties"]) == (200, wanted)


@pytest.mark.parametrize("purge", ["true", "false"])
def test_a_put_with_data_purges_nothing(service: Service, purge: str) -> None:
    image = make(service, property_a="1", **RAW)
    answer = put(service, image["id"], DATA, {"x-glance-registry-purge-props": purge}, property_b="2")
    assert (answer.status, answer.json["image"]["properties"]) == (200, {"a": "1", "b": "2"})


# -- data ------------------------------------------------------------------------------------------------------------------


def test_a_queued_image_gets_its_data(service: Service) -> None:
    image = make(service, **RAW)
    answer = put(service, image["id"], DATA)
    changed = answer.json["image"]
    assert (answer.status, changed["status"], changed["size"], changed["checksum"]) == (200, "active", 64, MD5)
    assert service.ask("GET", f"/v1/images/{image['id']}").body == DATA


def test_the_formats_may_come_with_the_data(service: Service) -> None:
    image = make(service)
    answer = put(service, image["id"], DATA, **RAW)
    assert (answer.status, answer.json["image"]["status"]) == (200, "active")


@pytest.mark.parametrize(("fields", "sentence"), [({"size": 63}, "upplied size (63)"), ({"checksum": "a" * 32}, "checksum")])
def test_what_was_declared_before_holds_for_the_data(service: Service, fields: dict[str, Any], sentence: str) -> None:
    image = make(service, **fields, **RAW)
    answer = put(service, image["id"], DATA)
    assert answer.status == 400
    assert sentence in answer.text
    assert (state(service, image["id"]), files_of(service, image["id"])) == ("killed", [])


def test_data_in_base64_are_decoded(service: Service) -> None:
    image = make(service, **RAW)
    answer = put(service, image["id"], b"QUJD\r\n", {"Content-Transfer-Encoding": "base64"})
    assert (answer.status, answer.json["image"]["size"]) == (200, 3)
    assert service.ask("GET", f"/v1/images/{image['id']}").body == b"ABC"


@pytest.mark.parametrize(
    ("fields", "headers", "sentence"),
    [
        ({}, {}, "format 'None' for image"),
        ({"disk_format": "raw"}, {}, "nvalid container format 'None' for image"),
        (RAW, {"Content-Type": "application/x-www-form-urlencoded"}, "--data-binary @FILE"),
        (RAW, {"Content-Type": "text/plain"}, "Content-Type must be application/octet-stream"),
        ({**RAW, "store": "nope"}, {}, "equired store nope is invalid"),
    ],
)
def test_data_that_cannot_be_taken_leave_the_image_queued(
    embedded: Service, fields: dict[str, Any], headers: dict[str, str], sentence: str
) -> None:
    image = make(embedded)
    answer = put(embedded, image["id"], DATA, headers, **fields)
    assert answer.status == 400
    assert sentence in answer.text
    assert (state(embedded, image["id"]), files_of(embedded, image["id"])) == ("queued", [])
    assert put(embedded, image["id"], DATA, **RAW).status == 200


def test_what_else_was_said_with_data_that_lack_a_format_is_kept(service: Service) -> None:
    image = make(service)
    assert put(service, image["id"], DATA, name="kept", disk_format="raw").status == 400
    seen = head(service, image["id"]).headers
    assert (seen["x-image-meta-name"], seen["x-image-meta-disk_format"], seen["x-image-meta-status"]) == ("kept", "raw", "queued")


def test_data_for_a_store_that_cannot_write_leave_the_image_queued(service: Service) -> None:
    image = make(service, **RAW)
    assert put(service, image["id"], DATA, store="http").status == 410
    assert (state(service, image["id"]), files_of(service, image["id"])) == ("queued", [])


@pytest.mark.parametrize("status", ["active", "killed"])
def test_only_a_queued_image_takes_data(service: Service, status: str) -> None:
    image_id = _killed(service) if status == "killed" else make(service, DATA)["id"]
    files = files_of(service, image_id)
    answer = put(service, image_id, OTHER, **RAW)
    assert answer.status == 409
    assert "Cannot upload to an unqueued image" in answer.text
    assert (state(service, image_id), files_of(service, image_id)) == (status, files)


# -- what may not change ---------------------------------------------------------------------------------------------------

# metadata of the PUT, status, sentence
FORBIDDEN: list[tuple[dict[str, str], int, str]] = [
    ({"x-image-meta-status": "queued"}, 403, "Forbidden to modify 'status' of image."),
    ({"x-image-meta-status": "nonsense"}, 403, "Forbidden to modify 'status' of image."),
    ({"x-image-meta-size": "63"}, 403, "Forbidden to modify 'size' of active image."),
    ({"x-image-meta-checksum": "a" * 32}, 403, "Forbidden to modify 'checksum' of active image."),
    ({"x-image-meta-id": str(uuid.uuid4())}, 404, "id"),
    ({"x-image-meta-disk_format": "nonsense"}, 400, "Invalid disk format 'nonsense' for image."),
    (
        {"x-image-meta-disk_format": "ami", "x-image-meta-container_format": "bare"},
        400,
        "Invalid mix of disk and container formats",
    ),
    ({"x-image-meta-name": "n" * 256}, 400, "Image name too long: 256"),
]


@pytest.mark.parametrize(("sent", "status", "sentence"), FORBIDDEN)
def test_put_refuses_and_changes_nothing(embedded: Service, sent: dict[str, str], status: int, sentence: str) -> None:
    image = make(embedded, DATA, property_a="1")
    answer = put(embedded, image["id"], headers={"x-image-meta-min_ram": "9", "x-image-meta-property-b": "2", **sent})
    assert answer.status == status, answer.text
    assert sentence in answer.text
    assert listed(embedded, f"name={image['name']}", kind="images/detail") == [image]


@pytest.mark.parametrize("data", [None, DATA])
def test_a_deleted_image_cannot_be_changed(service: Service, data: bytes | None) -> None:
    answer = put(service, _deleted(service, data), data)
    assert answer.status == 403
    assert "Forbidden to update deleted image." in answer.text


# -- deleting --------------------------------------------------------------------------------------------------------------


def test_delete_removes_the_bytes_and_keeps_the_id(service: Service) -> None:
    image = make(service, DATA, property_a="1")
    assert len(files_of(service, image["id"])) == 1
    answer = service.ask("DELETE", f"/v1/images/{image['id']}")
    assert (answer.status, answer.body) == (200, b"")
    assert files_of(service, image["id"]) == []
    seen = head(service, image["id"])
    assert seen.status == 200
    assert (seen.headers["x-image-meta-status"], seen.headers["x-image-meta-deleted"]) == ("deleted", "True")
    assert "x-image-meta-deleted_at" in seen.headers
    assert not [name for name in seen.headers if "property" in name]
    assert listed(service, f"name={image['name']}&is_public=none") == []


@pytest.mark.parametrize("status", ["queued", "active", "killed"])
def test_an_image_is_deleted_once_whatever_its_status(service: Service, status: str) -> None:
    image_id = _killed(service) if status == "killed" else make(service, DATA if status == "active" else None)["id"]
    assert service.ask("DELETE", f"/v1/images/{image_id}").status == 200
    assert state(service, image_id) == "deleted"
    again = service.ask("DELETE", f"/v1/images/{image_id}")
    assert again.status == 404
    assert image_id in again.text
    assert service.ask("GET", f"/v1/images/{image_id}").status == 404


def test_a_protected_image_cannot_be_deleted(service: Service) -> None:
    image = make(service, DATA, protected="True")
    answer = service.ask("DELETE", f"/v1/images/{image['id']}")
    assert answer.status == 403
    assert "is protected" in answer.text
    assert service.ask("GET", f"/v1/images/{image['id']}").body == DATA
    assert put(service, image["id"], protected="False").status == 200
    assert service.ask("DELETE", f"/v1/images/{image['id']}").status == 200


def test_a_delayed_delete_only_marks_the_image(delayed: Service) -> None:
    image = make(delayed, DATA)
    assert delayed.ask("DELETE", f"/v1/images/{image['id']}").status == 200
    seen = head(delayed, image["id"])
    assert (seen.headers["x-image-meta-status"], seen.headers["x-image-meta-deleted"]) == ("pending_delete", "True")
    assert len(files_of(delayed, image["id"])) == 1
    again = delayed.ask("DELETE", f"/v1/images/{image['id']}")
    assert again.status == 403
    assert "pending_delete" in again.text
    assert delayed.ask("GET", f"/v1/images/{image['id']}").status == 404
    assert put(delayed, image["id"], name="x").status == 403
    assert listed(delayed, f"name={image['name']}&is_public=none") == []


def test_what_waits_to_be_deleted_has_no_properties_and_no_members_any_more(delayed: Service) -> None:
    image = make(delayed, DATA, property_os="x")
    path = f"/v1/images/{image['id']}"
    assert delayed.ask("PUT", f"{path}/members/b").status == 204
    assert delayed.ask("DELETE", path).status == 200
    seen = head(delayed, image["id"])
    assert "x-image-meta-property-os" not in seen.headers
    assert seen.headers["x-image-meta-deleted_at"] == seen.headers["x-image-meta-updated_at"]
    assert delayed.ask("GET", f"{path}/members").status == 404
    assert delayed.ask("PUT", f"{path}/members/c").status == 404
    assert delayed.ask("GET", "/v1/shared-images/b").json == {"shared_images": []}


@pytest.mark.parametrize(("method", "rest", "body"), [
    ("GET", "", None), ("GET", "/file", None), ("PATCH", "", [{"op": "replace", "path": "/name", "value": "x"}]),
    ("PUT", "/tags/x", None), ("DELETE", "", None), ("POST", "/actions/deactivate", None), ("POST", "/members", {"member": "b"}),
])  # fmt: skip
def test_what_waits_to_be_deleted_is_not_there_for_v2(delayed: Service, method: str, rest: str, body: object) -> None:
    """Also not changed: the scrubber goes by the time of the last change, so it would never be deleted."""
    image = make(delayed, DATA)
    assert delayed.ask("DELETE", f"/v2/images/{image['id']}").status == 204
    before = head(delayed, image["id"]).headers["x-image-meta-updated_at"]
    headers = {"Content-Type": "application/openstack-images-v2.1-json-patch"} if method == "PATCH" else {}
    assert delayed.ask(method, f"/v2/images/{image['id']}{rest}", body, headers).status == 404
    assert head(delayed, image["id"]).headers["x-image-meta-updated_at"] == before


def test_a_delayed_delete_of_an_image_without_bytes_is_done_at_once(delayed: Service) -> None:
    image = make(delayed)
    assert delayed.ask("DELETE", f"/v1/images/{image['id']}").status == 200
    assert state(delayed, image["id"]) == "deleted"


# -- reading ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["queued", "killed"])
def test_only_an_active_image_can_be_read(service: Service, status: str) -> None:
    image_id = _killed(service) if status == "killed" else make(service)["id"]
    answer = service.ask("GET", f"/v1/images/{image_id}")
    assert answer.status == 404
    assert f"Image {image_id} is not active" in answer.text
    assert head(service, image_id).status == 200


def test_lost_bytes_are_a_404_before_any_byte_is_sent(service: Service) -> None:
    image = make(service, DATA)
    for path in service.images.rglob(image["id"]):
        path.unlink()
    answer = service.ask("GET", f"/v1/images/{image['id']}")
    assert answer.status == 404
    assert "missing" in answer.text
    eventually(lambda: f"LOST DATA: image {image['id']}" in service.log, "the loss is logged")
    assert service.ask("DELETE", f"/v1/images/{image['id']}").status == 200


@pytest.mark.parametrize(("method", "body"), [("HEAD", None), ("GET", None), ("PUT", None), ("PUT", DATA), ("DELETE", None)])
@pytest.mark.parametrize("image_id", [str(uuid.UUID(int=5)), "no-uuid", "%2e%2e%2fetc%2fpasswd", "a" * 300])
def test_an_unknown_image_is_a_404(embedded: Service, method: str, body: bytes | None, image_id: str) -> None:
    headers = {**OCTET_STREAM, **meta(**RAW)} if body else {}
    assert embedded.ask(method, f"/v1/images/{image_id}", body, headers).status == 404
