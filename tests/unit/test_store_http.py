"""The http store against a real web server: the reading contract, redirects, broken servers, and where it must not go."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import aiohttp
import pytest

from image_service.errors import DataMissing, ReadOnlyStore, StoreUnavailable, UnsupportedUrl
from image_service.store import http
from image_service.store.http import AddressFilter, HttpStore
from image_service.store.interface import Store
from tests.certificates import self_signed, server_side
from tests.unit.store_conformance import ReadContract, granted, in_loop, new_id, read_all


class Handler(BaseHTTPRequestHandler):
    """/data/N: what was put there; /redirect/N/PATH: N redirects, then PATH; /no-head, /empty-head, /no-range, /short: worse
    servers.
    """

    protocol_version = "HTTP/1.1"
    objects: ClassVar[dict[str, bytes]] = {}
    requests: ClassVar[list[str]] = []
    etags: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def log_message(self, format: str, *args: object) -> None:
        self.requests.append(format % args)

    def answer(self, *, body: bool) -> None:
        kind, _, rest = self.path.lstrip("/").partition("/")
        if kind == "redirect":
            number, _, target = rest.partition("/")
            onward = f"/redirect/{int(number) - 1}/{target}" if int(number) > 1 else f"/{target}"
            self.reply(302, b"", {"Location": onward})
        elif kind == "to":
            self.reply(302, b"", {"Location": rest})
        elif kind == "status":
            self.reply(int(rest), b"", {})
        elif kind == "drops" and body:
            self.drop(self.objects[rest])
        elif kind == "no-head" and not body:
            self.reply(403, b"", {})
        elif kind == "empty-head" and not body:
            self.reply(200, b"", {})
        elif rest not in self.objects:
            self.reply(404, b"", {})
        else:
            self.send_object(kind, self.objects[rest], body=body)

    def drop(self, data: bytes) -> None:
        """Break off every 4 bytes; ``etags`` are given out one by one, the last one for ever."""
        etag = self.etags[0] if len(self.etags) == 1 else self.etags.pop(0)
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if etag:
            self.send_header("ETag", etag)
        self.end_headers()
        self.wfile.write(data[start : start + 4])
        self.close_connection = True

    def send_object(self, kind: str, data: bytes, *, body: bool) -> None:
        if kind == "no-length":
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            return None
        wanted = self.headers.get("Range")
        if wanted and kind != "no-range":
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or len(data)), len(data) - 1)
            if start >= len(data):
                return self.reply(416, b"", {})
            shown = start + 1 if kind == "wrong-range" else start
            return self.reply(206, data[start : end + 1], {"Content-Range": f"bytes {shown}-{end}/{len(data)}"}, body=body)
        return self.reply(200, data, {}, body=body, cut=kind == "short")

    def reply(self, status: int, data: bytes, headers: dict[str, str], *, body: bool = True, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data[: len(data) // 2] if cut else data)
        self.close_connection = cut


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A web server on loopback; ``HOST:PORT``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that break off
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    Handler.objects["ten"] = b"0123456789"
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    with serving() as address:
        yield f"http://{address}"


def test_who_reads_slowly_keeps_nobody_out(web: str) -> None:
    """More than the hundred connections that aiohttp would make at most."""
    Handler.objects["megabyte"] = b"x" * (1 << 20)

    async def body() -> bytes:
        store = HttpStore("http", AddressFilter(inside=True))
        slow = [store.read(f"{web}/data/megabyte") for _ in range(110)]
        for reading in slow:
            await anext(reading)
        async with asyncio.timeout(30):
            found = b"".join([data async for data in store.read(f"{web}/data/ten")])
        for reading in slow:
            await reading.aclose()
        await store.close()
        return found

    assert asyncio.run(body()) == b"0123456789"


def test_names_are_looked_up_in_threads_of_their_own_and_not_for_ever(monkeypatch: pytest.MonkeyPatch, web: str) -> None:
    real, ended, threads = socket.getaddrinfo, threading.Event(), []

    def look(host: str, *rest: object, **named: object) -> object:
        threads.append(threading.current_thread().name)
        if host == "silent.example":
            ended.wait(30)
        return real("127.0.0.1", *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", look)
    monkeypatch.setattr(http, "_TIMEOUT", aiohttp.ClientTimeout(total=None, sock_connect=0.5, sock_read=60))
    port = web.rpartition(":")[2]
    assert asyncio.run(size(inside(), f"http://some.example:{port}/data/ten")) == 10
    with pytest.raises(StoreUnavailable):
        asyncio.run(size(inside(), f"http://silent.example:{port}/data/ten"))
    ended.set()
    assert {name.partition("_")[0] for name in threads} == {"lookup"}


def test_certificates_are_checked_as_the_options_say(tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path)

    def length(ca_file: str | None = None, *, insecure: bool = False) -> int:
        store = HttpStore("http", AddressFilter(inside=True), ca_file=ca_file, insecure=insecure)
        return asyncio.run(size(store, f"https://{address}/data/ten"))

    with serving(server_side(cert, key)) as address:
        with pytest.raises(StoreUnavailable):
            length()
        assert (length(cert), length(insecure=True), length(cert, insecure=True)) == (10, 10, 10)


def inside() -> HttpStore:
    return HttpStore("http", AddressFilter(inside=True))


class TestContract(ReadContract):
    @pytest.fixture(autouse=True)
    def serve(self, web: str) -> None:
        self.web = web

    def make(self, folder: Path) -> Store:
        return inside()

    async def put(self, store: Store, data: bytes) -> str:
        name = new_id()
        Handler.objects[name] = data
        return f"{self.web}/{self.kind}/{name}"

    def missing_url(self, store: Store) -> str:
        return f"{self.web}/data/missing"

    kind = "data"


class TestContractWithoutRanges(TestContract):
    kind = "no-range"


class TestContractWithoutHead(TestContract):
    kind = "no-head"


class TestContractWithHeadThatSaysNothing(TestContract):
    kind = "empty-head"


class TestContractBehindRedirects(TestContract):
    kind = "redirect/5/data"


async def size(store: HttpStore, url: str) -> int:
    try:
        return await store.size(url)
    finally:
        await store.close()


async def read(store: HttpStore, url: str, offset: int = 0) -> bytes:
    try:
        return await read_all(store, url, offset)
    finally:
        await store.close()


@in_loop
async def test_nothing_can_be_written() -> None:
    store = inside()
    with pytest.raises(ReadOnlyStore):
        await store.begin(new_id(), new_id(), None)
    await store.delete("http://host/x")
    await store.discard(new_id(), None, granted)


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/redirect/6/data/ten", UnsupportedUrl),
        ("/to/ftp://127.0.0.1/x", UnsupportedUrl),
        ("/to/file:///etc/passwd", UnsupportedUrl),
        ("/to/", UnsupportedUrl),
        ("/status/401", UnsupportedUrl),
        ("/status/404", DataMissing),
        ("/status/410", DataMissing),
        ("/status/500", StoreUnavailable),
        ("/status/503", StoreUnavailable),
    ],
)
def test_answers_that_are_no_image(web: str, path: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        asyncio.run(size(inside(), web + path))
    with pytest.raises(error):
        asyncio.run(read(inside(), web + path))


def test_no_length(web: str) -> None:
    with pytest.raises(UnsupportedUrl):
        asyncio.run(size(inside(), web + "/no-length/ten"))


def test_the_server_stops_in_the_middle(web: str) -> None:
    with pytest.raises(StoreUnavailable):
        asyncio.run(read(inside(), web + "/short/ten"))


@pytest.mark.parametrize(
    ("etags", "retries", "error"),
    [
        (['"same"'], 2, None),
        (['"same"'], 1, "stopped in the middle"),
        (['"one"', '"two"'], 2, "has changed"),
        (['W/"weak"'], 2, "stopped in the middle"),
        ([""], 2, "stopped in the middle"),
    ],
)
def test_reading_goes_on_where_it_broke_off(web: str, etags: list[str], retries: int, error: str | None) -> None:
    Handler.etags[:] = etags
    store = HttpStore("http", AddressFilter(inside=True), retries=retries)
    if error is None:
        assert asyncio.run(read(store, web + "/drops/ten")) == b"0123456789"
        return
    with pytest.raises(StoreUnavailable, match=error):
        asyncio.run(read(store, web + "/drops/ten"))


def test_another_range_than_asked_for(web: str) -> None:
    with pytest.raises(StoreUnavailable):
        asyncio.run(read(inside(), web + "/wrong-range/ten", 3))


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_nobody_answers(host: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://user:secret@{host}:{free.getsockname()[1]}/x"
        with pytest.raises(StoreUnavailable) as caught:
            asyncio.run(size(inside(), url))
    assert "secret" not in caught.value.message


# -- where it must not go --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "fe80::1",
        "fe80::1%eth0",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::",
        "100.100.100.200",
        "168.63.129.16",
        "::ffff:168.63.129.16",
        "fd00:ec2::254",
        "fec0::1",
        "64:ff9b:1::7f00:1",
        "0.0.0.0",  # noqa: S104
        "::",
        "224.0.0.1",
        "ff02::1",
    ],
)
def test_never_unless_allowed(address: str) -> None:
    assert not AddressFilter().admits(address)
    assert not AddressFilter(inside=True).admits(address)
    plain = ["0.0.0.0/0", "::/0"]
    assert AddressFilter(plain).admits(address)
    assert not AddressFilter(plain, plain).admits(address)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.9.9.9", "::1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "fd12::1", "::ffff:127.0.0.1", "::ffff:a00:1"],
)
def test_the_inside(address: str) -> None:
    assert not AddressFilter().admits(address)
    assert AddressFilter(inside=True).admits(address)
    assert not AddressFilter(denied=["127.0.0.0/8", "10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/12", "::/0"], inside=True).admits(
        address
    )


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888"])
def test_the_outside(address: str) -> None:
    assert AddressFilter().admits(address)
    assert not AddressFilter(denied=["8.0.0.0/8", "2001::/16"]).admits(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"])
def test_other_spellings_of_loopback(web: str, host: str) -> None:
    """No connection is made at all, whatever the name for it."""
    Handler.requests.clear()
    url = f"http://{host}:{web.rpartition(':')[2]}/data/ten"
    with pytest.raises((StoreUnavailable, UnsupportedUrl)):
        asyncio.run(size(HttpStore("http", AddressFilter()), url))
    assert Handler.requests == []


def test_a_redirect_is_checked_as_well(web: str) -> None:
    port = web.rpartition(":")[2]
    store = HttpStore("http", AddressFilter(["127.0.0.1/32"]))
    assert asyncio.run(size(store, f"{web}/data/ten")) == 10
    with pytest.raises(StoreUnavailable):
        asyncio.run(size(HttpStore("http", AddressFilter(["127.0.0.1/32"])), f"{web}/to/http://127.0.0.2:{port}/data/ten"))
