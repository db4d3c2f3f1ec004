"""Requests that a client sends who wants the service to fall: a 4xx with a sentence, soon, and nothing left behind."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import socket
import sqlite3
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from threading import Barrier

import pytest

from tests.conftest import running
from tests.functional.running import PATIENCE, Running, eventually
from tests.functional.running import running as running_api
from tests.functional.service import OCTET_STREAM, Answer, Service
from tests.functional.v2 import person


def _refused(answer: Answer, words: str) -> None:
    assert answer.status == 400, answer.text
    assert words in answer.text


@pytest.mark.parametrize("path", ["/v2/images?", "/v1/images?", "/v1/images/detail?"])
def test_a_list_takes_only_as_many_filters_as_a_database_does(service: Service, path: str) -> None:
    prefix = "" if path.startswith("/v2") else "property-"
    assert service.ask("GET", path + "&".join(f"{prefix}p{n}=x" for n in range(128))).status == 200
    _refused(service.ask("GET", path + "&".join(f"{prefix}p{n}=x" for n in range(500))), "at most 128 properties and tags")


def test_tags_are_counted_among_the_filters_of_a_list(service: Service) -> None:
    filters = "&".join([*(f"tag={n}" for n in range(100)), *(f"p{n}=x" for n in range(29))])
    _refused(service.ask("GET", f"/v2/images?{filters}"), "at most 128 properties and tags")


@pytest.mark.parametrize(
    "body",
    [b"[" + b"[]," * 1_000_000 + b"[]]", b"{" + b",".join(b'"p%d":""' % n for n in range(1_000_000)) + b"}"],
    ids=["lists", "names"],
)
def test_json_of_a_million_parts_is_not_even_read(embedded: Service, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    _refused(embedded.ask("POST", "/v2/images", body, headers), "more than 100000 lists, objects and names")


def _at_once(*requests: Callable[[], Answer]) -> list[Answer]:
    """What each of ``requests`` is answered, all of them begun together."""
    begin = Barrier(len(requests))

    def ask(request: Callable[[], Answer]) -> Answer:
        begin.wait()
        return request()

    with ThreadPoolExecutor(len(requests)) as threads:
        return list(threads.map(ask, requests))


def test_who_comes_second_does_not_change_the_size_of_an_active_image(service: Service) -> None:
    bodies = [bytes(20 + n) for n in range(5)]
    for _ in range(15):
        path = f"/v1/images/{service.image()['id']}"

        def put(body: bytes, path: str = path) -> Answer:
            size = {
                "x-image-meta-size": str(len(body)),
                "x-image-meta-checksum": hashlib.md5(body, usedforsecurity=False).hexdigest(),
            }
            return service.ask("PUT", path, body, OCTET_STREAM | size)

        def claim(path: str = path) -> Answer:
            return service.ask("PUT", path, headers={"x-image-meta-size": "77777"})

        answers = _at_once(*[partial(put, body) for body in bodies], claim)
        assert {answer.status for answer in answers} <= {200, 400, 403, 409}
        image = service.ask("GET", path)
        if image.status == 200:
            assert image.body in bodies
            assert image.headers["x-image-meta-size"] == str(len(image.body))
        else:
            assert service.ask("HEAD", path).headers["x-image-meta-status"] == "killed"


@pytest.mark.parametrize("header", ["x-glance-api-copy-from", "x-image-meta-location"])
@pytest.mark.parametrize("host", ["a" * 5000, "a." * 200, "xn--a", "[::1", "exa mple"])
def test_a_host_that_is_no_name_is_refused(service: Service, header: str, host: str) -> None:
    formats = {"x-image-meta-disk_format": "raw", "x-image-meta-container_format": "bare"}
    _refused(service.ask("POST", "/v1/images", headers=formats | {header: f"http://{host}/image"}), "URL")


def test_uploads_at_once_do_not_pass_the_storage_quota_together(
    request: pytest.FixtureRequest, services: dict[tuple[str, str], Service], tmp_path_factory: pytest.TempPathFactory
) -> None:
    flavor = "[paste_deploy]\nflavor = trusted-auth\n"
    service = running("sqlite", "quota", request, services, tmp_path_factory, "user_storage_quota = 1000B", flavor)
    somebody = person(f"project-{uuid.uuid4()}")
    images = [service.image(headers=somebody)["id"] for _ in range(6)]

    def put(image_id: str) -> Answer:
        return service.ask("PUT", f"/v2/images/{image_id}/file", bytes(700), {**OCTET_STREAM, **somebody})

    assert {answer.status for answer in _at_once(*[partial(put, image_id) for image_id in images])} <= {204, 413}
    stored = [service.ask("GET", f"/v2/images/{image_id}", headers=somebody).json for image_id in images]
    assert sum(image["size"] or 0 for image in stored) <= 1000
    assert {image["status"] for image in stored} <= {"active", "queued"}
    assert len(list(service.images.iterdir())) == [image["status"] for image in stored].count("active")


def test_a_configuration_of_bytes_that_are_no_text_does_not_end_the_service(tmp_path: Path) -> None:
    with running_api(tmp_path) as server:
        server.start_and_wait()
        server.config.write_bytes(b"\xff\xfe\x00")
        server.signal(signal.SIGHUP)
        eventually(lambda: "stays in use: A configuration file cannot be read" in server.log, "refused")
        assert server.ask("GET", "/v2/images")[0] == 200


def created(server: Running) -> tuple[int, Mapping[str, str], bytes]:
    """A new image, or why not."""
    return server.ask("POST", "/v2/images", b"{}", {"Content-Type": "application/json"})


def test_a_database_file_that_was_removed_and_copied_back_is_another_one(tmp_path: Path) -> None:
    """A file system may give the number of the file that went to the next one."""
    with running_api(tmp_path) as server:
        server.start_and_wait()
        database, copy = tmp_path / "registry.db", tmp_path / "copy.db"
        assert created(server)[0] == 201
        shutil.copy(database, copy)
        assert created(server)[0] == 201
        database.unlink()
        assert {server.ask("GET", "/readiness")[0] for _ in range(20)} == {503}
        shutil.copy(copy, database)
        assert {created(server)[0] for _ in range(8)} == {503}


def test_nothing_is_written_into_a_database_file_that_was_moved_away(tmp_path: Path) -> None:
    with running_api(tmp_path) as server:
        server.start_and_wait()
        database, away = tmp_path / "registry.db", tmp_path / "away.db"
        before = [created(server)[0] for _ in range(8)]
        database.rename(away)
        assert (server.ask("GET", "/v2/images")[0], created(server)[0]) == (503, 503)
        assert not database.exists()
        away.rename(database)
        assert [*before, created(server)[0]] == [201] * 9
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(away)) as copy:
            source.backup(copy)
        for name in ("registry.db-wal", "registry.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        away.replace(database)
        assert {created(server)[0] for _ in range(4)} == {503}, "its log may be of the other file"
        eventually(lambda: f"remove {database}-wal" in server.log, "the log says what to do")
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        server.start_and_wait()
        assert len(json.loads(server.ask("GET", "/v2/images")[2])["images"]) == 9


@pytest.mark.parametrize("path", ["/v2/images/{}/file", "/v1/images/{}"])
def test_a_body_that_waits_is_asked_for_when_it_is_wanted_only(embedded: Service, path: str) -> None:
    wanted, unwanted = embedded.image()["id"], embedded.image(b"x")["id"]
    assert _announced(embedded, path.format(uuid.uuid4())).startswith(b"HTTP/1.1 404 ")
    assert _announced(embedded, path.format(unwanted)).startswith(b"HTTP/1.1 409 ")
    assert _announced(embedded, path.format(wanted)) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert embedded.ask("GET", f"/v2/images/{wanted}").json["status"] == "active"


def _announced(service: Service, path: str) -> bytes:
    """What comes back before the body of a PUT is sent; it is sent then, when it is asked for."""
    head = f"PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n"
    with socket.create_connection(("127.0.0.1", service.port), PATIENCE) as connection:
        connection.sendall(f"{head}Content-Type: application/octet-stream\r\n\r\n".encode())
        first = connection.recv(1000)
        if b" 100 " in first:
            connection.sendall(b"hello")
            assert connection.recv(1000)[:10] == b"HTTP/1.1 2"
        return first


def test_who_was_refused_the_body_that_waits_cannot_hide_a_request_in_it(embedded: Service) -> None:
    head = "PUT /v2/images/{}/file HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(("127.0.0.1", embedded.port), PATIENCE) as connection:
        connection.sendall(head.format(uuid.uuid4()).encode())
        assert b"\r\nConnection: close\r\n" in connection.recv(1000)
        with suppress(ConnectionError):  # it may be closed before this arrives
            connection.sendall(b"GET /healthcheck HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(1000) == b""


def test_a_host_that_is_no_text_is_answered_like_others(embedded: Service) -> None:
    with socket.create_connection(("127.0.0.1", embedded.port), PATIENCE) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 300 ")


@pytest.mark.parametrize("accept", ["text/html", "application/json", "text/plain"])
def test_a_refusal_may_quote_what_is_no_text(embedded: Service, accept: str) -> None:
    head = f"POST /v1/images HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nContent-Length: 3\r\nContent-Type: ".encode()
    with socket.create_connection(("127.0.0.1", embedded.port), PATIENCE) as connection:
        connection.sendall(head + b"\xff\r\n\r\nabc")
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("service", ["remote-sqlite"], indirect=True)
def test_image_registry_does_not_read_json_of_a_million_parts_either(service: Service) -> None:
    body = b"[" + b"[]," * 1_000_000 + b"[]]"
    _refused(service.ask_registry("POST", "/images", body), "more than 100000 lists, objects and names")


def test_a_body_that_is_packed_on_its_way_is_not_taken_for_the_image(embedded: Service) -> None:
    image_id = embedded.image()["id"]
    headers = {**OCTET_STREAM, "Transfer-Encoding": "gzip, chunked"}
    _refused(embedded.ask("PUT", f"/v2/images/{image_id}/file", b"5\r\nhello\r\n0\r\n\r\n", headers), "chunked")
    assert embedded.ask("GET", f"/v2/images/{image_id}").json["status"] == "queued"
