"""What `make run IMAGE=...` takes, and the sentence for what it does not."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.obtain_image import obtain


class Shelf(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/garbage"):
            self.wfile.write(b"this is no HTTP\r\n")
            return
        self.protocol_version = "HTTP/1.1"
        self.send_response(200)
        if self.path.startswith("/cut"):
            self.send_header("Transfer-Encoding", "chunked")
        if self.path.startswith("/page"):
            self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"" if self.path.startswith("/empty") else b"400\r\nbytes")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def shelf() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shelf) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("path", "name"),
    [("/a.img", "a.img"), ("/x/my%20disk.img?token=t", "my disk.img"), ("/folder/", "folder"), ("", "image")],
)
def test_an_address_names_the_image(shelf: str, tmp_path: Path, path: str, name: str) -> None:
    image = obtain(shelf + path, tmp_path)
    assert (image.name, image.path.read_bytes()) == (name, b"400\r\nbytes")


@pytest.mark.parametrize(
    "url",
    [
        "{}/empty",
        "{}/cut",
        "{}/page",
        "{}/garbage",
        "{}/a b",
        "{}/Zürich",
        "http://",
        "http://127.0.0.1:port/x",
        "http://[",
        "foo://x",
    ],
)
def test_what_cannot_be_fetched_is_told_in_a_sentence(shelf: str, tmp_path: Path, url: str) -> None:
    with pytest.raises(SystemExit, match="cannot be fetched"):
        obtain(url.format(shelf), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_must_be_one_and_have_bytes(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for wanted in ("none", ".", "empty"):
        with pytest.raises(SystemExit, match="Give another IMAGE"):
            obtain(str(tmp_path / wanted), tmp_path)


@pytest.mark.parametrize(
    ("begin", "disk_format", "is_doubtful"),
    [
        (b"QFI\xfb", "qcow2", False),
        (bytes(64) + b"\x7f\x10\xda\xbe", "vdi", False),
        (bytes(32769) + b"CD001", "iso", False),
        (bytes(510) + b"\x55\xaa", "raw", False),
        (b"a text", "raw", True),
        (b"\xfd7zXZ\x00" + bytes(600), "raw", True),
    ],
)
def test_the_format_is_seen_in_the_bytes(tmp_path: Path, begin: bytes, disk_format: str, is_doubtful: bool) -> None:
    (tmp_path / "image").write_bytes(begin)
    image = obtain(str(tmp_path / "image"), tmp_path / "cache")
    assert (image.disk_format, image.is_doubtful) == (disk_format, is_doubtful)
