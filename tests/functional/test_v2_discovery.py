"""What the service tells about itself (contract C.14, C.19), and stores that have names."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from image_service.model import Image, Location, Status, Visibility, new_id
from image_service.registry.database import DatabaseRegistry
from image_service.registry.engine import Database
from image_service.registry.interface import ImageChange, Registry
from tests.conftest import running
from tests.functional import v1
from tests.functional.service import Service
from tests.functional.v2 import ADMIN, SERVICE, A, C, download, patch, show, upload

SCHEMAS = ["image", "images", "member", "members", "task", "tasks"]


@pytest.fixture
def named(
    services: dict[tuple[str, str], Service], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Service:
    """A service with three stores that have names, and which believes identity headers."""
    folder = tmp_path_factory.getbasetemp() / "named-stores"
    for name in ("fast", "slow"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    sections = (
        "default_backend = fast\n"
        f"[fast]\nstore_description = Fast one\nweight = 5\nfilesystem_store_datadir = {folder}/fast\n"
        f"[slow]\nfilesystem_store_datadir = {folder}/slow\n"
        "[web]\nstore_description = Others' servers\n"
        "[paste_deploy]\nflavor = trusted-auth\n"
    )
    default = (
        "enabled_backends = slow:file,fast:file,web:http\nshow_image_direct_url = True\n"
        "public_endpoint = https://images.example/api/\n"
    )
    return running("sqlite", "named", request, services, tmp_path_factory, default, sections)


def _in_database(service: Service, work: Callable[[Registry], Awaitable[object]]) -> None:
    """Do what no request can, in the service's database."""

    async def run() -> None:
        registry = DatabaseRegistry(Database(service.database))
        await work(registry)
        await registry.aclose()

    asyncio.run(run())


def test_no_import_method_is_announced(embedded: Service) -> None:
    answer = embedded.ask("GET", "/v2/info/import")
    assert answer.status == 200
    assert answer.json["import-methods"]["type"] == "array"
    assert answer.json["import-methods"]["value"] == []
    assert "openstack-image-import-methods" not in embedded.ask("POST", "/v2/images", {}).headers


def test_usage_is_empty_without_keystone(embedded: Service) -> None:
    assert embedded.ask("GET", "/v2/info/usage").json == {"usage": {}}


@pytest.mark.parametrize("path", ["/v2/info/stores", "/v2/info/stores/detail"])
def test_stores_without_names_are_not_told(embedded: Service, path: str) -> None:
    assert embedded.ask("GET", path).status == 404
    assert "openstack-image-store-ids" not in embedded.ask("POST", "/v2/images", {}).headers


def test_stores_with_names_are_told_in_their_order(named: Service) -> None:
    assert named.ask("GET", "/v2/info/stores", headers=C).json == {
        "stores": [
            {"id": "slow"},
            {"id": "fast", "description": "Fast one", "default": "true"},
            {"id": "web", "description": "Others' servers", "read-only": "true"},
        ]
    }
    assert named.ask("POST", "/v2/images", {}, A).headers["openstack-image-store-ids"] == "slow,fast,web"


@pytest.mark.parametrize(("who", "status"), [(A, 403), (ADMIN, 200), (SERVICE, 200)])
def test_details_of_stores_are_for_administrators_and_services(named: Service, who: dict[str, str], status: int) -> None:
    answer = named.ask("GET", "/v2/info/stores/detail", headers=who)
    assert answer.status == status
    if status == 200:
        slow, fast, web = answer.json["stores"]
        assert (fast["type"], fast["weight"], fast["default"]) == ("file", 5, "true")
        assert set(fast["properties"]) == {"data_dir", "chunk_size", "thin_provisioning"}
        assert (slow["weight"], slow["properties"]["data_dir"].endswith("/slow")) == (0, True)
        assert (web["type"], web["properties"], web["read-only"]) == ("http", {}, "true")


STORES: list[tuple[dict[str, str], int, str]] = [
    ({}, 204, "fast"),
    ({"X-Image-Meta-Store": "slow"}, 204, "slow"),
    ({"X-Image-Meta-Store": "fast"}, 204, "fast"),
    ({"X-Image-Meta-Store": "nope"}, 400, "Store for identifier nope not found"),
    ({"X-Image-Meta-Store": "file"}, 400, "Store for identifier file not found"),
    ({"X-Image-Meta-Store": ""}, 400, "Store for identifier  not found"),
    ({"X-Image-Meta-Store": "web"}, 410, "Adding images to store is disabled"),
]


@pytest.mark.parametrize(("headers", "status", "wanted"), STORES, ids=str)
def test_an_upload_may_choose_its_store(named: Service, headers: dict[str, str], status: int, wanted: str) -> None:
    image = named.image(headers=A)
    answer = upload(named, image["id"], b"data", {**A, **headers})
    assert answer.status == status
    found = show(named, image["id"], A)
    if status == 204:
        assert (found["status"], found["stores"]) == ("active", wanted)
        assert download(named, image["id"], A).body == b"data"
    else:
        assert (found["status"], "stores" in found, wanted in answer.text) == ("queued", False, True)


