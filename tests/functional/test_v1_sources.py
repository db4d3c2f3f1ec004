"""Images API v1, contract A.7 to A.9: bytes that lie on a web server, by location and by copy-from."""

from __future__ import annotations

import http.client
import uuid
from collections.abc import Iterator

import pytest

from tests.functional.running import eventually
from tests.functional.service import Answer, Service
from tests.functional.v1 import (
    DATA,
    MD5,
    RAW,
    Headers,
    Web,
    files_of,
    head,
    listed,
    make,
    post,
    put,
    state,
    status_becomes,
    web_server,
)
from tests.ports import free_port


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    """A web server that images come from."""
    with web_server() as server:
        yield server


def _copy(url: str) -> Headers:
    return {"x-glance-api-copy-from": url}


# -- location --------------------------------------------------------------------------------------------------------------


def test_a_location_is_active_at_once_and_read_from_there(service: Service, web: Web) -> None:
    image = make(service, location=web.url("/data"), **RAW)
    assert (image["status"], image["size"], image["checksum"]) == ("active", 64, None)
    answer = service.ask("GET", f"/v1/images/{image['id']}")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, DATA, "64")
    assert "etag" not in answer.headers
    assert files_of(service, image["id"]) == []


@pytest.mark.parametrize("path", ["/v1/images/{}", "/v2/images/{}/file"])
def test_a_location_that_breaks_off_is_no_whole_image(service: Service, web: Web, path: str) -> None:
    """Not even with the answer to an error in the place of the rest."""
    image = make(service, location=web.url("/cut"), **RAW)
    with pytest.raises(http.client.IncompleteRead) as cut:
        service.ask("GET", path.format(image["id"]))
    assert cut.value.partial == DATA[:10]
    eventually(lambda: "stopped in the middle" in service.log, "the log says why")


def test_a_size_of_0_says_nothing_of_a_location(service: Service, web: Web) -> None:
    assert make(service, location=web.url("/data"), size=0, **RAW)["size"] == 64


def test_a_location_is_never_shown(service: Service, web: Web) -> None:
    answer = post(service, location=web.url("/data"), **RAW)
    image_id = answer.json["image"]["id"]
    page = service.ask("GET", "/v1/images/detail?is_public=none&limit=1")
    for found in (answer, put(service, image_id, name="x"), head(service, image_id), page):
        assert web.url("/data").encode() not in found.body
        assert "x-image-meta-location" not in found.headers
        assert "location_data" not in found.text


def test_what_is_said_of_a_location_is_believed_as_far_as_it_cannot_be_checked(service: Service, web: Web) -> None:
    image = make(service, location=web.url("/data"), size=64, checksum="b" * 32, **RAW)
    assert (image["size"], image["checksum"]) == (64, "b" * 32)


def test_the_bytes_at_a_location_outlive_the_image(service: Service, web: Web) -> None:
    image = make(service, location=web.url("/data"), **RAW)
    assert service.ask("DELETE", f"/v1/images/{image['id']}").status == 200
    assert state(service, image["id"]) == "deleted"
    again = make(service, location=web.url("/data"), **RAW)
    assert service.ask("GET", f"/v1/images/{again['id']}").body == DATA


def test_a_queued_image_gets_a_location(service: Service, web: Web) -> None:
    image = make(service)
    answer = put(service, image["id"], location=web.url("/data"), **RAW)
    assert (answer.status, answer.json["image"]["status"], answer.json["image"]["size"]) == (200, "active", 64)
    assert service.ask("GET", f"/v1/images/{image['id']}").body == DATA


@pytest.mark.parametrize("source", ["location", "copy_from"])
def test_an_image_that_has_bytes_gets_no_other_source(service: Service, web: Web, source: str) -> None:
    image = make(service, DATA)
    answer = put(service, image["id"], None, None, **{source: web.url("/data")})
    assert answer.status == 400
    assert "Attempted to update Location field for an image not in queued status." in answer.text


