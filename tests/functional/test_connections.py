"""Slow, silent and strange clients of a running image-api, and what its log says of them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import resource
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.functional.running import Running, eventually, running
from tests.functional.slow_clients import FORM, BigUpload, SlowDownload, upload


def test_silent_clients_are_cut(tmp_path: Path) -> None:
    with running(tmp_path, "client_socket_timeout = 1") as server:
        server.start_and_wait()
        image_id = upload(server, 32)
        with SlowDownload(server, image_id) as down, BigUpload(server, 8) as up:
            up.send_piece()
            eventually(lambda: b"saving" in server.ask("GET", "/v1/images/detail")[2], "the upload runs")
            eventually(lambda: b"saving" not in server.ask("GET", "/v1/images/detail")[2], "the upload was given up")
            eventually(lambda: f"path=/v2/images/{image_id}/file" in server.log, "the download was given up")
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                down.finish()
            assert [path.name for path in (tmp_path / "images").iterdir()] == [image_id]
        assert "Traceback" not in server.log


def test_who_waits_for_the_service_to_start_is_cut_when_silent(tmp_path: Path) -> None:
    with (
        running(tmp_path, "client_socket_timeout = 1") as server,
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.socket() as early,
    ):
        server.start_and_wait()
        image_id = upload(server, 32)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        early.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        early.connect(listening.getsockname())
        early.sendall(f"GET /v2/images/{image_id}/file HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        server.start(descriptors=(listening.fileno(),))
        eventually(lambda: f"path=/v2/images/{image_id}/file" in server.log, "the download was given up")


def test_slow_clients_are_not_cut(tmp_path: Path) -> None:
    with running(tmp_path, "client_socket_timeout = 2") as server:
        server.start_and_wait()
        with BigUpload(server, 6) as up:
            for _ in range(5):
                up.send_piece()
                time.sleep(0.9)  # the sum is beyond the time-out, each silence is below it
            up.send_rest()


def test_many_and_long_headers_pass(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("http.client._MAXHEADERS", 1000)  # Python's own client takes 100
    server.start_and_wait()
    headers = {f"X-Filler-{number}": "x" for number in range(160)}
    headers |= {f"X-Image-Meta-Property-p{number}": "v" * 200 for number in range(128)}
    headers["X-Image-Meta-Property-p0"] = "v" * 16000
    status, _, body = server.ask("POST", "/v1/images", b"", {**FORM, **headers, "Content-Length": "0"})
    assert status == 201, body
    image_id = json.loads(body)["image"]["id"]
    status, answered, _ = server.ask("HEAD", f"/v1/images/{image_id}")
    assert status == 200
    assert sum(name.lower().startswith("x-image-meta-property-") for name in answered) == 128


@pytest.mark.parametrize(
    "garbage",
    [b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nA: " + b"x" * 20000 + b"\r\n\r\n"],
    ids=["TLS", "version", "long line"],
)
def test_garbage_is_the_clients_mistake_not_ours(server: Running, garbage: bytes) -> None:
    server.start_and_wait()
    with server.connect() as connection:
        connection.sendall(garbage)
        assert connection.recv(100).startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))
    assert server.ask("GET", "/v2/images")[0] == 200
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert "Traceback" not in server.log
    assert " ERROR " not in server.log
    (line,) = [line for line in server.log.splitlines() if "status=400" in line]
    assert "client=127.0.0.1" in line


@pytest.mark.parametrize("together", [True, False])
def test_who_closes_his_side_after_a_whole_request_gets_its_answer(server: Running, together: bool) -> None:
    """As ``nc -N`` does."""
    server.start_and_wait()
    small, large = upload(server, 1), upload(server, 8)
    put = f"PUT /v2/images/{small}/tags/x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    get = "GET {} HTTP/1.1\r\nHost: x\r\n\r\n".format
    for request, status, size in (
        (get("/healthcheck"), 200, 2),
        (put, 204, 0),
        (get(f"/v2/images/{large}/file"), 200, 8 << 20),
        (get(f"/v1/images/{large}"), 200, 8 << 20),
    ):
        with server.connect() as connection:
            connection.sendall(request.encode())
            if not together:
                connection.recv(1, socket.MSG_PEEK)
            connection.shutdown(socket.SHUT_WR)
            got = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        head, _, body = got.partition(b"\r\n\r\n")
        assert (head.split()[1:2], len(body)) == ([str(status).encode()], size)


def test_who_closes_his_side_in_the_middle_of_an_upload_has_given_it_up(server: Running) -> None:
    server.start_and_wait()
    with server.connect() as connection:
        head = "".join(f"{name}: {value}\r\n" for name, value in FORM.items())
        connection.sendall(f"POST /v1/images HTTP/1.1\r\nHost: x\r\n{head}Content-Length: 100000\r\n\r\n".encode() + b"x" * 70000)
        eventually(lambda: b"saving" in server.ask("GET", "/v1/images/detail")[2], "the upload runs")
        connection.shutdown(socket.SHUT_WR)
        eventually(lambda: b"saving" not in server.ask("GET", "/v1/images/detail")[2], "the upload was given up")
    assert list((server.folder / "images").iterdir()) == []


def test_who_has_no_descriptors_left_names_the_limit(tmp_path: Path) -> None:
    with running(tmp_path, "workers = 1") as server:
        server.start_and_wait()
        (worker,) = server.workers()
        image_id = upload(server, 1)
        with server.connect() as connection:
            ask = f"GET /v2/images/{image_id}{{}} HTTP/1.1\r\nHost: x\r\n\r\n".format
            connection.sendall(ask("").encode())
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
            open_now = max(map(int, os.listdir(f"/proc/{worker}/fd"))) + 1
            limits = resource.prlimit(worker, resource.RLIMIT_NOFILE)
            resource.prlimit(worker, resource.RLIMIT_NOFILE, (open_now, limits[1]))
            with contextlib.ExitStack() as filling:
                for _ in range(open_now):
                    filling.enter_context(server.connect())
                eventually(lambda: "No new connections" in server.log, "it has no descriptors left")
                connection.sendall(ask("/file").encode())
                answer = connection.recv(4096)
            resource.prlimit(worker, resource.RLIMIT_NOFILE, limits)
        assert (answer[:12], b"(LimitNOFILE)" in answer) == (b"HTTP/1.1 503", True)
        assert "Too many open files; LimitNOFILE says" in server.log
        eventually(lambda: server.ask("GET", f"/v2/images/{image_id}/file")[0] == 200, "it goes on")


def test_a_long_address_is_cut_in_the_log(server: Running) -> None:
    server.start_and_wait()
    assert server.ask("GET", "/v2/" + "a" * 9000)[0] == 404
    line = eventually(lambda: next((line for line in server.log.splitlines() if "path=/v2/aaa" in line), None), "logged")
    assert len(line) < 3000


def test_the_log_says_how_much_was_sent_to_whom(server: Running) -> None:
    server.start_and_wait()
    image_id = upload(server, 2)
    body = server.ask("GET", f"/v2/images/{image_id}")[2]
    server.ask("GET", f"/v2/images/{image_id}/file", headers={"X-Openstack-Request-Id": "req-of-mine"})
    server.ask("HEAD", f"/v1/images/{image_id}")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    lines = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in server.log.splitlines()]
    seen = [
        (line["method"], line["path"], line["status"], line["bytes"])
        for line in lines
        if line["logger"] == "image_service.access"
    ]
    # Each worker writes its own lines, so their order is not that of the requests.
    assert sorted(line for line in seen if line[0] != "POST") == [
        ("GET", f"/v2/images/{image_id}", "200", str(len(body))),
        ("GET", f"/v2/images/{image_id}/file", "200", str(2 << 20)),
        ("HEAD", f"/v1/images/{image_id}", "200", "0"),
    ]
    assert [line[:3] for line in seen if line[0] == "POST"] == [("POST", "/v1/images", "201")]
    assert [line["client"] for line in lines if line["request_id"] == "req-of-mine"] == ["127.0.0.1"]


def test_the_log_has_every_request_also_after_rotation_and_at_the_end(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    with running(tmp_path, f"log_file = {log}\nuse_stderr = True\nuse_json = True") as server:
        server.start_and_wait()
        asked = [server.ask("GET", f"/v2/images?name=before{n}")[1]["X-Openstack-Request-Id"] for n in range(5)]
        eventually(lambda: "before4" in log.read_text(), "written")
        log.rename(tmp_path / "api.log.1")
        asked += [server.ask("GET", f"/v2/images?name=after{n}")[1]["X-Openstack-Request-Id"] for n in range(5)]
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    old, new = ((tmp_path / name).read_text() for name in ("api.log.1", "api.log"))
    assert "after0" in new
    lines = [json.loads(line) for line in (old + new).splitlines()]
    logged = [line["request_id"] for line in lines if line["logger"] == "image_service.access"]
    assert logged == asked or sorted(logged) == sorted(asked)
    assert log.stat().st_mode & 0o7 == 0
