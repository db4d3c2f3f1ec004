"""Options that change what a running service answers, where no other test sets them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.functional.running import running


@pytest.mark.parametrize(("off", "gone", "left"), [("v1", "/v1/images", "/v2/images"), ("v2", "/v2/images", "/v1/images")])
def test_an_api_that_is_switched_off_is_neither_served_nor_announced(tmp_path: Path, off: str, gone: str, left: str) -> None:
    with running(tmp_path, f"enable_{off}_api = False") as server:
        server.start_and_wait()
        assert (server.ask("GET", gone)[0], server.ask("GET", left)[0]) == (300, 200)
        status, _, document = server.ask("GET", "/versions")
        assert status == 200
        assert (f"/{off}/".encode() in document, left[:4].encode() in document) == (False, True)


def test_limits_of_a_request_head_and_connections_without_keep_alive(tmp_path: Path) -> None:
    with running(tmp_path, "http_keepalive = False\nmax_header_line = 4096\nmax_request_id_length = 10") as server:
        server.start_and_wait()
        with server.connect() as connection:
            connection.sendall(b"GET /versions HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
            said = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        assert said.count(b"HTTP/1.1 200") == 1
        for length, status in ((3000, 200), (5000, 400)):
            assert server.ask("GET", "/v2/images", headers={"X-Filler": "x" * length})[0] == status
        for length, status in ((10, 200), (11, 431)):
            assert server.ask("GET", "/v2/images", headers={"X-Openstack-Request-Id": "r" * length})[0] == status


@pytest.mark.parametrize(("denied", "status"), [("", 201), ("10.0.0.0/8", 201), ("10.0.0.0/8, 127.0.0.0/8", 400)])
def test_a_location_in_a_denied_network_is_refused(tmp_path: Path, denied: str, status: int) -> None:
    with running(tmp_path, sections=f"http_denied_networks = {denied}") as server:
        server.start_and_wait()
        headers = {f"X-Image-Meta-{name}_format": value for name, value in (("disk", "raw"), ("container", "bare"))}
        headers |= {"X-Image-Meta-Name": "x", "X-Image-Meta-Location": f"http://127.0.0.1:{server.port}/healthcheck"}
        assert server.ask("POST", "/v1/images", b"", headers)[0] == status
