"""Data down (contract C.7): all of it, ranges in both forms, conditions, and data that the store has lost."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import http.client
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from image_service.api import sending
from image_service.errors import StoreUnavailable
from image_service.model import Image, Status, new_id
from image_service.registry.database import DatabaseRegistry
from image_service.registry.engine import Database
from image_service.store.filesystem import FilesystemStore
from tests.functional.running import PATIENCE, eventually
from tests.functional.service import Service
from tests.functional.v2 import ADMIN, A, B, download, patch

DATA = bytes(range(100))
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
ETAG = f'"{MD5}"'


@pytest.fixture
def image_id(embedded: Service) -> Iterator[str]:
    """An active image of a hundred bytes."""
    image = embedded.image(DATA)
    yield image["id"]
    embedded.ask("DELETE", f"/v2/images/{image['id']}")


def test_all_data_come_with_their_length_and_hash(service: Service) -> None:
    image = service.image(DATA)
    answer = download(service, image["id"])
    assert (answer.status, answer.body) == (200, DATA)
    wanted = {
        "content-type": "application/octet-stream",
        "content-length": "100",
        "content-md5": MD5,
        "etag": ETAG,
        "accept-ranges": "bytes",
    }
    assert {name: answer.headers.get(name) for name in wanted} == wanted


def test_head_tells_the_length_and_sends_nothing(service: Service) -> None:
    image = service.image(DATA)
    path = f"/v2/images/{image['id']}/file"
    got = service.ask("GET", path)
    for headers in ({}, {"Range": "bytes=0-9"}):
        answer = service.ask("HEAD", path, headers=headers)
        assert (answer.status, answer.body) == (200, b"")
        for name in ("content-type", "content-length", "content-md5", "etag", "accept-ranges"):
            assert answer.headers[name] == got.headers[name]
    assert service.ask("HEAD", path, headers={"If-None-Match": ETAG}).status == 304
    assert service.ask("HEAD", f"/v2/images/{service.image()['id']}/file").status == 204


LARGE = bytes(range(251)) * 60_000
PARTS = [range(len(LARGE)), range(1, (1 << 20) + 1), range(1 << 20), range(3, (1 << 20) + 4), range(5_000_001, len(LARGE))]


def test_large_parts_come_whole_one_after_the_other_on_one_connection(embedded: Service) -> None:
    path = f"/v2/images/{embedded.image(LARGE)['id']}/file"
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", embedded.port, timeout=PATIENCE)) as connection:
        for part in PARTS:
            connection.request("GET", path, headers={"Range": f"bytes={part.start}-{part.stop - 1}"})
            answer = connection.getresponse()
            assert (answer.status, answer.read() == LARGE[part.start : part.stop]) == (206, True)


def test_a_client_that_has_said_all_still_gets_everything(embedded: Service) -> None:
    head = f"GET /v2/images/{embedded.image(LARGE)['id']}/file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", embedded.port), PATIENCE) as connection:
        connection.sendall(head.encode())
        connection.recv(1)
        connection.shutdown(socket.SHUT_WR)
        time.sleep(0.3)
        got = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert got.endswith(b"\r\n\r\n" + LARGE)


def test_an_image_without_data_is_an_empty_answer(service: Service) -> None:
    answer = download(service, service.image()["id"])
    assert (answer.status, answer.body) == (204, b"")


# header, status, first and last byte that come
RANGES: list[tuple[str, int, tuple[int, int] | None]] = [
    ("bytes=0-0", 206, (0, 0)),
    ("bytes=0-9", 206, (0, 9)),
    ("bytes=10-19", 206, (10, 19)),
    ("bytes=90-", 206, (90, 99)),
    ("bytes=0-", 206, (0, 99)),
    ("bytes=99-99", 206, (99, 99)),
    ("bytes=90-1000", 206, (90, 99)),
    ("bytes=0-18446744073709551616", 206, (0, 99)),
    ("bytes=18446744073709551616-", 416, None),
    ("bytes=-18446744073709551616", 206, (0, 99)),
    ("bytes=-10", 206, (90, 99)),
    ("bytes=-1000", 206, (0, 99)),
    ("Bytes=0-9", 206, (0, 9)),
    ("bytes= 0-9", 206, (0, 9)),
    ("bytes=100-", 416, None),
    ("bytes=100-200", 416, None),
    ("bytes=-0", 416, None),
    ("bytes=0-9,20-29", 400, None),
    # RFC 9110 14.2: what is not understood is ignored.
    ("bytes=9-3", 200, None),
    ("bytes=a-b", 200, None),
    ("bytes=-", 200, None),
    ("bytes=", 200, None),
    ("bytes", 200, None),
    ("items=0-3", 200, None),
    ("0-3", 200, None),
    ("bytes=1.5-3", 200, None),
]


@pytest.mark.parametrize(("wanted", "status", "part"), RANGES, ids=str)
def test_a_range_is_answered_with_its_bytes(
    embedded: Service, image_id: str, wanted: str, status: int, part: tuple[int, int] | None
) -> None:
    answer = download(embedded, image_id, {"Range": wanted})
    assert answer.status == status
    if part is not None:
        first, last = part
        assert answer.body == DATA[first : last + 1]
        assert answer.headers["content-range"] == f"bytes {first}-{last}/100"
        assert answer.headers["content-length"] == str(last - first + 1)
        assert answer.headers["content-md5"] == MD5  # of the whole, as Glance's
    elif status == 200:
        assert (answer.body, answer.headers.get("content-range")) == (DATA, None)
    elif status == 416:
        assert answer.headers["content-range"] == "bytes */100"
        assert "Invalid start position" in answer.text


OLD_RANGES: list[tuple[str, int, bytes | None]] = [
    ("bytes 0-9/*", 206, DATA[:10]),
    ("bytes 0-9/100", 206, DATA[:10]),
    ("bytes 90-99/100", 206, DATA[90:]),
    ("bytes 90-100/*", 416, None),
    ("bytes 100-110/*", 416, None),
    ("bytes 9-3/*", 416, None),
    ("bytes */100", 416, None),
    ("nonsense", 416, None),
]


@pytest.mark.parametrize(("wanted", "status", "data"), OLD_RANGES)
def test_old_clients_ask_for_a_range_with_content_range(
    embedded: Service, image_id: str, wanted: str, status: int, data: bytes | None
) -> None:
    answer = download(embedded, image_id, {"Content-Range": wanted})
    assert answer.status == status
    assert data is None or answer.body == data


def test_range_wins_over_content_range(embedded: Service, image_id: str) -> None:
    answer = download(embedded, image_id, {"Range": "bytes=5-6", "Content-Range": "bytes 0-9/*"})
    assert (answer.status, answer.body) == (206, DATA[5:7])


def test_an_empty_image_has_no_range(embedded: Service) -> None:
    image = embedded.image(b"")
    assert download(embedded, image["id"]).body == b""
    assert download(embedded, image["id"], {"Range": "bytes=0-0"}).status == 416


CONDITIONS: list[tuple[dict[str, str], int]] = [
    ({"If-None-Match": ETAG}, 304),
    ({"If-None-Match": f"W/{ETAG}"}, 304),
    ({"If-None-Match": f'"other", {ETAG}'}, 304),
    ({"If-None-Match": "*"}, 304),
    ({"If-None-Match": '"other"'}, 200),
    ({"If-Match": ETAG}, 200),
    ({"If-Match": f'"other", {ETAG}'}, 200),
    ({"If-Match": "*"}, 200),
    ({"If-Match": '"other"'}, 412),
    ({"If-Match": f"W/{ETAG}"}, 412),
    ({"If-Match": '"other"', "If-None-Match": ETAG}, 412),
    ({"If-None-Match": ETAG, "Range": "bytes=0-9"}, 304),
    ({"If-Match": ETAG, "Range": "bytes=0-9"}, 206),
    ({"If-Range": ETAG, "Range": "bytes=0-9"}, 206),
    ({"If-Range": '"other"', "Range": "bytes=0-9"}, 200),
    ({"If-Range": f"W/{ETAG}", "Range": "bytes=0-9"}, 200),  # a weak tag is good for nothing here
    ({"If-Range": '"other"', "Range": "bytes=100-"}, 200),
    ({"If-Range": ETAG}, 200),
]


@pytest.mark.parametrize(("headers", "status"), CONDITIONS, ids=str)
def test_conditions_are_judged_against_the_checksum(
    embedded: Service, image_id: str, headers: dict[str, str], status: int
) -> None:
    answer = download(embedded, image_id, headers)
    assert answer.status == status
    assert len(answer.body) == {200: 100, 206: 10, 304: 0}.get(status, len(answer.body))
    if status == 304:
        assert answer.headers["etag"] == ETAG


# -- lost data -----------------------------------------------------------------------------------------------------------------


def _lose(service: Service, image_id: str) -> None:
    (service.images / image_id).unlink()


def _cut(service: Service, image_id: str) -> None:
    (service.images / image_id).write_bytes(DATA[:50])


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-9"}], ids=str)
@pytest.mark.parametrize("loss", [_lose, _cut])
def test_lost_data_are_an_error_with_a_message_and_a_line_in_the_log(
    service: Service, loss: Any, headers: dict[str, str]
) -> None:
    image = service.image(DATA)
    loss(service, image["id"])
    answer = download(service, image["id"], headers)
    assert answer.status == 404
    assert "missing from the store" in answer.text
    assert str(service.images) not in answer.text
    eventually(lambda: f"LOST DATA: image {image['id']}" in service.log, "the loss is logged")


@pytest.mark.parametrize("path", ["/v1/images/{}", "/v2/images/{}/file"])
def test_an_image_that_says_it_has_bytes_and_not_where_has_lost_them(service: Service, path: str) -> None:
    """An old glance-api may have registered it so. One of size 0 has none to lose."""
    lost, empty = (Image(new_id(), Status.ACTIVE, size=size) for size in (5, 0))

    async def register() -> None:
        registry = DatabaseRegistry(Database(service.database))
        for image in (lost, empty):
            await registry.create_image(image)
        await registry.aclose()

    asyncio.run(register())
    answer = service.ask("GET", path.format(lost.id))
    assert (answer.status, "missing from the store" in answer.text) == (404, True)
    eventually(lambda: f"LOST DATA: image {lost.id}" in service.log, "the loss is logged")
    answer = service.ask("GET", path.format(empty.id))
    assert (answer.status, answer.body) == (204 if "v2" in path else 200, b"")


def test_a_file_that_is_cut_during_its_download_is_no_whole_image(embedded: Service) -> None:
    image = embedded.image(bytes(32 << 20))
    connection = http.client.HTTPConnection("127.0.0.1", embedded.port, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request("GET", f"/v2/images/{image['id']}/file")
        answer = connection.getresponse()
        os.truncate(embedded.images / image["id"], 0)
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
    eventually(lambda: f"image {image['id']} ended too early" in embedded.log, "the log says why")


def test_a_file_that_cannot_be_read_is_an_error_that_tells_no_path() -> None:
    error = sending._explained(PermissionError(errno.EACCES, "Permission denied", "/var/lib/glance/images/x"))
    assert (type(error), "Permission denied" in error.message, "/var" in error.message) == (StoreUnavailable, True, False)


def tells_what_is_in_memory(path: Path) -> bool:
    """Whether its file system can be asked for what needs no disk."""
    with path.open("rb") as file:
        try:
            os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT)
        except OSError as unknown:
            return unknown.errno != errno.EOPNOTSUPP
    return True


@pytest.mark.parametrize("told", [True, False], ids=["in memory", "nobody knows"])
def test_threads_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool) -> None:
    """Whoever waits in the event loop keeps all others waiting. A file that is gone by then is still open to be sent."""
    calls: list[tuple[str, bool, int]] = []  # the call, whether the event loop makes it, and for how many bytes

    def watched(name: str, size_at: int) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*arguments: Any) -> Any:
            calls.append((name, threading.current_thread() is threading.main_thread(), arguments[size_at]))
            return real(*arguments)

        return call

    def nobody_knows(*_: object) -> int:
        raise OSError(errno.EOPNOTSUPP, "")

    monkeypatch.setattr(os, "pread", watched("pread", 1))
    monkeypatch.setattr(os, "sendfile", watched("sendfile", 3))
    if not told:
        monkeypatch.setattr(os, "preadv", nobody_knows)
    path = tmp_path / "x"
    path.write_bytes(LARGE)
    if told and not tells_what_is_in_memory(path):
        pytest.skip("this file system does not tell what is in memory, as overlayfs in a container")

    async def story() -> bytes:
        store = FilesystemStore("file", [(tmp_path, 0)])

        async def handle(request: web.Request) -> web.StreamResponse:
            response, file = web.StreamResponse(), path.open("rb", 0)
            path.unlink()
            response.content_length = len(LARGE) - 3
            assert await sending._send_file(request, response, store, file, 3, len(LARGE) - 3) == len(LARGE) - 3
            await response.write_eof()
            return response

        app = web.Application()
        app.router.add_get("/", handle)
        async with TestClient(TestServer(app)) as client, client.get("/") as answer:
            body = await answer.read()
        await store.close()
        return body

    assert asyncio.run(story()) == LARGE[3:]
    assert [call for call in calls if call[0] == "pread"] == ([] if told else [("pread", False, sending._PIECE)])
    sends = [(in_loop, size) for name, in_loop, size in calls if name == "sendfile"]
    assert sum(size for in_loop, size in sends if in_loop) <= sending._PIECE * 2, "the first piece, perhaps in two calls"
    # A disk that is slower than the client would keep a thread for as long as the image takes.
    assert max(size for in_loop, size in sends if not in_loop) == sending._PIECE


def test_who_is_cancelled_waits_for_his_thread(tmp_path: Path) -> None:
    """It uses a socket and a file, whose numbers would be another's once they are closed."""
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def use_them() -> None:
        begun.set()
        may_end.wait(PATIENCE)
        ended.set()

    async def story() -> None:
        store = FilesystemStore("file", [(tmp_path, 0)])
        running = asyncio.create_task(sending._in_thread(store, use_them))
        await asyncio.to_thread(begun.wait, PATIENCE)
        for _ in range(2):
            running.cancel()
            await asyncio.sleep(0.01)
        assert not running.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert ended.is_set()
        await store.close()

    asyncio.run(story())


