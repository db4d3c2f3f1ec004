"""How image-api starts or says why it does not, and what it and systemd tell each other."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.functional.running import BIN, PATIENCE, Running, eventually, running
from tests.ports import free_port


def test_without_a_schema_it_ends_with_a_sentence(tmp_path: Path) -> None:
    server = Running(tmp_path)
    server.configure()
    server.start()
    assert server.wait() == 1
    assert "image-manage db sync" in server.log
    assert server.log.count("is ready") == 0


@pytest.mark.parametrize(
    ("default", "sentence"),
    [
        ("bind_host = 0.0.0.0", "allow_unauthenticated_access"),
        ("bind_host = ::", "allow_unauthenticated_access"),
        ("[paste_deploy]\nflavor = keystone", "Keystone"),
        ("[paste_deploy]\nflavor = http_basik", "http_basic"),
        ("[paste_deploy]\nflavor = http_basic\n[oslo_middleware]\nhttp_basic_auth_user_file = /nowhere", "image-manage user add"),
        ("[trusted_auth]\ntrusted_addresses = proxy\n[paste_deploy]\nflavor = trusted-auth", "trusted_addresses"),
        ("workers = 0", "workers"),
        ("user_storage_quota = 5XB", "user_storage_quota"),
    ],
)
def test_a_wrong_configuration_ends_with_a_sentence(tmp_path: Path, default: str, sentence: str) -> None:
    with running(tmp_path, default) as server:
        server.start()
        assert server.wait() == 2
        assert sentence in server.log
        assert "Traceback" not in server.log


def test_a_log_that_cannot_be_written_ends_with_a_sentence(tmp_path: Path) -> None:
    with running(tmp_path, "log_file = /nowhere/at/all/api.log") as server:
        server.start()
        assert server.wait() == 1
        assert "/nowhere/at/all/api.log" in server.log
        assert "Traceback" not in server.log


def test_it_waits_for_a_database_that_is_not_there_yet(server: Running) -> None:
    port = free_port()
    text = server.config.read_text()
    server.config.write_text(
        text.replace(server.database, f"mysql://u:hidden@127.0.0.1:{port}/glance\nmax_retries = 2\nretry_interval = 0")
    )
    server.start()
    assert server.wait() == 1
    assert "Try 2 follows" in server.log
    assert "does not take connections" in server.log.partition("CRITICAL")[2]
    assert "hidden" not in server.log


def test_sigterm_ends_the_waiting_for_a_database(server: Running) -> None:
    text = server.config.read_text()
    server.config.write_text(text.replace(server.database, f"mysql://u:p@127.0.0.1:{free_port()}/glance\nretry_interval = 600"))
    server.start()
    eventually(lambda: server.log.count("follows in 600 s") == 2, "both workers wait")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


def test_a_missing_file_ends_with_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [BIN / "image-api", "--config-file", tmp_path / "missing.conf"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 2
    assert "missing.conf" in done.stderr
    assert "Traceback" not in done.stderr


def test_unknown_options_are_named_with_what_was_probably_meant(tmp_path: Path) -> None:
    with running(tmp_path, "wokers = 3\nimage_cache_dir = /var/lib/glance/image-cache/") as server:
        server.start_and_wait()
        assert "wokers is not an option (did you mean [DEFAULT] workers?)" in server.log
        assert "image_cache_dir belongs to a feature that this release does not have" in server.log


def test_sockets_that_systemd_opened_are_used(server: Running) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server.start(descriptors=(listening.fileno(),))
        server.port = listening.getsockname()[1]
        server.wait_ready(1)
        assert server.ask("GET", "/v2/images")[0] == 200
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        with server.connect():
            pass  # systemd still holds the socket: clients wait for the next start, and are not refused


def test_a_socket_that_strangers_reach_is_refused_without_authentication(server: Running) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listening:  # noqa: S104 - that is what must be refused
        server.start(descriptors=(listening.fileno(),))
        assert server.wait() == 2
        assert "allow_unauthenticated_access" in server.log


def test_a_reload_opens_no_door_that_a_start_would_not(tmp_path: Path) -> None:
    with (
        running(tmp_path, "allow_unauthenticated_access = True") as server,
        socket.create_server(("0.0.0.0", 0)) as listening,  # noqa: S104 - nobody connects to it from outside
    ):
        server.start(descriptors=(listening.fileno(),))
        server.port = listening.getsockname()[1]
        server.wait_ready(1)
        server.configure("public_endpoint = http://new:1")
        server.signal(signal.SIGHUP)
        eventually(lambda: "was not reloaded" in server.log, "the reload was refused")
        assert "allow_unauthenticated_access" in server.log
        assert b"http://new:1" not in server.ask("GET", "/versions")[2]


def test_no_file_of_ours_gets_the_number_of_a_closed_standard_stream(tmp_path: Path) -> None:
    """What is written to standard error would go into an image, an answer, or what a worker says of itself."""
    log = tmp_path / "api.log"
    with running(tmp_path, f"log_file = {log}") as server:
        closed = ["/bin/sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-']
        server.process = subprocess.Popen([*closed, BIN / "image-api", "--config-file", server.config])
        eventually(lambda: log.exists() and "is ready" in log.read_text(), "ready")
        for pid in (server.process.pid, *server.workers()):
            assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)} == {"/dev/null"}


def test_systemd_is_told_what_is_true(server: Running) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(server.folder / "notify"))
        systemd.settimeout(PATIENCE)

        def next_message() -> list[str]:
            return systemd.recv(4096).decode().splitlines()

        server.start_and_wait(environment={"NOTIFY_SOCKET": str(server.folder / "notify")})
        assert "READY=1" in next_message()
        assert server.ask("GET", "/v2/images")[0] == 200
        server.signal(signal.SIGHUP)
        reloading = next_message()
        assert "RELOADING=1" in reloading
        assert any(word.startswith("MONOTONIC_USEC=") for word in reloading)
        assert "READY=1" in next_message()
        server.signal(signal.SIGTERM)
        assert "STOPPING=1" in next_message()
        assert server.wait() == 0
