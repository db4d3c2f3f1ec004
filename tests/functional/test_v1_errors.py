"""Images API v1, contract A.9: the form of an error, and requests that are wrong in themselves."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import uuid
from collections.abc import Callable

import pytest

from tests.functional.running import PATIENCE
from tests.functional.service import OCTET_STREAM, Answer, Service
from tests.functional.v1 import DATA, MD5, RAW, files_of, head, make, meta, post, put, state

GONE = "11111111-2222-3333-4444-555555555555"
MANY = {f"x-image-meta-property-p{number}": "x" for number in range(129)}

Cause = Callable[[Service, dict[str, str]], Answer]


def _conflict(service: Service, headers: dict[str, str]) -> Answer:
    return post(service, headers=headers, id=make(service)["id"])


def _protected(service: Service, headers: dict[str, str]) -> Answer:
    return service.ask("DELETE", f"/v1/images/{make(service, protected='True')['id']}", headers=headers)


def _queued(service: Service, headers: dict[str, str]) -> Answer:
    return service.ask("GET", f"/v1/images/{make(service)['id']}", headers=headers)


# what causes an error, status line, sentence
CAUSES: list[tuple[Cause, str, str]] = [
    (lambda s, h: s.ask("POST", "/v1/images", headers={**h, **meta(bogus=1)}), "400 Bad Request", "Bad header: x-image-meta"),
    (lambda s, h: post(s, DATA, h, size=7), "400 Bad Request", "did not match"),
    (lambda s, h: s.ask("GET", "/v1/images?limit=x", headers=h), "400 Bad Request", "limit"),
    (lambda s, h: s.ask("GET", f"/v1/images/{GONE}", headers=h), "404 Not Found", GONE),
    (lambda s, h: s.ask("DELETE", f"/v1/images/{GONE}", headers=h), "404 Not Found", GONE),
    (lambda s, h: s.ask("GET", "/v1/nothing", headers=h), "404 Not Found", "nothing at this address"),
    (_queued, "404 Not Found", "is not active"),
    (_protected, "403 Forbidden", "is protected"),
    (lambda s, h: s.ask("PATCH", "/v1/images", headers=h), "405 Method Not Allowed", "GET, POST"),
    (_conflict, "409 Conflict", ""),
    (lambda s, h: post(s, DATA, h, store="http"), "410 Gone", "Adding images to store is disabled"),
    (lambda s, h: post(s, headers={**h, **MANY}), "413 Request Entity Too Large", "Attempted: 129, Maximum: 128"),
]  # fmt: skip


def _sentence(answer: Answer) -> str:
    """The text of an error as a client shows it: glanceclient strips the tags of HTML."""
    if answer.headers["content-type"].startswith("application/json"):
        return str(answer.json["message"])
    return re.sub("<[^>]*>", " ", answer.text)


@pytest.mark.parametrize(("cause", "title", "sentence"), CAUSES)
@pytest.mark.parametrize("accept", [None, "*/*", "text/html", "text/plain", "application/json"])
def test_every_error_says_what_is_wrong_in_every_form(
    embedded: Service, cause: Cause, title: str, sentence: str, accept: str | None
) -> None:
    answer = cause(embedded, {} if accept is None else {"Accept": accept})
    assert answer.status == int(title[:3])
    assert sentence in _sentence(answer)
    assert len(_sentence(answer).replace(title, "").strip()) > 10
    if accept == "application/json":
        assert answer.json["code"] == title
    else:
        assert title in answer.text


# Accept, content type, and how the body begins
FORMS = [
    (None, "text/plain; charset=UTF-8", "404 Not Found\n\n"),
    ("text/plain", "text/plain; charset=UTF-8", "404 Not Found\n\n"),
    ("application/xml", "text/plain; charset=UTF-8", "404 Not Found\n\n"),
    (
        "*/*",
        "text/html; charset=UTF-8",
        "<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n  <h1>404 Not Found</h1>\n",
    ),
    ("text/html", "text/html; charset=UTF-8", "<html>"),
    ("text/*", "text/html; charset=UTF-8", "<html>"),
    ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html; charset=UTF-8", "<html>"),
    ("application/json;q=0.5, text/html", "text/html; charset=UTF-8", "<html>"),
    ("application/json", "application/json", "{"),
    ("application/json, */*;q=0.5", "application/json", "{"),
    ("application/json, text/html;q=0.5", "application/json", "{"),
    ("APPLICATION/JSON", "application/json", "{"),
    ("nonsense;;;q=x,,", "text/plain; charset=UTF-8", "404 Not Found\n\n"),
]


@pytest.mark.parametrize(("accept", "kind", "begin"), FORMS)
def test_accept_decides_the_form(embedded: Service, accept: str | None, kind: str, begin: str) -> None:
    answer = embedded.ask("GET", f"/v1/images/{GONE}", headers={} if accept is None else {"Accept": accept})
    assert answer.status == 404
    assert answer.headers["content-type"] == kind
    assert answer.text.startswith(begin)
    assert int(answer.headers["content-length"]) == len(answer.body)


def test_the_json_of_an_error_has_its_keys(embedded: Service) -> None:
    error = embedded.ask("GET", f"/v1/images/{GONE}", headers={"Accept": "application/json"}).json
    assert (set(error), error["code"], error["title"]) == ({"message", "code", "title"}, "404 Not Found", "Not Found")


def test_what_a_client_sent_is_no_html_of_ours(embedded: Service) -> None:
    answer = embedded.ask("GET", "/v1/images?sort_dir=x&limit=%3Cscript%3Ealert(1)%3C/script%3E", headers={"Accept": "*/*"})
    assert answer.status == 400
    assert "<script>" not in answer.text
    assert "&lt;script&gt;" in answer.text


@pytest.mark.parametrize("path", [f"/v1/images/{GONE}", "/v1/nothing", "/v1/images/detail"])
def test_an_error_of_head_has_no_body(embedded: Service, path: str) -> None:
    answer = embedded.ask("HEAD", path, headers={"Accept": "*/*"})
    assert (answer.status in (404, 405), answer.body) == (True, b"")


@pytest.mark.parametrize(("cause", "title", "sentence"), CAUSES)
def test_an_error_tells_nothing_of_the_server(embedded: Service, cause: Cause, title: str, sentence: str) -> None:
    answer = cause(embedded, {})
    for secret in ("Traceback", ".py", str(embedded.folder), "sqlite"):
        assert secret not in answer.text, (title, sentence)


# -- requests that are wrong in themselves -------------------------------------------------------------------------------


def _send(service: Service, text: bytes) -> int:
    """The status of the answer to these bytes; 0 when the connection was closed without one."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) as connection:
        connection.sendall(text)
        with contextlib.suppress(http.client.BadStatusLine):
            answer = http.client.HTTPResponse(connection)
            with contextlib.closing(answer):
                answer.begin()
                return answer.status
    return 0