# -- who may, and when ---------------------------------------------------------------------------------------------------------


def test_a_deactivated_image_is_read_by_administrators_alone(trusting: Service) -> None:
    image = trusting.image(DATA, headers=A)
    assert trusting.ask("POST", f"/v2/images/{image['id']}/actions/deactivate", headers=ADMIN).status == 204
    refused = download(trusting, image["id"], A)
    assert refused.status == 403
    assert "The requested image has been deactivated. Image data download is forbidden." in refused.text
    assert download(trusting, image["id"], ADMIN).body == DATA
    assert trusting.ask("POST", f"/v2/images/{image['id']}/actions/reactivate", headers=ADMIN).status == 204
    assert download(trusting, image["id"], A).body == DATA


def test_data_follow_the_visibility_of_their_image(trusting: Service) -> None:
    image = trusting.image(DATA, headers=A, visibility="private")
    assert download(trusting, image["id"], B).status == 404
    community = [{"op": "replace", "path": "/visibility", "value": "community"}]
    assert patch(trusting, image["id"], community, A).status == 200
    assert download(trusting, image["id"], B).body == DATA


def test_prefer_wants_stores_that_have_names(embedded: Service, image_id: str) -> None:
    answer = embedded.ask("GET", f"/v2/images/{image_id}/file?prefer=fast")
    assert (answer.status, "enabled_backends" in answer.text) == (400, True)
