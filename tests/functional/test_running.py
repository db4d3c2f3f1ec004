"""How image-api starts, reloads, survives and ends, with real processes, signals and sockets."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.running import BIN, PATIENCE, Running, eventually, running
from tests.ports import free_port

PIECE = os.urandom(1 << 20)
FORM = {
    "x-image-meta-name": "big",
    "x-image-meta-disk_format": "raw",
    "x-image-meta-container_format": "bare",
    "Content-Type": "application/octet-stream",
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as found:
        yield found


class SlowUpload:
    """An upload whose client sends a piece when it is told to."""

    def __init__(self, server: Running, pieces: int) -> None:
        self._left = pieces
        self._digest = hashlib.md5(usedforsecurity=False)
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        self._connection.putrequest("POST", "/v1/images")
        for name, value in {**FORM, "Content-Length": str(pieces * len(PIECE))}.items():
            self._connection.putheader(name, value)
        self._connection.endheaders()

    def __enter__(self) -> SlowUpload:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def send(self) -> None:
        self._connection.send(PIECE)
        self._digest.update(PIECE)
        self._left -= 1

    def finish(self) -> None:
        """Send the rest; the image must be there, whole."""
        while self._left:
            self.send()
        answer = self._connection.getresponse()
        body = json.loads(answer.read())
        assert answer.status == 201
        assert body["image"]["status"] == "active"
        assert body["image"]["checksum"] == self._digest.hexdigest()


class SlowDownload:
    """A download whose client has read only the header so far."""

    def __init__(self, server: Running, image_id: str) -> None:
        self._socket = socket.socket()
        # A small window, so that most of the image still has to be sent.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(("127.0.0.1", server.port))
        self._socket.sendall(f"GET /v2/images/{image_id}/file HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        self._answer = http.client.HTTPResponse(self._socket)
        self._answer.begin()
        assert self._answer.status == 200

    def __enter__(self) -> SlowDownload:
        return self

    def __exit__(self, *_: object) -> None:
        self._answer.close()
        self._socket.close()

    def finish(self) -> bytes:
        return self._answer.read()


def upload(server: Running, pieces: int) -> str:
    status, _, body = server.ask("POST", "/v1/images", PIECE * pieces, FORM)
    assert status == 201, body
    return str(json.loads(body)["image"]["id"])


def refused(server: Running) -> bool:
    with contextlib.suppress(ConnectionRefusedError), server.connect():
        return False
    return True


def test_sigterm_lets_a_download_and_an_upload_end_and_takes_no_new_connection(server: Running) -> None:
    server.start_and_wait()
    image_id = upload(server, 32)
    with SlowDownload(server, image_id) as down, SlowUpload(server, 8) as up:
        up.send()
        server.signal(signal.SIGTERM)
        eventually(lambda: refused(server), "closed for new connections")
        up.send()
        assert server.process is not None
        assert server.process.poll() is None
        up.finish()
        assert down.finish() == PIECE * 32
        assert server.wait() == 0


def test_sigterm_cuts_what_does_not_end_in_time_and_leaves_nothing(tmp_path: Path) -> None:
    with running(tmp_path, "graceful_timeout = 1") as server:
        server.start_and_wait()
        with SlowUpload(server, 8) as up:
            up.send()
            eventually(lambda: b"saving" in server.ask("GET", "/v2/images?status=saving")[2], "the upload runs")
            server.signal(signal.SIGTERM)
            assert server.wait() == 0
            assert list((tmp_path / "images").iterdir()) == []


def test_sigint_ends_at_once(server: Running) -> None:
    server.start_and_wait()
    image_id = upload(server, 32)
    with SlowDownload(server, image_id) as down:
        server.signal(signal.SIGINT)
        assert server.wait() == 0
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            down.finish()
    assert f"path=/v2/images/{image_id}/file status=400" in server.log, "what is cut is logged as well"


class Asking:
    """Threads that ask all the time, each request on a new connection or all on one, and note every failure."""

    def __init__(self, server: Running, *, keep: bool) -> None:
        self.answers = 0
        self.failures: list[str] = []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._kept if keep else self._new, args=(server,)) for _ in range(4)]

    def _new(self, server: Running) -> None:
        while not self._end.is_set():
            try:
                self._count(server.ask("GET", "/v2/images")[0])
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))

    def _kept(self, server: Running) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        while not self._end.is_set():
            try:
                connection.request("GET", "/v2/images")
                answer = connection.getresponse()
                answer.read()
                self._count(answer.status)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
        connection.close()

    def _count(self, status: int) -> None:
        self.answers += 1
        if status != 200:
            self.failures.append(str(status))

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("keep", [False, True], ids=["new connections", "kept connections"])
def test_sighup_reloads_without_a_failed_request_and_transfers_go_on(server: Running, keep: bool) -> None:
    server.start_and_wait()
    image_id = upload(server, 32)
    with SlowDownload(server, image_id) as down, SlowUpload(server, 8) as up:
        up.send()
        before = server.workers()
        with Asking(server, keep=keep) as asking:
            server.configure(default="public_endpoint = http://images.example:9292")
            server.signal(signal.SIGHUP)
            server.wait_ready(2)
            eventually(lambda: b"images.example" in server.ask("GET", "/versions")[2], "the new configuration")
            # A second reload does not wait for the transfers in the first workers.
            server.signal(signal.SIGHUP)
            server.wait_ready(3)
            seen = asking.answers
            eventually(lambda: asking.answers > seen + 50, "answers go on")
        assert asking.failures == []
        up.finish()
        assert down.finish() == PIECE * 32
        eventually(lambda: len(server.workers()) == 2 and not server.workers() & before, "the old workers are gone")


def test_a_reload_leaves_no_descriptor_behind(tmp_path: Path) -> None:
    with running(tmp_path, f"log_file = {tmp_path}/api.log\nuse_stderr = True") as server:
        server.start_and_wait()
        assert server.process is not None
        folder = Path(f"/proc/{server.process.pid}/fd")
        for times in (2, 3, 4):
            server.signal(signal.SIGHUP)
            server.wait_ready(times)
        assert sum(os.path.realpath(fd) == f"{tmp_path}/api.log" for fd in folder.iterdir()) == 1


def test_a_reload_without_the_folder_of_the_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    with running(tmp_path, f"log_file = {tmp_path}/log/api.log\nuse_stderr = True") as server:
        server.start_and_wait()
        before = server.workers()
        (tmp_path / "log").rename(tmp_path / "elsewhere")
        server.signal(signal.SIGHUP)
        eventually(lambda: "was not reloaded" in server.log, "refused")
        assert server.ask("GET", "/v2/images")[0] == 200
        (tmp_path / "elsewhere").rename(tmp_path / "log")
        server.signal(signal.SIGHUP)
        server.wait_ready(2)
        eventually(lambda: not server.workers() & before, "the old workers are gone")


@pytest.mark.parametrize(
    ("default", "sentence"),
    [
        ("workers = many", "workers"),
        ("data_api = nowhere", "data_api"),
        ("bind_host = 0.0.0.0", "allow_unauthenticated_access"),
        ("hashing_algorithm = rot13", "rot13"),
    ],
)
def test_a_wrong_configuration_is_not_reloaded(server: Running, default: str, sentence: str) -> None:
    server.start_and_wait()
    before = server.workers()
    server.configure(default=default)
    server.signal(signal.SIGHUP)
    eventually(lambda: "was not reloaded" in server.log, "refused")
    assert sentence in server.log.partition("was not reloaded")[2]
    eventually(lambda: server.workers() == before, "the old workers stay")
    assert server.ask("GET", "/v2/images")[0] == 200


def test_a_killed_worker_is_replaced(server: Running) -> None:
    server.start_and_wait()
    victim = min(server.workers())
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: victim not in server.workers() and len(server.workers()) == 2, "two workers again")
    server.wait_ready(2)
    assert server.ask("GET", "/v2/images")[0] == 200


def test_clients_that_keep_their_connections_are_shared_among_the_workers(server: Running) -> None:
    server.start_and_wait()
    connections = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE) for _ in range(8)]
    for number, connection in enumerate(connections):
        connection.request("GET", f"/v2/images?name=client-{number}")
        assert connection.getresponse().read()
    eventually(lambda: server.log.count("name=client-") == 8, "logged")
    for connection in connections:
        connection.close()
    lines = [line.split() for line in server.log.splitlines() if "name=client-" in line]
    assert min(Counter(line[3] for line in lines)[f"pid={pid}"] for pid in server.workers()) >= 3


def test_workers_end_when_their_master_was_killed(server: Running) -> None:
    server.start_and_wait()
    workers = server.workers()
    assert server.process is not None
    server.process.kill()
    server.process.wait(PATIENCE)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "no worker runs")
    assert refused(server)


def test_sigterm_does_not_cut_transfers_of_workers_whose_master_was_killed(server: Running) -> None:
    server.start_and_wait()
    workers = server.workers()
    assert server.process is not None
    with SlowUpload(server, 8) as up:
        up.send()
        server.process.kill()
        server.process.wait(PATIENCE)
        try:
            eventually(lambda: refused(server), "closed for new connections")
            for pid in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            up.finish()
        finally:
            for pid in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def test_a_service_whose_new_workers_cannot_start_goes_on(server: Running) -> None:
    server.start_and_wait()
    (server.folder / "registry.db").rename(server.folder / "elsewhere.db")
    os.kill(min(server.workers()), signal.SIGKILL)
    eventually(lambda: "A worker cannot start" in server.log, "tried in vain")
    assert server.ask("GET", "/healthcheck")[0] == 200
    (server.folder / "elsewhere.db").replace(server.folder / "registry.db")
    eventually(lambda: len(server.workers()) == 2, "two workers again")


def test_a_reload_mends_a_service_whose_new_workers_cannot_start(server: Running) -> None:
    server.start_and_wait()
    (server.folder / "registry.db").rename(server.folder / "elsewhere.db")
    os.kill(min(server.workers()), signal.SIGKILL)
    eventually(lambda: "A worker cannot start" in server.log, "tried in vain")
    server.config.write_text(server.config.read_text().replace("registry.db", "elsewhere.db"))
    server.signal(signal.SIGHUP)
    server.wait_ready(2)
    eventually(lambda: len(server.workers()) == 2, "two workers, all new")
    assert server.ask("GET", "/v2/images")[0] == 200


def test_reloads_in_a_hurry_end_with_the_last_configuration(server: Running) -> None:
    server.start_and_wait()
    for number in range(5):
        server.configure(f"public_endpoint = http://images-{number}")
        server.signal(signal.SIGHUP)
        time.sleep(0.05)  # signals of one kind that come at once are one
    eventually(lambda: b"images-4" in server.ask("GET", "/versions")[2], "the last configuration")
    eventually(lambda: len(server.workers()) == 2, "no worker too many")


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
        ("log_file = /nowhere/at/all/api.log", "/nowhere/at/all/api.log"),
        ("workers = 0", "workers"),
        ("user_storage_quota = 5XB", "user_storage_quota"),
    ],
)
def test_what_cannot_serve_ends_with_a_sentence(tmp_path: Path, default: str, sentence: str) -> None:
    with running(tmp_path, default) as server:
        server.start()
        assert server.wait() == 1
        assert sentence in server.log
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
    assert done.returncode == 1
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
        assert server.wait() == 1
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


def test_silent_clients_are_cut(tmp_path: Path) -> None:
    with running(tmp_path, "client_socket_timeout = 1") as server:
        server.start_and_wait()
        image_id = upload(server, 32)
        with SlowDownload(server, image_id) as down, SlowUpload(server, 8) as up:
            up.send()
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
        early.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        early.connect(listening.getsockname())
        server.start(descriptors=(listening.fileno(),))
        server.port = listening.getsockname()[1]
        server.wait_ready(1)
        image_id = upload(server, 32)
        early.sendall(f"GET /v2/images/{image_id}/file HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        eventually(lambda: f"path=/v2/images/{image_id}/file" in server.log, "the download was given up")


def test_slow_clients_are_not_cut(tmp_path: Path) -> None:
    with running(tmp_path, "client_socket_timeout = 2") as server:
        server.start_and_wait()
        with SlowUpload(server, 6) as up:
            for _ in range(5):
                up.send()
                time.sleep(0.9)  # the sum is beyond the time-out, each silence is below it
            up.finish()


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
