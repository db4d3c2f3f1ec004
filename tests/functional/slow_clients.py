"""Clients that take their time, as transfers of large images do."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket

from tests.functional.running import PATIENCE, Running

PIECE = os.urandom(1 << 20)
FORM = {
    "x-image-meta-name": "big",
    "x-image-meta-disk_format": "raw",
    "x-image-meta-container_format": "bare",
    "Content-Type": "application/octet-stream",
}


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
