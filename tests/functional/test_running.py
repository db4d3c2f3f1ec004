"""How image-api reloads, survives and ends, with real processes and signals."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts import run
from scripts.obtain_image import LocalImage
from tests.functional.running import PATIENCE, Running, eventually, running
from tests.functional.slow_clients import PIECE, BigUpload, SlowDownload, upload
from tests.functional.v1 import DATA, RAW, Web, web_server


def refused(server: Running) -> bool:
    with contextlib.suppress(ConnectionRefusedError), server.connect():
        return False
    return True


def test_sigterm_lets_a_download_and_an_upload_end_and_takes_no_new_connection(server: Running) -> None:
    server.start_and_wait()
    image_id = upload(server, 32)
    with SlowDownload(server, image_id) as down, BigUpload(server, 8) as up:
        up.send_piece()
        server.signal(signal.SIGTERM)
        eventually(lambda: refused(server), "closed for new connections")
        up.send_piece()
        assert server.process is not None
        assert server.process.poll() is None
        up.send_rest()
        assert down.finish() == PIECE * 32
        assert server.wait() == 0


def test_sigterm_cuts_what_does_not_end_in_time_and_leaves_nothing(tmp_path: Path) -> None:
    with running(tmp_path, "graceful_timeout = 1") as server:
        server.start_and_wait()
        with BigUpload(server, 8) as up:
            up.send_piece()
            eventually(lambda: b"saving" in server.ask("GET", "/v2/images?status=saving")[2], "the upload runs")
            server.signal(signal.SIGTERM)
            assert server.wait() == 0
            assert list((tmp_path / "images").iterdir()) == []


def copied(server: Running, web: Web) -> Any:
    """A copy that waits for its source: what becomes of it."""
    headers = {"x-image-meta-name": "copy", "x-glance-api-copy-from": web.url("/wait")}
    headers |= {f"x-image-meta-{name}": value for name, value in RAW.items()}
    assert server.ask("POST", "/v1/images", headers=headers)[0] == 201
    [image] = json.loads(server.ask("GET", "/v2/images?name=copy")[2])["images"]
    return image


def test_sigterm_lets_a_copy_end(server: Running) -> None:
    server.start_and_wait()
    with web_server() as web:
        image = copied(server, web)
        server.signal(signal.SIGTERM)
        eventually(lambda: refused(server), "closed for new connections")
        web.go.set()
        assert server.wait() == 0
    server.start_and_wait()
    assert server.ask("GET", f"/v2/images/{image['id']}/file")[2] == DATA


def test_sigint_gives_up_a_copy(server: Running) -> None:
    server.start_and_wait()
    with web_server() as web:
        image = copied(server, web)
        server.signal(signal.SIGINT)
        assert server.wait() == 0
        assert not web.go.is_set()
    server.start_and_wait()
    assert json.loads(server.ask("GET", f"/v2/images/{image['id']}")[2])["status"] == "killed"


def test_sigint_ends_at_once(server: Running) -> None:
    server.start_and_wait()
    image_id = upload(server, 32)
    with SlowDownload(server, image_id) as down:
        server.signal(signal.SIGINT)
        assert server.wait() == 0
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            down.finish()
    assert f"path=/v2/images/{image_id}/file status=400" in server.log, "what is cut is logged as well"


def test_sigint_asks_nothing_more_of_an_application_that_has_ended(server: Running) -> None:
    """Also for clients that waited to be accepted in that moment."""
    server.start_and_wait()
    workers = server.workers()
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    clients = [server.connect() for _ in range(40)]
    for client in clients:
        client.sendall(b"GET /v2/images HTTP/1.1\r\nHost: x\r\n\r\n")
    server.signal(signal.SIGINT)
    eventually(lambda: "Handling signal: int" in server.log, "the master has told the workers")
    time.sleep(0.3)
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    assert server.wait() == 0
    for client in clients:
        client.close()
    assert "Traceback" not in server.log
    assert "status=500" not in server.log


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
    with SlowDownload(server, image_id) as down, BigUpload(server, 8) as up:
        up.send_piece()
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
        up.send_rest()
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
        ("admin_role = a\0b", "zero byte"),
        ("log_file = /tmp/a\0b", "null byte"),
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
    connections = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE) for _ in range(16)]
    for number, connection in enumerate(connections):
        connection.request("GET", f"/v2/images?name=client-{number}")
        assert connection.getresponse().read()
    eventually(lambda: server.log.count("name=client-") == 16, "logged")
    for connection in connections:
        connection.close()
    lines = [line.split() for line in server.log.splitlines() if "name=client-" in line]
    # Where there is no sharing one worker has them all; a worker whose processor others use may miss some of its turns.
    assert min(Counter(line[3] for line in lines)[f"pid={pid}"] for pid in server.workers()) >= 3


def test_workers_end_when_their_master_was_killed(server: Running) -> None:
    server.start_and_wait()
    workers = server.workers()
    assert server.process is not None
    server.process.kill()
    server.process.wait(PATIENCE)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "no worker runs")
    assert refused(server)


def test_make_run_says_why_its_upload_failed_when_the_service_is_gone(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that the image, which it takes back, could not be deleted either."""
    server.start_and_wait()
    image = LocalImage(tmp_path / "disk.img", "disk", "")
    image.path.write_bytes(bytes(PIECE))

    def killing(chunks: Iterable[bytes], *_: object) -> Iterator[bytes]:
        assert server.process is not None
        for pid in (server.process.pid, *server.workers()):
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: refused(server), "nobody listens")
        yield from chunks

    monkeypatch.setattr(run, "watched", killing)
    monkeypatch.setattr(run, "LOG", tmp_path / "stderr")
    with pytest.raises(SystemExit, match=r"^PUT /v2/images/[-0-9a-f]+/file failed"):
        run.upload(run.Service(server.port), image)


def test_sigterm_does_not_cut_transfers_of_workers_whose_master_was_killed(server: Running) -> None:
    server.start_and_wait()
    workers = server.workers()
    assert server.process is not None
    with BigUpload(server, 8) as up:
        up.send_piece()
        server.process.kill()
        server.process.wait(PATIENCE)
        try:
            eventually(lambda: refused(server), "closed for new connections")
            for pid in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            up.send_rest()
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
