"""An image as JSON, making one, and deleting it (contract C.3, C.4, C.13)."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import pytest

from tests.conftest import running
from tests.functional.service import Service
from tests.functional.v2 import TIME, UUID, V21, patch, show

DISK = ["ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop"]
CONTAINER = ["ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed"]

EMPTY: dict[str, Any] = {
    "name": None,
    "disk_format": None,
    "container_format": None,
    "visibility": "shared",
    "size": None,
    "virtual_size": None,
    "status": "queued",
    "checksum": None,
    "protected": False,
    "min_ram": 0,
    "min_disk": 0,
    "owner": None,
    "os_hidden": False,
    "os_hash_algo": None,
    "os_hash_value": None,
    "tags": [],
    "schema": "/v2/schemas/image",
}


def test_a_new_image_has_every_attribute_and_no_other(service: Service) -> None:
    answer = service.ask("POST", "/v2/images", {})
    image = answer.json
    assert answer.status == 201
    assert answer.headers["content-type"].startswith("application/json")
    assert UUID.fullmatch(image["id"])
    assert answer.headers["location"] == f"http://127.0.0.1:{service.port}/v2/images/{image['id']}"
    assert TIME.fullmatch(image["created_at"])
    assert TIME.fullmatch(image["updated_at"])
    own = {"id", "created_at", "updated_at", "self", "file"}
    assert {name: value for name, value in image.items() if name not in own} == EMPTY
    assert image["self"] == f"/v2/images/{image['id']}"
    assert image["file"] == f"/v2/images/{image['id']}/file"
    assert show(service, image["id"]) == image


def test_an_active_image_tells_size_and_hashes_of_its_data(service: Service) -> None:
    image = service.image(b"hello")
    assert image["status"] == "active"
    assert (image["size"], image["virtual_size"]) == (5, 5)
    assert image["checksum"] == hashlib.md5(b"hello", usedforsecurity=False).hexdigest()
    assert (image["os_hash_algo"], image["os_hash_value"]) == ("sha512", hashlib.sha512(b"hello").hexdigest())
    assert not {"locations", "direct_url", "stores"} & set(image)


def test_the_other_hash_is_an_option(
    request: pytest.FixtureRequest, services: dict[tuple[str, str], Service], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Clients and filters look for its name as hashlib writes it, however the configuration does."""
    service = running("sqlite", "sha256", request, services, tmp_path_factory, "hashing_algorithm = SHA256")
    image = service.image(b"hello")
    assert (image["os_hash_algo"], image["os_hash_value"]) == ("sha256", hashlib.sha256(b"hello").hexdigest())
    assert [found["id"] for found in service.ask("GET", "/v2/images?os_hash_algo=sha256").json["images"]] == [image["id"]]


def test_properties_stand_at_top_level_before_the_attributes(service: Service) -> None:
    image = service.image(os_distro="debian", zulu="last")
    assert set(list(image)[:2]) == {"os_distro", "zulu"}


def _words(count: int) -> list[str]:
    return [f"w{n}" for n in range(count)]


ACCEPTED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"name": "n" * 255}, {}),
    ({"name": ""}, {}),
    ({"name": "☃ 🐢"}, {}),
    ({"name": None, "disk_format": None, "container_format": None, "owner": None}, {}),
    ({"owner": "o" * 255}, {}),
    ({"owner": ""}, {"owner": None}),
    ({"min_disk": 1.0}, {"min_disk": 1}),
    ({"min_ram": 2147483647, "min_disk": 2147483647}, {}),
    ({"protected": False, "os_hidden": True}, {}),
    ({"tags": ["b", "a", "b"]}, {"tags": ["a", "b"]}),
    ({"tags": ["t" * 255]}, {}),
    ({"tags": _words(128)}, {"tags": sorted(_words(128))}),
    ({"n" * 255: "v"}, {}),
    ({"property": ""}, {}),
    ({"property": "v" * 60_000}, {}),
    (dict.fromkeys(_words(128), "v"), {}),
    ({"kernel_id": None, "ramdisk_id": "11111111-2222-3333-4444-555555555555"}, {}),
    ({"disk_format": "raw", "container_format": "ami"}, {}),  # a mix that v1 refuses
    ({"is_public": "True", "checksum_": "x"}, {}),  # properties like any other here
    *(({"visibility": choice}, {}) for choice in ("public", "private", "shared", "community")),
    *(({"disk_format": choice}, {}) for choice in DISK),
    *(({"container_format": choice}, {}) for choice in CONTAINER),
]


@pytest.mark.parametrize(("body", "changed"), ACCEPTED, ids=lambda value: str(value)[:40])
def test_an_image_keeps_what_it_was_made_with(service: Service, body: dict[str, Any], changed: dict[str, Any]) -> None:
    answer = service.ask("POST", "/v2/images", body)
    assert answer.status == 201, answer.text
    wanted = {**body, **changed}
    made, shown = answer.json, show(service, answer.json["id"])
    for found in (made, shown):
        found["tags"] = sorted(found["tags"])
        assert {name: found[name] for name in wanted} == wanted


