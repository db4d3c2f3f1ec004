"""Images API v1, contract A.1 and A.2: how a client finds the version, which addresses there are, and what ``Allow`` says."""

from __future__ import annotations

import re

import pytest

from tests.conftest import running
from tests.functional.service import Service
from tests.functional.v1 import listed, make

REQUEST_ID = re.compile(r"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
V1 = {"Accept": "application/vnd.openstack.images-v1"}

# method, path, headers, wanted status, what the body is
ADDRESSES = [
    ("GET", "/", {}, 300, "versions"),
    ("GET", "/versions", {}, 200, "versions"),
    ("GET", "/v3/anything", {}, 300, "versions"),
    ("GET", "/v1.2/images", {}, 300, "versions"),
    ("GET", "/images", {}, 300, "versions"),
    ("GET", "/images", {"Accept": "application/vnd.openstack.images-v9"}, 300, "versions"),
    ("GET", "/versions", {"Accept": "application/vnd.openstack.images-v1"}, 200, "versions"),
    ("GET", "/versions", {"Accept": "application/vnd.openstack.images-v2.3"}, 200, "versions"),
    ("GET", "/nothing", {}, 300, "versions"),
    ("POST", "/", {}, 300, "versions"),
    ("GET", "/v1", {}, 302, ""),
    ("GET", "/v1/", {}, 200, "images"),
    ("GET", "/v1.0/", {}, 200, "images"),
    ("GET", "/v1/images", {}, 200, "images"),
    ("GET", "/v1.0/images", {}, 200, "images"),
    ("GET", "/v1.1/images", {}, 200, "images"),
    ("GET", "/v1/images/detail", {}, 200, "images"),
    ("GET", "/v1.1/images/detail", {}, 200, "images"),
    ("GET", "/v1//images", {}, 200, "images"),
    ("GET", "//v1/images", {}, 200, "images"),
    ("GET", "/images", V1, 200, "images"),
    ("GET", "/images/detail", V1, 200, "images"),
    ("GET", "/images", {"Accept": "application/vnd.openstack.images-v1.0"}, 200, "images"),
    ("GET", "/images", {"Accept": "application/vnd.openstack.images-v1.1"}, 200, "images"),
    ("GET", "/v1/images", {"Accept": "application/xml"}, 200, "images"),
    ("GET", "/v1/nothing", {}, 404, ""),
    ("GET", "/v1/images/", {}, 404, ""),
    ("GET", "/v1/images/new", {}, 404, ""),
    ("GET", "/v1/images.json", {}, 404, ""),
    ("GET", "/v1/images/detail.json", {}, 404, ""),
    ("GET", "/v1/images/{id}/", {}, 404, ""),
    ("GET", "/v1/images/{id}/nothing", {}, 404, ""),
    ("GET", "/v1/cached_images", {}, 404, ""),
    ("GET", "/v1/queued_images", {}, 404, ""),
    ("GET", "/v1/shared-images/nobody", {}, 200, "shared_images"),
    ("POST", "/v1/shared-images/nobody", {}, 200, "shared_images"),
    ("GET", "/v1/images/{id}/members", {}, 200, "members"),
]

# method, path, wanted Allow (None: no such header)
WRONG_METHODS = [
    *((method, "/v1/images", "GET, POST") for method in ("HEAD", "PUT", "DELETE", "PATCH")),
    *((method, "/v1/images/detail", "GET, HEAD") for method in ("POST", "PUT", "DELETE", "PATCH")),
    ("HEAD", "/v1/images/detail", "GET"),
    *((method, "/v1/images/{id}", "GET, HEAD, PUT, DELETE") for method in ("POST", "PATCH")),
    *((method, "/v1/images/{id}/members", "GET, PUT") for method in ("POST", "HEAD", "DELETE", "PATCH")),
    *((method, "/v1/images/{id}/members/m", "GET, PUT, DELETE") for method in ("POST", "HEAD", "PATCH")),
    ("GET", "/v1/images/{id}/members/m", None),
]


@pytest.fixture(scope="module")
def image_id() -> dict[int, str]:
    """The image that the addresses name, by the port of its service."""
    return {}


def _path(service: Service, made: dict[int, str], path: str) -> str:
    if "{id}" in path and service.port not in made:
        made[service.port] = make(service)["id"]
    return path.replace("{id}", made.get(service.port, ""))


@pytest.mark.parametrize(("method", "path", "headers", "status", "body"), ADDRESSES)
def test_an_address_answers(
    embedded: Service, image_id: dict[int, str], method: str, path: str, headers: dict[str, str], status: int, body: str
) -> None:
    answer = embedded.ask(method, _path(embedded, image_id, path), headers=headers)
    assert answer.status == status
    if body:
        assert set(answer.json) == {body}
        assert answer.headers["content-type"].startswith("application/json")


@pytest.mark.parametrize(("method", "path", "allow"), WRONG_METHODS)
def test_a_wrong_method_is_told_the_right_ones(
    embedded: Service, image_id: dict[int, str], method: str, path: str, allow: str | None
) -> None:
    answer = embedded.ask(method, _path(embedded, image_id, path))
    assert answer.status == 405
    assert answer.headers.get("allow") == allow


@pytest.mark.parametrize(
    ("method", "status", "allow"), [("BREW", 400, None), ("OPTIONS", 405, "GET, POST"), ("TRACE", 405, "GET, POST")]
)
def test_a_verb_that_nobody_knows_is_refused(embedded: Service, method: str, status: int, allow: str | None) -> None:
    answer = embedded.ask(method, "/v1/images")
    assert (answer.status, answer.headers.get("allow")) == (status, allow)


def test_the_slash_is_added_to_v1(embedded: Service) -> None:
    answer = embedded.ask("GET", "/v1")
    assert answer.headers["location"] == f"http://127.0.0.1:{embedded.port}/v1/"


def test_the_index_is_the_list(service: Service) -> None:
    image = make(service)
    assert image["id"] in [found["id"] for found in listed(service, "limit=1", kind="")]


@pytest.mark.parametrize("host", ["images.example.org:9292", "10.1.2.3"])
def test_the_versions_link_to_the_host_that_was_asked(embedded: Service, host: str) -> None:
    versions = embedded.ask("GET", "/", headers={"Host": host}).json["versions"]
    hrefs = {version["id"]: version["links"][0]["href"] for version in versions}
    assert hrefs["v1.0"] == hrefs["v1.1"] == f"http://{host}/v1/"
    assert hrefs["v2.0"] == hrefs["v2.2"] == f"http://{host}/v2/"
    assert all(version["links"][0]["rel"] == "self" for version in versions)
    assert all(set(version) == {"id", "status", "links"} for version in versions)
    assert {v["id"]: v["status"] for v in versions if v["id"].startswith("v1")} == {"v1.1": "CURRENT", "v1.0": "SUPPORTED"}


@pytest.mark.parametrize("path", ["/v1/images", "/v1/nothing", "/v1/images/0c8a5ae5-3f6c-4d0f-8e0b-2f6d1f5a7c11"])
def test_every_answer_has_a_request_id(embedded: Service, path: str) -> None:
    assert REQUEST_ID.fullmatch(embedded.ask("GET", path).headers["x-openstack-request-id"])


@pytest.mark.parametrize(("disabled", "gone", "left"), [("v1", "/v1/images", "/v2/images"), ("v2", "/v2/images", "/v1/images")])
def test_an_api_that_is_disabled_answers_with_the_versions(
    request: pytest.FixtureRequest,
    services: dict[tuple[str, str], Service],
    tmp_path_factory: pytest.TempPathFactory,
    disabled: str,
    gone: str,
    left: str,
) -> None:
    service = running("sqlite", f"no-{disabled}", request, services, tmp_path_factory, f"enable_{disabled}_api = False")
    answer = service.ask("GET", gone)
    assert answer.status == 300
    assert not [version for version in answer.json["versions"] if version["id"].startswith(disabled)]
    assert service.ask("GET", left).status == 200