# -- copy-from -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["x-glance-api-copy-from", "x-image-meta-copy_from", "X-Image-Meta-Copy-From"])
def test_copy_from_makes_a_queued_image_active_in_the_background(embedded: Service, web: Web, header: str) -> None:
    answer = post(embedded, headers={header: web.url("/data")}, **RAW)
    image = answer.json["image"]
    assert (answer.status, image["status"], image["size"]) == (201, "queued", 64)
    status_becomes(embedded, image["id"], "active")
    found = embedded.ask("GET", f"/v1/images/{image['id']}")
    assert (found.body, found.headers["etag"], found.headers["x-image-meta-size"]) == (DATA, MD5, "64")
    assert len(files_of(embedded, image["id"])) == 1


def test_copy_from_fills_an_image_that_was_queued(service: Service, web: Web) -> None:
    image = make(service, **RAW)
    assert put(service, image["id"], headers=_copy(web.url("/data"))).status == 200
    status_becomes(service, image["id"], "active")
    assert service.ask("GET", f"/v1/images/{image['id']}").body == DATA


def test_a_copy_with_the_wrong_checksum_is_killed(service: Service, web: Web) -> None:
    answer = post(service, headers=_copy(web.url("/data")), checksum="a" * 32, **RAW)
    assert answer.status == 201
    status_becomes(service, answer.json["image"]["id"], "killed")
    assert files_of(service, answer.json["image"]["id"]) == []


@pytest.mark.parametrize("path", ["/cut", "/short"])
def test_a_copy_that_breaks_off_is_killed_and_leaves_no_bytes(service: Service, web: Web, path: str) -> None:
    """Also where only HEAD tells how long it is, so that the end of the connection looks like the end of the bytes."""
    image = make(service, headers=_copy(web.url(path)), **RAW)
    status_becomes(service, image["id"], "killed")
    assert files_of(service, image["id"]) == []
    assert service.ask("GET", f"/v1/images/{image['id']}").status == 404


def test_an_image_that_is_deleted_while_it_is_copied_leaves_no_bytes(service: Service) -> None:
    with web_server() as web:
        image = make(service, headers=_copy(web.url("/wait")), **RAW)
        status_becomes(service, image["id"], "saving")
        assert service.ask("DELETE", f"/v1/images/{image['id']}").status == 200
        web.go.set()
    eventually(lambda: files_of(service, image["id"]) == [], "its bytes are gone")
    assert state(service, image["id"]) == "deleted"


# -- refusals --------------------------------------------------------------------------------------------------------------

SCHEMES = (
    "file:///etc/passwd", "FILE:///etc/passwd", "filesystem:///etc/passwd", "swift+config://ref/c/o", "swift://u:k@h/c/o", "s3://b/k",
    "rbd://p/i", "cinder://x", "ftp://127.0.0.1/x", "nope://x", "not a url", "/etc/passwd", "//127.0.0.1/x", "data:,x",
)  # fmt: skip


def _ask(service: Service, source: str, url: str, image_id: str) -> Answer:
    return post(service, None, None, id=image_id, **{source: url}, **RAW)


def _nothing_is_left(service: Service, image_id: str) -> None:
    assert state(service, image_id) == "absent"
    assert files_of(service, image_id) == []


@pytest.mark.parametrize("source", ["location", "copy_from"])
@pytest.mark.parametrize("url", SCHEMES)
def test_only_http_is_read_from(embedded: Service, source: str, url: str) -> None:
    image_id = str(uuid.uuid4())
    answer = _ask(embedded, source, url, image_id)
    assert answer.status == 400
    assert "External sources are not supported" in answer.text
    _nothing_is_left(embedded, image_id)


@pytest.mark.parametrize("source", ["location", "copy_from"])
def test_a_server_that_does_not_answer_is_a_400_before_anything_is_registered(embedded: Service, source: str) -> None:
    image_id = str(uuid.uuid4())
    answer = _ask(embedded, source, f"http://127.0.0.1:{free_port()}/data", image_id)
    assert answer.status == 400
    assert "The HTTP URL is invalid" in answer.text
    _nothing_is_left(embedded, image_id)


@pytest.mark.parametrize("source", ["location", "copy_from"])
@pytest.mark.parametrize(
    "url", ["http://", "http:///x", "http://127.0.0.1:99999/x", "http://a b/", "http://169.254.169.254/latest"]
)
def test_a_url_that_leads_nowhere_is_a_400(embedded: Service, source: str, url: str) -> None:
    image_id = str(uuid.uuid4())
    assert _ask(embedded, source, url, image_id).status == 400
    _nothing_is_left(embedded, image_id)


