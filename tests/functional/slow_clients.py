"""Clients that take their time, as transfers of large images do."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
from collections.abc import Mapping
from typing import Self

from tests.functional.running import PATIENCE, Running

PIECE = os.urandom(1 << 20)
FORM = {
    "x-image-meta-name": "big",
    "x-image-meta-disk_format": "raw",
    "x-image-meta-container_format": "bare",
    "Content-Type": "application/octet-stream",
}


class SlowUpload:
    """An upload whose bytes are sent one call at a time; ``length`` None: in chunks."""

    def __init__(self, port: int, method: str, path: str, length: int | None, headers: Mapping[str, str]) -> None:
        self._chunked = length is None
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._connection.putrequest(method, path)
        framing = {"Transfer-Encoding": "chunked"} if length is None else {"Content-Length": str(length)}
        for name, value in {"Content-Type": "application/octet-stream", **framing, **headers}.items():
            self._connection.putheader(name, value)
        self._connection.endheaders()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def send(self, data: bytes) -> None:
        """Send a part of the body."""
        self._connection.send(b"%x\r\n%s\r\n" % (len(data), data) if self._chunked else data)

    def send_raw(self, data: bytes) -> None:
        """Send bytes without the framing of a chunk."""
        self._connection.send(data)

    def finish(self) -> tuple[int, str]:
        """End the body; status and text of the answer."""
        if self._chunked:
            self._connection.send(b"0\r\n\r\n")
        return self.answer()

    def answer(self) -> tuple[int, str]:
        """Status and text of the answer."""
        answer = self._connection.getresponse()
        return answer.status, answer.read().decode()


class BigUpload(SlowUpload):
    """One of ``pieces`` MiB, sent a piece a call."""

    def __init__(self, server: Running, pieces: int) -> None:
        super().__init__(server.port, "POST", "/v1/images", pieces * len(PIECE), FORM)
        self._left = pieces
        self._digest = hashlib.md5(usedforsecurity=False)

    def send_piece(self) -> None:
        self.send(PIECE)
        self._digest.update(PIECE)
        self._left -= 1

    def send_rest(self) -> None:
        """The image must be there then, whole."""
        while self._left:
            self.send_piece()
        status, text = self.finish()
        image = json.loads(text)["image"]
        assert status == 201
        assert image["status"] == "active"
        assert image["checksum"] == self._digest.hexdigest()


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