HEAD_OF_POST = b"POST /v1/images HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "text",
    [
        b"nonsense\r\n\r\n",
        b"GET /v1/images HTTP/9.9\r\n\r\n",
        b"GET /v1/images HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        b"GET /v1/images HTTP/1.1\r\nHost: x\r\nbad name: x\r\n\r\n",
        HEAD_OF_POST + b"Content-Length: x\r\n\r\n",
        HEAD_OF_POST + b"Content-Length: -1\r\n\r\n",
        HEAD_OF_POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        HEAD_OF_POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD_OF_POST + b"Transfer-Encoding: nonsense\r\nContent-Length: 0\r\n\r\n",
        HEAD_OF_POST + b"X-Image-Meta-Name: a\x00b\r\nContent-Length: 0\r\n\r\n",
        HEAD_OF_POST + b"X-Image-Meta-Name: " + b"n" * 200_000 + b"\r\nContent-Length: 0\r\n\r\n",
        HEAD_OF_POST + b"".join(b"X-Filler-%d: x\r\n" % number for number in range(5000)) + b"Content-Length: 0\r\n\r\n",
        b"GET /v1/images?name=" + b"n" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/images/%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_a_request_that_is_no_http_is_the_clients_error(embedded: Service, text: bytes) -> None:
    assert 400 <= _send(embedded, text) < 500
    assert embedded.ask("GET", "/v1/images?limit=1").status == 200


@pytest.mark.parametrize(
    "path", ["/v1/images?name=%ff", "/v1/images?%ff=1", "/v1/images?&&&==&a", "/v1/images?limit=1&limit=2", "/v1/images?"]
)
def test_a_strange_query_is_no_error_of_the_service(embedded: Service, path: str) -> None:
    assert embedded.ask("GET", path).status in (200, 400)


def test_a_large_body_that_is_refused_gets_its_answer(service: Service) -> None:
    image_id = str(uuid.uuid4())
    answer = post(service, b"x" * (8 << 20), id=image_id, bogus=1)
    assert answer.status == 400
    assert "Bad header" in answer.text
    assert state(service, image_id) == "absent"
    assert files_of(service, image_id) == []


def test_a_connection_is_good_for_more_after_an_error(embedded: Service) -> None:
    image = make(embedded, DATA)
    connection = http.client.HTTPConnection("127.0.0.1", embedded.port, timeout=PATIENCE)
    headers = {**OCTET_STREAM, **meta(**RAW)}
    with contextlib.closing(connection):
        for method, path, body, status in (
            ("GET", "/v1/nothing", None, 404),
            ("PUT", f"/v1/images/{image['id']}", DATA, 409),
            ("GET", f"/v1/images/{image['id']}", None, 200),
            ("POST", "/v1/images", DATA, 201),
            ("DELETE", f"/v1/images/{GONE}", None, 404),
        ):
            connection.request(method, path, body, headers if body else {})
            answer = connection.getresponse()
            assert (answer.status, bool(answer.read())) == (status, True)


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_a_body_where_none_is_expected_does_no_harm(service: Service, method: str) -> None:
    image = make(service, DATA)
    answer = service.ask(method, f"/v1/images/{image['id']}", b"body", OCTET_STREAM)
    assert answer.status == 200
    assert head(service, image["id"]).headers["etag"] == MD5
    assert put(service, make(service)["id"], name="x").status == 200