@pytest.mark.parametrize("source", ["location", "copy_from"])
def test_bytes_that_are_not_there_are_a_404_that_leaves_nothing(embedded: Service, web: Web, source: str) -> None:
    image_id = str(uuid.uuid4())
    assert _ask(embedded, source, web.url("/nothing"), image_id).status == 404
    _nothing_is_left(embedded, image_id)


@pytest.mark.parametrize("source", ["location", "copy_from"])
def test_bytes_of_unknown_number_are_a_400_that_leaves_nothing(embedded: Service, web: Web, source: str) -> None:
    image_id = str(uuid.uuid4())
    answer = _ask(embedded, source, web.url("/no-length"), image_id)
    assert (answer.status, "does not say how many bytes" in answer.text) == (400, True)
    _nothing_is_left(embedded, image_id)


def test_a_size_that_the_location_does_not_have_is_a_409_that_leaves_nothing(service: Service, web: Web) -> None:
    image_id = str(uuid.uuid4())
    assert post(service, id=image_id, location=web.url("/data"), size=63, **RAW).status == 409
    _nothing_is_left(service, image_id)


def test_a_location_needs_formats(service: Service, web: Web) -> None:
    image_id = str(uuid.uuid4())
    answer = post(service, id=image_id, location=web.url("/data"), disk_format="raw")
    assert answer.status == 400
    assert "nvalid container format 'None' for image" in answer.text
    _nothing_is_left(service, image_id)
    image = make(service)
    assert put(service, image["id"], location=web.url("/data")).status == 400
    assert state(service, image["id"]) == "queued"


def test_a_copy_needs_none(service: Service, web: Web) -> None:
    image = make(service, headers=_copy(web.url("/data")))
    status_becomes(service, image["id"], "active")
    assert service.ask("GET", f"/v1/images/{image['id']}").body == DATA


@pytest.mark.parametrize("headers", [_copy("file:///etc/passwd"), _copy("http://127.0.0.1:99999/x"), _copy("")])
def test_a_refused_copy_changes_nothing(embedded: Service, headers: Headers) -> None:
    image = make(embedded, **RAW)
    assert put(embedded, image["id"], None, headers, name="other").status == 400
    assert listed(embedded, f"name={image['name']}", kind="images/detail") == [image]


def test_the_size_that_the_server_says_counts_for_a_copy(service: Service, web: Web) -> None:
    image = make(service, headers=_copy(web.url("/data")), size=7, **RAW)
    assert image["size"] == 64
    status_becomes(service, image["id"], "active")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://127.0.0.1:99999/x"])
def test_a_refused_location_changes_nothing(embedded: Service, url: str) -> None:
    image = make(embedded)
    assert put(embedded, image["id"], location=url, name="other").status == 400
    assert listed(embedded, f"name={image['name']}", kind="images/detail") == [image]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "filesystem:///x", "http://127.0.0.1:99999/x", "http://[::1", "not a url"])
def test_a_refused_copy_into_a_queued_image_changes_nothing(service: Service, url: str) -> None:
    image = make(service)
    answer = put(service, image["id"], headers=_copy(url), name="other", **RAW)
    assert answer.status == 400
    assert listed(service, f"name={image['name']}", kind="images/detail") == [image]


def test_the_stores_own_files_cannot_be_copied(service: Service) -> None:
    secret = make(service, b"somebody's image", **RAW)
    image = make(service)
    url = f"file://{service.images}/{secret['id']}"
    assert put(service, image["id"], headers=_copy(url), **RAW).status == 400
    assert put(service, image["id"], location=url, **RAW).status == 400
    assert state(service, image["id"]) == "queued"


@pytest.mark.parametrize("path", ["/v1/images/{}", "/v2/images/{}/file"])
def test_a_location_whose_server_has_gone_is_a_503_and_not_an_empty_image(service: Service, path: str) -> None:
    with web_server() as web:
        image = make(service, location=web.url("/data"), **RAW)
    assert service.ask("GET", path.format(image["id"])).status == 503
    assert state(service, image["id"]) == "active"
