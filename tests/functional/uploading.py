"""An upload in the hands of a test: sent piece by piece on a raw socket, finished, broken off or left standing."""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from tests.functional.running import PATIENCE
from tests.functional.service import Service


@dataclass
class Uploading:
    """One upload of ``size`` bytes, by ``version`` v1 (POST, or PUT with ``put``) or v2, with a length or in chunks."""

    service: Service
    version: str
    chunked: bool
    size: int
    image_id: str
    put: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)

    FORMATS: ClassVar[dict[str, str]] = {"x-image-meta-disk_format": "raw", "x-image-meta-container_format": "bare"}

    @classmethod
    def begin(
        cls,
        service: Service,
        version: str,
        *,
        chunked: bool,
        size: int,
        image_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Uploading:
        """Send the head of the request. v1 registers the image by it, v2 before it; ``image_id``: one that is there already."""
        put = image_id is not None
        if image_id is None:
            image_id = service.image()["id"] if version == "v2" else str(uuid.uuid4())
        upload = cls(service, version, chunked, size, image_id, put, headers or {})
        upload.connection = socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE)
        upload.connection.sendall(upload._head().encode())
        return upload

    def __post_init__(self) -> None:
        self.connection: socket.socket

    def _head(self) -> str:
        headers = {"Host": "localhost", "Content-Type": "application/octet-stream", "Connection": "close"}
        if self.version == "v2":
            line = f"PUT /v2/images/{self.image_id}/file HTTP/1.1"
        elif self.put:
            line = f"PUT /v1/images/{self.image_id} HTTP/1.1"
        else:
            line = "POST /v1/images HTTP/1.1"
            headers |= {"x-image-meta-name": "crash", "x-image-meta-id": self.image_id, **self.FORMATS}
        headers |= {"Transfer-Encoding": "chunked"} if self.chunked else {"Content-Length": str(self.size)}
        headers |= self.headers
        return "\r\n".join([line, *(f"{name}: {value}" for name, value in headers.items()), "", ""])

    def send(self, data: bytes) -> None:
        """Send a piece; a server that hangs up meanwhile is no error here."""
        with contextlib.suppress(ConnectionError):
            self.connection.sendall(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    def send_raw(self, data: bytes) -> None:
        """Send what is no whole chunk."""
        with contextlib.suppress(ConnectionError):
            self.connection.sendall(data)

    def finish(self) -> int | None:
        """End the body; the status of the answer, or None when the connection dies without one."""
        if self.chunked:
            self.send_raw(b"0\r\n\r\n")
        answer = http.client.HTTPResponse(self.connection)
        try:
            answer.begin()
            return answer.status
        except (ConnectionError, http.client.HTTPException):
            return None
        finally:
            answer.close()
            self.connection.close()

    def hang_up(self, *, reset: bool = False) -> None:
        """Go away in the middle: politely (FIN), or as a machine that crashed and came back (RST)."""
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