REFUSED: list[tuple[Any, int, str]] = [
    (None, 400, "Body expected"),
    (b"{", 400, "JSON"),
    (b"[]", 400, "object"),
    (b'"text"', 400, "object"),
    (b"null", 400, "object"),
    ({"name": 5}, 400, "name"),
    ({"name": "n" * 256}, 400, "name"),
    ({"name": "nul\0"}, 400, ""),
    ({"owner": "o" * 256}, 400, "owner"),
    ({"disk_format": "floppy"}, 400, "disk_format"),
    ({"container_format": "box"}, 400, "container_format"),
    ({"visibility": "secret"}, 400, "visibility"),
    ({"visibility": None}, 400, "visibility"),
    ({"protected": "true"}, 400, "protected"),
    ({"os_hidden": 1}, 400, "os_hidden"),
    ({"min_disk": -1}, 400, "min_disk"),
    ({"min_ram": 1.5}, 400, "min_ram"),
    ({"min_ram": "1"}, 400, "min_ram"),
    ({"min_ram": 2147483648}, 400, "min_ram"),
    ({"tags": "a"}, 400, "tags"),
    ({"tags": [5]}, 400, "tags"),
    ({"tags": ["t" * 256]}, 400, "tags"),
    ({"property": None}, 400, "property"),
    ({"property": 5}, 400, "property"),
    ({"property": True}, 400, "property"),
    ({"property": ["a"]}, 400, "property"),
    ({"property": {"a": "b"}}, 400, "property"),
    ({"n" * 256: "v"}, 400, ""),
    ({"": "v"}, 400, ""),
    ({" ": "v"}, 400, ""),
    ({"property": "v" * 70_000}, 400, ""),
    ({"kernel_id": "no uuid"}, 400, "kernel_id"),
    ({"id": "no uuid"}, 400, "id"),
    ({"id": None}, 400, "id"),
    (dict.fromkeys(_words(129), "v"), 413, "128"),
    ({"tags": _words(129)}, 413, "128"),
    ({"tags": ["same"] * 129}, 413, "128"),
    *(
        ({name: value}, 403, f"Attribute '{name}' is read-only.")
        for name, value in {
            "status": "active",
            "size": 5,
            "virtual_size": 5,
            "checksum": "5d41402abc4b2a76b9719d911017c592",
            "os_hash_algo": "md5",
            "os_hash_value": "x",
            "created_at": "2026-11-22T11:59:11Z",
            "updated_at": "2026-11-22T11:59:11Z",
            "self": "x",
            "file": "x",
            "schema": "x",
            "stores": "x",
            "direct_url": "file:///etc/passwd",
        }.items()
    ),
    *(
        ({name: "x"}, 403, f"Attribute '{name}' is reserved.")
        for name in ("location", "deleted", "deleted_at", "os_glance_anything", "os_glance")
    ),
    ({"locations": []}, 403, "Attribute 'locations' is reserved."),
    # The schema first.
    *(({name: "x"}, 400, name) for name in ("status", "size", "virtual_size", "locations")),
    ({"deleted": False}, 400, "deleted"),
    # But before it what an answer adds to an image, as in Glance.
    *(
        ({name: 5, "property": 5}, 403, f"Attribute '{name}' is read-only.")
        for name in ("self", "file", "schema", "stores", "direct_url")
    ),
    ({"checksum": "x", "property": 5}, 400, "property"),
]


@pytest.mark.parametrize(("body", "status", "sentence"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_no_image_may_be_is_refused_with_the_reason(embedded: Service, body: Any, status: int, sentence: str) -> None:
    tag = f"refused-{uuid.uuid4()}"
    if isinstance(body, dict) and "tags" not in body:
        body = {**body, "tags": [tag]}
    answer = embedded.ask("POST", "/v2/images", body)
    assert answer.status == status
    assert sentence in answer.text
    assert embedded.ask("GET", f"/v2/images?tag={tag}").json["images"] == []


def test_an_own_id_is_taken_once_for_ever(service: Service) -> None:
    own = str(uuid.uuid4())
    first = service.ask("POST", "/v2/images", {"id": own})
    assert (first.status, first.json["id"]) == (201, own)
    assert service.ask("POST", "/v2/images", {"id": own}).status == 409
    assert service.ask("DELETE", f"/v2/images/{own}").status == 204
    again = service.ask("POST", "/v2/images", {"id": own})
    assert (again.status, own in again.text) == (409, True)


def test_the_media_type_of_a_new_image_is_not_looked_at(service: Service) -> None:
    for kind in ("text/plain", "application/octet-stream", "application/x-www-form-urlencoded"):
        assert service.ask("POST", "/v2/images", b"{}", {"Content-Type": kind}).status == 201


def test_json_in_chunks_is_json(service: Service) -> None:
    answer = service.ask("POST", "/v2/images", iter([b'{"na', b'me": "chunked"}']), {"Content-Type": "application/json"})
    assert (answer.status, answer.json["name"]) == (201, "chunked")


# -- deleting --------------------------------------------------------------------------------------------------------------------


def test_a_deleted_image_is_gone_with_its_data(service: Service) -> None:
    image = service.image(b"data", tags=["gone"])
    assert (service.images / image["id"]).exists()
    answer = service.ask("DELETE", f"/v2/images/{image['id']}")
    assert (answer.status, answer.body) == (204, b"")
    assert not (service.images / image["id"]).exists()
    second = service.ask("DELETE", f"/v2/images/{image['id']}")
    assert (second.status, image["id"] in second.text) == (404, True)
    assert image["id"] not in [found["id"] for found in service.ask("GET", "/v2/images?tag=gone&limit=1000").json["images"]]


def test_a_protected_image_is_deleted_after_it_is_none_any_more(service: Service) -> None:
    image = service.image(b"data", protected=True)
    refused = service.ask("DELETE", f"/v2/images/{image['id']}")
    assert (refused.status, "protected" in refused.text) == (403, True)
    assert service.ask("GET", f"/v2/images/{image['id']}/file").body == b"data"
    off = [{"op": "replace", "path": "/protected", "value": False}]
    assert patch(service, image["id"], off, V21).status == 200
    assert service.ask("DELETE", f"/v2/images/{image['id']}").status == 204


def test_an_image_whose_data_are_gone_can_still_be_deleted(service: Service) -> None:
    image = service.image(b"data")
    (service.images / image["id"]).unlink()
    assert service.ask("DELETE", f"/v2/images/{image['id']}").status == 204