def test_bytes_are_removed_from_one_of_two_stores(named: Service, embedded: Service) -> None:
    image = named.image(b"data", A)
    there = f"/{image['id']}"

    def remove(store: str, who: dict[str, str] = ADMIN, path: str = there) -> int:
        return named.ask("DELETE", f"/v2/stores/{store}{path}", headers=who).status

    assert embedded.ask("DELETE", f"/v2/stores/file{there}").status == 404, "its stores have no names"
    assert (remove("nope"), remove("fast", path=f"/{new_id()}"), remove("fast", A), remove("fast", C)) == (409, 404, 403, 404)
    assert (remove("slow"), remove("fast")) == (403, 403), "no other store has it"
    assert remove("fast", path=f"/{named.image(headers=A)['id']}") == 409, "it is queued"
    first = image["direct_url"].removeprefix("file://")
    second = first.replace("/fast/", "/slow/")
    os.link(first, second)
    places = [Location(f"file://{path}") for path in (first, second)]
    _in_database(named, lambda registry: registry.update_image(image["id"], ImageChange(locations=places)))
    assert remove("web") == 404
    assert remove("fast") == 204
    assert (os.path.exists(first), os.path.exists(second)) == (False, True)
    assert (download(named, image["id"], A).body, remove("fast"), remove("slow")) == (b"data", 403, 403)
    assert show(named, image["id"], A)["stores"] == "slow"


def test_where_the_data_are_is_told_where_the_configuration_says_so(named: Service) -> None:
    image = named.image(b"data", A)
    assert image["direct_url"].startswith("file:///")
    assert image["direct_url"].endswith(f"/fast/{image['id']}")
    assert "direct_url" not in named.image(headers=A)


def test_where_the_data_of_a_deactivated_image_are_is_told_to_administrators_alone(named: Service) -> None:
    """Who may not have the bytes could fetch them from there."""
    image = named.image(b"data", ADMIN, visibility="public", owner="project-a")
    places = {"direct_url", "stores"}

    def told(who: dict[str, str]) -> set[str]:
        (listed,) = named.ask("GET", f"/v2/images?id={image['id']}", headers=who).json["images"]
        shown = show(named, image["id"], who)
        assert listed == shown
        return places & set(shown)

    assert (told(A), told(C)) == (places, places)
    assert named.ask("POST", f"/v2/images/{image['id']}/actions/deactivate", headers=ADMIN).status == 204
    assert (told(A), told(C), told(ADMIN)) == (set(), set(), places)
    assert not places & set(patch(named, image["id"], [{"op": "add", "path": "/x", "value": "y"}], A).json)
    assert named.ask("POST", f"/v2/images/{image['id']}/actions/reactivate", headers=ADMIN).status == 204
    assert told(A) == places


def test_a_property_of_api_v1_does_not_speak_for_the_service(embedded: Service) -> None:
    made = v1.make(embedded, property_direct_url="file:///etc/passwd", property_locations="x", property_os_distro="debian")
    found = show(embedded, made["id"])
    assert (found.get("direct_url"), found.get("locations"), found["os_distro"]) == (None, None, "debian")


def test_the_public_endpoint_is_in_every_link(named: Service) -> None:
    versions = named.ask("GET", "/versions").json["versions"]
    assert {entry["links"][0]["href"] for entry in versions} == {
        "https://images.example/api/v2/",
        "https://images.example/api/v1/",
    }
    made = named.ask("POST", "/v2/images", {}, A)
    assert made.headers["location"] == f"https://images.example/api/v2/images/{made.json['id']}"
    assert made.json["self"] == f"/v2/images/{made.json['id']}"


PREFERENCES = [("fast", 200), ("slow,%20fast", 200), ("web", 200), ("", 200), ("nope", 400), ("fast,nope", 400)]


@pytest.mark.parametrize(("prefer", "status"), PREFERENCES)
def test_a_download_may_prefer_stores(named: Service, prefer: str, status: int) -> None:
    image = named.image(b"data", A)
    answer = named.ask("GET", f"/v2/images/{image['id']}/file?prefer={prefer}", headers=A)
    assert answer.status == status
    assert status != 200 or answer.body == b"data"
    empty = named.ask("GET", f"/v2/images/{named.image(headers=A)['id']}/file?prefer={prefer}", headers=A)
    assert empty.status == (204 if status == 200 else status)


# -- schemas -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_has_a_name_and_properties(embedded: Service, name: str) -> None:
    answer = embedded.ask("GET", f"/v2/schemas/{name}")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert (answer.json["name"], bool(answer.json["properties"])) == (name, True)


