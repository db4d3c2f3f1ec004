"""Contract part B beside part A: image-registry as a process, asked as by an old glance-api, and image-api on the same images."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.conftest import running
from tests.functional.service import Service
from tests.functional.v1 import DATA, DETAIL_KEYS, INDEX_KEYS, MD5, RAW, head, listed, make, post, put, state, unique

MICROSECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}")
JSON = "application/json; charset=UTF-8"


@pytest.fixture(params=["remote-sqlite", "remote-mariadb"])
def both(
    request: pytest.FixtureRequest, services: dict[tuple[str, str], Service], tmp_path_factory: pytest.TempPathFactory
) -> Service:
    """image-api and image-registry as two processes."""
    return running(request.param, "open", request, services, tmp_path_factory)


def _registered(service: Service, **values: object) -> dict[str, Any]:
    """An image that the registry was told of."""
    answer = service.ask_registry("POST", "/images", {"image": {"name": unique(), "status": "queued", **values}})
    assert (answer.status, answer.headers["content-type"]) == (200, JSON)
    image: dict[str, Any] = answer.json["image"]
    return image


def _known(service: Service, image_id: str) -> dict[str, Any]:
    answer = service.ask_registry("GET", f"/images/{image_id}")
    assert (answer.status, answer.headers["content-type"]) == (200, JSON)
    image: dict[str, Any] = answer.json["image"]
    return image


def _change(service: Service, image_id: str, state: str | None, **values: object) -> dict[str, Any]:
    """As an old glance-api: with the status that it believes the image to have."""
    headers = {"X-Glance-Registry-Purge-Props": "false"}
    answer = service.ask_registry("PUT", f"/images/{image_id}", {"from_state": state, "image": values}, headers)
    assert answer.status == 200, answer.text
    image: dict[str, Any] = answer.json["image"]
    return image


def test_the_registry_knows_of_an_image_what_the_api_shows_and_where_it_is(both: Service) -> None:
    image = make(both, DATA, property_os="deb", is_public="True", min_ram=5)
    known = _known(both, image["id"])
    assert set(known) == DETAIL_KEYS | {"location", "location_data"}
    assert {key: known[key] for key in DETAIL_KEYS - {"virtual_size"}} == {
        key: image[key] for key in DETAIL_KEYS - {"virtual_size"}
    }
    assert known["location"] == f"file://{both.images}/{image['id']}"
    (location,) = known["location_data"]
    assert set(location) == {"url", "metadata", "status", "id"}
    assert (location["url"], location["status"], type(location["id"])) == (known["location"], "active", int)


def test_an_image_without_bytes_has_a_size_of_null_in_the_registry(both: Service) -> None:
    image = _registered(both)
    assert (image["size"], image["location"], image["location_data"]) == (None, None, [])
    assert all(MICROSECONDS.fullmatch(image[key]) for key in ("created_at", "updated_at"))
    assert head(both, image["id"]).headers["x-image-meta-size"] == "0"


def test_the_lists_of_both_have_the_same_images(both: Service) -> None:
    name = unique()
    made = [make(both, name=name, is_public="True")["id"], _registered(both, name=name, is_public=True)["id"]]
    for path in ("/images", "/", "/images/detail"):
        answer = both.ask_registry("GET", f"{path}?name={name}")
        assert answer.headers["content-type"] == JSON
        assert [image["id"] for image in answer.json["images"]] == made[::-1]
        assert set(answer.json["images"][0]) == (DETAIL_KEYS | {"location", "location_data"} if "detail" in path else INDEX_KEYS)
    assert [image["id"] for image in listed(both, f"name={name}")] == made[::-1]


def test_an_upload_of_an_old_glance_api_is_read_through_ours(both: Service) -> None:
    image = _registered(both, size=0, **RAW)
    assert _change(both, image["id"], None, status="saving")["status"] == "saving"
    assert state(both, image["id"]) == "saving"
    (both.images / image["id"]).write_bytes(DATA)
    url = f"file://{both.images}/{image['id']}"
    _change(both, image["id"], "saving", checksum=MD5, size=64)
    data = [{"url": url, "metadata": {}, "status": "active"}]
    active = _change(both, image["id"], "saving", status="active", location=url, location_data=data)
    assert (active["status"], active["location"], len(active["location_data"])) == ("active", url, 1)
    answer = both.ask("GET", f"/v1/images/{image['id']}")
    assert (answer.body, answer.headers["etag"]) == (DATA, MD5)
    assert both.ask("DELETE", f"/v1/images/{image['id']}").status == 200
    assert not (both.images / image["id"]).exists()


def test_an_upload_notices_that_its_image_was_deleted(both: Service) -> None:
    image = _registered(both, **RAW)
    _change(both, image["id"], None, status="saving")
    assert both.ask("DELETE", f"/v1/images/{image['id']}").status == 200
    late = {"from_state": "saving", "image": {"status": "active"}}
    answer = both.ask_registry("PUT", f"/images/{image['id']}", late)
    assert (answer.status, "Image operation conflicts" in answer.text) == (409, True)
    assert state(both, image["id"]) == "deleted"


def test_a_delete_of_an_old_glance_api_is_seen_by_ours(both: Service) -> None:
    image = _registered(both, properties={"a": "b"})
    _change(both, image["id"], None, status="deleted")
    answer = both.ask_registry("DELETE", f"/images/{image['id']}")
    assert (answer.status, answer.json["image"]["deleted"], answer.json["image"]["properties"]) == (200, True, {})
    assert head(both, image["id"]).headers["x-image-meta-deleted"] == "True"
    assert listed(both, f"name={image['name']}&is_public=none") == []
    assert post(both, id=image["id"]).status == 409


@pytest.mark.parametrize("status", ["pending_delete", "deleted"])
def test_what_an_old_glance_api_is_about_to_delete_is_in_no_list(both: Service, status: str) -> None:
    image = _registered(both, is_public=True)
    _change(both, image["id"], None, status=status)
    assert head(both, image["id"]).headers["x-image-meta-deleted"] == str(status == "pending_delete")
    assert listed(both, f"name={image['name']}&is_public=none") == []
    assert both.ask("GET", f"/v2/images?name={image['name']}").json["images"] == []


@pytest.mark.parametrize("visibility", ["private", "community"])
def test_not_public_says_nothing_to_what_is_not_public(both: Service, visibility: str) -> None:
    image_id = both.image(visibility=visibility)["id"]
    assert _change(both, image_id, None, is_public=False)["is_public"] is False
    assert both.ask("GET", f"/v2/images/{image_id}").json["visibility"] == visibility


def test_members_are_the_same_on_both_sides(both: Service) -> None:
    image, project = make(both), unique()
    shared = {"shared_images": [{"image_id": image["id"], "can_share": True}]}
    answer = both.ask_registry("PUT", f"/images/{image['id']}/members/{project}", {"member": {"can_share": True}})
    assert (answer.status, answer.body) == (204, b"")
    assert (
        both.ask("GET", f"/v1/shared-images/{project}").json
        == shared
        == both.ask_registry("GET", f"/shared-images/{project}").json
    )
    assert both.ask("DELETE", f"/v1/images/{image['id']}/members/{project}").status == 204
    assert both.ask_registry("GET", f"/images/{image['id']}/members").json == {"members": []}


def test_properties_stay_where_the_registry_is_asked_and_go_where_the_api_is(both: Service) -> None:
    image = make(both, property_a="1")
    assert _change(both, image["id"], None, properties={"b": "2"})["properties"] == {"a": "1", "b": "2"}
    changed = put(both, image["id"], headers={"x-glance-registry-purge-props": "true"}, property_c="3")
    assert changed.json["image"]["properties"] == {"c": "3"} == _known(both, image["id"])["properties"]


# method, path, body, status, form of the answer
ERRORS: list[tuple[str, str, Any, int]] = [
    ("POST", "/images", None, 400),
    ("POST", "/images", b"no JSON", 400),
    ("POST", "/images", {"name": "x"}, 400),
    ("POST", "/images", {"image": {"id": "no-uuid"}}, 400),
    ("POST", "/images", {"image": {"id": "{id}"}}, 409),
    ("POST", "/images", {"image": {"status": "nonsense"}}, 400),
    ("PUT", "/images/{id}", None, 400),
    ("PUT", "/images/{id}", {"image": {"status": "nonsense"}}, 400),
    ("PUT", "/images/{id}", {"from_state": "saving", "image": {}}, 409),
    ("PUT", "/images/no-uuid", {"image": {}}, 404),
    ("GET", "/images/no-uuid", None, 404),
    ("DELETE", "/images/no-uuid", None, 404),
    ("PUT", "/images/{id}/members/m", {"member": {}}, 400),
    ("PUT", "/images/{id}/members", {"memberships": [{}]}, 400),
    ("DELETE", "/images/{id}/members/nobody", None, 404),
    ("GET", "/images?limit=x", None, 400),
    ("GET", "/v1/images", None, 404),
    ("HEAD", "/images/{id}", None, 404),
    ("PATCH", "/images/{id}", None, 404),
    ("POST", "/images/detail", None, 404),
    ("GET", "/images/{id}/members/m", None, 405),
    ("POST", "/images/{id}/members", None, 405),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), ERRORS)
def test_the_registry_refuses_and_changes_nothing(both: Service, method: str, path: str, body: Any, status: int) -> None:
    image = _registered(both)
    sent = {"image": {"id": image["id"]}} if body == {"image": {"id": "{id}"}} else body
    answer = both.ask_registry(method, path.replace("{id}", image["id"]), sent, {"Accept": "*/*"})
    assert answer.status == status, answer.text
    assert answer.headers["x-openstack-request-id"].startswith("req-")
    assert answer.headers.get("allow") == ("PUT, DELETE" if status == 405 else None)
    if method != "HEAD":
        assert answer.headers["content-type"] == "text/html; charset=UTF-8"
        assert f"<h1>{status} " in answer.text
    assert _known(both, image["id"]) == image


@pytest.mark.parametrize("length", [60, 64])
def test_the_longest_request_id_reaches_the_registry(both: Service, length: int) -> None:
    """image-api puts four characters in front of an id that has 64, which is the most that the registry takes from others."""
    answer = both.ask("GET", "/v2/images?limit=1", headers={"X-Openstack-Request-Id": "a" * length})
    assert (answer.status, answer.headers["x-openstack-request-id"]) == (200, "req-" + "a" * length)
