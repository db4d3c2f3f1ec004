"""What holds for every address of the Images API v2 (contract C.1, C.2): versions, health, request ids, methods, errors."""

from __future__ import annotations

import pytest

from tests.functional.service import OCTET_STREAM, Service
from tests.functional.v2 import NOBODY, UUID, V21

SERVED = ["v2.7", "v2.5", "v2.4", "v2.3", "v2.2", "v2.1", "v2.0", "v1.1", "v1.0"]

ADDRESSES_OF_VERSIONS = [
    ("GET", "/", {}, 300),
    ("POST", "/", {}, 300),
    ("GET", "/versions", {}, 200),
    ("GET", "/v3/images", {}, 300),
    ("GET", "/v2.99/images", {}, 300),
    ("GET", "/v2.17/images", {}, 300),  # not served yet, so not known
    ("GET", "/images", {}, 300),
    ("GET", "/nothing", {}, 300),
    ("GET", "/images", {"Accept": "application/vnd.openstack.images-v9"}, 300),
]


@pytest.mark.parametrize(("method", "path", "headers", "status"), ADDRESSES_OF_VERSIONS)
def test_an_address_without_a_version_lists_those_that_are_served(
    embedded: Service, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = embedded.ask(method, path, headers=headers)
    assert answer.status == status
    assert answer.headers["content-type"].startswith("application/json")
    versions = answer.json["versions"]
    assert [entry["id"] for entry in versions] == SERVED
    assert versions[0] == {
        "id": "v2.7",
        "status": "CURRENT",
        "links": [{"rel": "self", "href": f"http://127.0.0.1:{embedded.port}/v2/"}],
    }
    assert {entry["status"] for entry in versions[1:7]} == {"SUPPORTED"}


@pytest.mark.parametrize("minor", ["v2", *SERVED[:7]])
def test_every_listed_minor_version_is_served(embedded: Service, minor: str) -> None:
    answer = embedded.ask("GET", f"/{minor}/images?limit=0")
    assert (answer.status, answer.json["images"]) == (200, [])


def test_the_version_may_stand_in_accept_instead_of_the_path(embedded: Service) -> None:
    answer = embedded.ask("GET", "/images?limit=0", headers={"Accept": "application/vnd.openstack.images-v2.3"})
    assert (answer.status, answer.json["schema"]) == (200, "/v2/schemas/images")


def test_the_bare_version_leads_to_its_address_with_a_slash(embedded: Service) -> None:
    answer = embedded.ask("GET", "/v2")
    assert (answer.status, answer.headers["location"]) == (302, f"http://127.0.0.1:{embedded.port}/v2/")


def test_the_endpoint_is_what_the_client_wrote(embedded: Service) -> None:
    spoofed = {"Host": "images.example:8080", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
    answer = embedded.ask("GET", "/versions", headers=spoofed)
    assert answer.json["versions"][0]["links"][0]["href"] == "http://images.example:8080/v2/"


HEALTH = [
    ("GET", "/healthcheck", 200, "text/plain", b"OK"),
    ("GET", "/healthcheck/", 200, "text/plain", b"OK"),
    ("HEAD", "/healthcheck", 204, "", b""),
    ("POST", "/healthcheck", 405, "", None),
]


@pytest.mark.parametrize(("method", "path", "status", "kind", "body"), HEALTH)
def test_health_is_answered_by_the_process_alone(
    embedded: Service, method: str, path: str, status: int, kind: str, body: bytes | None
) -> None:
    answer = embedded.ask(method, path)
    assert answer.status == status
    assert answer.headers.get("content-type", "").startswith(kind)
    assert body is None or answer.body == body


def test_readiness_names_what_it_looked_at(service: Service) -> None:
    answer = service.ask("GET", "/readiness")
    assert answer.status == 200
    assert answer.json["ready"] is True
    assert answer.json["checks"] == {"registry": "ok", "store:file": "ok", "store:http": "ok"}


@pytest.mark.parametrize(("url", "status"), [("/versions", 200), ("/v2/images?limit=0", 200), ("/v2/nothing", 404), ("/", 300)])
def test_a_whole_url_is_an_address_too(embedded: Service, url: str, status: int) -> None:
    """RFC 9112 3.2.2: as a proxy is asked."""
    assert embedded.ask("GET", f"http://images.example{url}").status == status


# -- request ids -----------------------------------------------------------------------------------------------------------------

REQUEST_IDS = [
    (None, 200, None),
    ("req-" + "a" * 60, 200, "req-" + "a" * 60),
    ("mine", 200, "req-mine"),
    ("a" * 65, 431, None),
    ("forged\tline", 200, None),
]


@pytest.mark.parametrize(("given", "status", "wanted"), REQUEST_IDS)
def test_every_answer_has_a_request_id(embedded: Service, given: str | None, status: int, wanted: str | None) -> None:
    answer = embedded.ask("GET", "/v2/images?limit=0", headers={"X-Openstack-Request-Id": given} if given else {})
    assert answer.status == status
    if wanted is not None:
        assert answer.headers["x-openstack-request-id"] == wanted
    elif status == 200:
        assert UUID.fullmatch(answer.headers["x-openstack-request-id"].removeprefix("req-"))


def test_an_error_has_a_request_id_too(embedded: Service) -> None:
    answer = embedded.ask("GET", f"/v2/images/{NOBODY}")
    assert (answer.status, answer.headers["x-openstack-request-id"][:4]) == (404, "req-")


# -- bodies ----------------------------------------------------------------------------------------------------------------------

WITHOUT_BODY = [
    ("GET", "/v2/images/{id}", 200),
    ("GET", "/v2/images/{id}/file", 204),
    ("GET", "/v2/images/{id}/members", 200),
    ("PUT", "/v2/images/{id}/tags/x", 204),
    ("DELETE", "/v2/images/{id}/tags/x", 204),
    ("POST", "/v2/images/{id}/actions/deactivate", 403),
    ("POST", "/v2/images/{id}/actions/reactivate", 403),
    ("GET", "/v2/schemas/image", 200),
    ("GET", "/v2/info/import", 200),
    ("GET", "/v2/info/usage", 200),
    ("DELETE", "/v2/images/{id}", 204),
]


@pytest.mark.parametrize(("method", "path", "status"), WITHOUT_BODY)
def test_a_body_that_nothing_reads_is_refused_and_an_empty_one_is_not_there(
    embedded: Service, method: str, path: str, status: int
) -> None:
    image = embedded.image(tags=["x"])
    address = path.replace("{id}", image["id"])
    refused = embedded.ask(method, address, b"{}", OCTET_STREAM)
    assert (refused.status, "A body is not expected" in refused.text) == (400, True)
    # What python-glanceclient sends with every request.
    assert embedded.ask(method, address, b"", {**OCTET_STREAM, "Content-Length": "0"}).status == status


def test_a_list_takes_a_body_and_forgets_it(embedded: Service) -> None:
    assert embedded.ask("GET", "/v2/images?limit=0", b"{}", OCTET_STREAM).status == 200


# -- addresses and methods -------------------------------------------------------------------------------------------------------

ALLOWED = [
    ("/v2/images", "GET, POST"),
    ("/v2/images/{id}", "GET, PATCH, DELETE"),
    ("/v2/images/{id}/file", "GET, PUT, HEAD"),
    ("/v2/images/{id}/actions/deactivate", "POST"),
    ("/v2/images/{id}/actions/reactivate", "POST"),
    ("/v2/images/{id}/tags/x", "PUT, DELETE"),
    ("/v2/images/{id}/members", "GET, POST"),
    ("/v2/images/{id}/members/m", "GET, PUT, DELETE"),
    ("/v2/info/import", "GET"),
    ("/v2/info/stores", "GET"),
    ("/v2/info/stores/detail", "GET"),
    ("/v2/info/usage", "GET"),
    ("/v2/schemas/image", "GET"),
]


@pytest.mark.parametrize("method", ["HEAD", "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(("path", "allowed"), ALLOWED)
def test_a_wrong_method_is_told_the_right_ones(embedded: Service, path: str, allowed: str, method: str) -> None:
    answer = embedded.ask(method, path.replace("{id}", NOBODY))
    if method in allowed.split(", "):
        assert answer.status != 405
    else:
        assert (answer.status, set(answer.headers["allow"].split(", "))) == (405, set(allowed.split(", ")))


@pytest.mark.parametrize("path", ["/", "/versions"])
def test_the_versions_have_an_empty_answer_to_options(embedded: Service, path: str) -> None:
    answer = embedded.ask("OPTIONS", path)
    assert (answer.status, answer.body, answer.headers["allow"]) == (204, b"", "GET")


NOTHING_THERE = [
    ("GET", "/v2/"),
    ("GET", "/v2/nothing"),
    ("GET", "/v2/images/"),
    ("DELETE", "/v2/images/"),
    ("GET", f"/v2/images/{NOBODY}/nothing"),
    ("GET", f"/v2/images/{NOBODY}/"),
    ("GET", f"/v2/images/{NOBODY}/members/"),
    ("PUT", f"/v2/images/{NOBODY}/tags/"),
    ("POST", f"/v2/images/{NOBODY}/actions/explode"),
    ("GET", "/v2/schemas/nothing"),
    ("GET", "/v2/info"),
    ("GET", "/v2/images/a-name-and-no-id"),  # how openstacksdk looks for one
]


@pytest.mark.parametrize(("method", "path"), NOTHING_THERE)
def test_an_unknown_address_is_not_found(embedded: Service, method: str, path: str) -> None:
    assert embedded.ask(method, path).status == 404


@pytest.mark.parametrize("path", [f"/v2/images/{NOBODY}/tags/%ff", "/v2/images?name=%ff", "/v1/images?name=a%ffb"])
def test_bytes_in_an_address_that_are_no_text_are_refused(embedded: Service, path: str) -> None:
    assert embedded.ask("PUT" if "tags" in path else "GET", path).status == 400


NOT_FOUND_EVERYWHERE: list[tuple[str, str, object, dict[str, str]]] = [
    ("GET", "", None, {}),
    ("PATCH", "", [], V21),
    ("DELETE", "", None, {}),
    ("GET", "/file", None, {}),
    ("PUT", "/file", b"x", OCTET_STREAM),
    ("POST", "/actions/deactivate", None, {}),
    ("POST", "/actions/reactivate", None, {}),
    ("PUT", "/tags/x", None, {}),
    ("DELETE", "/tags/x", None, {}),
    ("GET", "/members", None, {}),
    ("POST", "/members", {"member": "m"}, {}),
    ("GET", "/members/m", None, {}),
    ("PUT", "/members/m", {"status": "accepted"}, {}),
    ("DELETE", "/members/m", None, {}),
]


@pytest.mark.parametrize(("method", "rest", "body", "headers"), NOT_FOUND_EVERYWHERE)
def test_an_unknown_and_a_deleted_image_are_not_found(
    service: Service, method: str, rest: str, body: object, headers: dict[str, str]
) -> None:
    deleted = service.image()["id"]
    assert service.ask("DELETE", f"/v2/images/{deleted}").status == 204
    for image_id in (NOBODY, deleted):
        answer = service.ask(method, f"/v2/images/{image_id}{rest}", body, headers)
        assert answer.status == 404
        assert image_id in answer.text


# -- the form of errors ----------------------------------------------------------------------------------------------------------

FORMS = [
    (None, "text/plain"),
    ("", "application/json"),  # ours: openstacksdk's PATCH, which shows its user no plain text
    ("text/plain", "text/plain"),
    ("*/*", "text/html"),
    ("text/html", "text/html"),
    ("application/json", "application/json"),
    ("application/json, */*;q=0.5", "application/json"),
    ("image/png", "text/plain"),
]


@pytest.mark.parametrize(("accept", "kind"), FORMS)
def test_accept_chooses_the_form_of_an_error(embedded: Service, accept: str | None, kind: str) -> None:
    answer = embedded.ask("GET", f"/v2/images/{NOBODY}", headers={} if accept is None else {"Accept": accept})
    assert answer.status == 404
    assert answer.headers["content-type"].split(";")[0] == kind
    sentence = f"No image found with ID {NOBODY}"
    if kind == "application/json":
        assert sentence in answer.json["message"]
        assert (answer.json["code"], answer.json["title"]) == ("404 Not Found", "Not Found")
    else:
        assert "404 Not Found" in answer.text
        assert sentence in answer.text


def test_what_a_client_wrote_is_no_markup_in_the_answer(embedded: Service) -> None:
    answer = embedded.ask("GET", "/v2/images/%3Cscript%3E", headers={"Accept": "text/html"})
    assert (answer.status, "<script>" in answer.text, "&lt;script&gt;" in answer.text) == (404, False, True)