ATTRIBUTES = {
    "id", "name", "status", "visibility", "protected", "os_hidden", "checksum", "os_hash_algo", "os_hash_value", "owner",
    "size", "virtual_size", "container_format", "disk_format", "created_at", "updated_at", "tags", "direct_url",
    "min_ram", "min_disk", "self", "file", "stores", "schema", "locations",
}  # fmt: skip
READ_ONLY = {
    "status", "checksum", "os_hash_algo", "os_hash_value", "size", "virtual_size", "created_at", "updated_at", "direct_url",
    "self", "file", "stores", "schema",
}  # fmt: skip
CUSTOM = {
    "kernel_id", "ramdisk_id", "instance_uuid", "architecture", "os_distro", "os_version", "description",
    "cinder_encryption_key_id", "cinder_encryption_key_deletion_policy",
}  # fmt: skip


def _schema(service: Service, name: str) -> dict[str, Any]:
    found: dict[str, Any] = service.ask("GET", f"/v2/schemas/{name}").json
    return found


def test_the_schema_of_an_image_is_complete(embedded: Service) -> None:
    schema = _schema(embedded, "image")
    properties = schema["properties"]
    assert set(properties) == ATTRIBUTES | CUSTOM
    assert {name for name, value in properties.items() if value.get("readOnly")} == READ_ONLY
    assert {name for name, value in properties.items() if value.get("is_base") is False} == CUSTOM
    assert schema["additionalProperties"] == {"type": "string"}
    links = {"self": "{self}", "enclosure": "{file}", "describedby": "{schema}"}
    assert {link["rel"]: link["href"] for link in schema["links"]} == links
    assert properties["status"]["enum"] == [
        "queued", "saving", "active", "killed", "deleted", "uploading", "importing", "pending_delete", "deactivated",
    ]  # fmt: skip
    assert set(properties["visibility"]["enum"]) == {"public", "private", "shared", "community"}
    disk = [None, "ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop"]
    assert properties["disk_format"]["enum"] == disk
    assert properties["container_format"]["enum"] == [None, "ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed"]
    for name in ("kernel_id", "ramdisk_id"):
        assert properties[name]["type"] == ["null", "string"]
        assert re.fullmatch(properties[name]["pattern"], new_id())
        assert not re.match(properties[name]["pattern"], "no uuid")
    assert properties["cinder_encryption_key_deletion_policy"]["enum"] == ["on_image_deletion", "do_not_delete"]


def test_every_image_is_as_its_schema_says(embedded: Service) -> None:
    known = _schema(embedded, "image")["properties"]
    assert set(embedded.image(b"data")) <= set(known)


@pytest.mark.parametrize(
    ("name", "properties", "links"),
    [
        ("images", {"images", "first", "next", "schema"}, {"first": "{first}", "next": "{next}", "describedby": "{schema}"}),
        ("members", {"members", "schema"}, {"describedby": "{schema}"}),
        ("tasks", {"tasks", "schema"}, {"describedby": "{schema}"}),
    ],
)
def test_a_collection_holds_its_items_schema(embedded: Service, name: str, properties: set[str], links: dict[str, str]) -> None:
    schema = _schema(embedded, name)
    assert set(schema["properties"]) == properties
    assert {link["rel"]: link["href"] for link in schema["links"]} == links
    item = schema["properties"][name]
    assert (item["type"], item["items"]["name"]) == ("array", name.removesuffix("s"))


def test_the_schema_of_a_member_is_what_members_are(embedded: Service) -> None:
    schema = _schema(embedded, "member")
    assert set(schema["properties"]) == {"member_id", "image_id", "created_at", "updated_at", "status", "schema"}
    assert schema["properties"]["status"]["enum"] == ["pending", "accepted", "rejected"]


# -- stores that were ------------------------------------------------------------------------------------------------------------


def test_an_image_in_a_store_that_is_not_configured_any_more(named: Service) -> None:
    """It is shown and changed like others; its bytes cannot be had, and so not removed."""
    image = Image(new_id(), Status.ACTIVE, Visibility.PUBLIC, name="old", size=5, locations=[Location("rbd://pool/image")])
    _in_database(named, lambda registry: registry.create_image(image))
    path, rename = f"/v2/images/{image.id}", [{"op": "replace", "path": "/name", "value": "new"}]
    assert show(named, image.id, ADMIN)["stores"] == ""
    assert image.id in [found["id"] for found in named.ask("GET", "/v2/images?limit=1000", headers=ADMIN).json["images"]]
    assert patch(named, image.id, rename, ADMIN).json["name"] == "new"
    assert download(named, image.id, ADMIN).status == 404
    assert named.ask("DELETE", path, headers=ADMIN).status == 503
    assert show(named, image.id, ADMIN)["status"] == "active"
