"""Connections that tell who reads a body at once that it is broken, and that know when it is their client's turn.

Where the framing of a body is wrong (a chunk without a size), aiohttp keeps the error for the next request and lets
the reader of this one wait until the client goes away. It has no public words for what is asked of a connection here.
"""

from __future__ import annotations

import contextlib
import socket
import struct

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_server import Server

# Of Linux's struct tcp_info (linux/tcp.h): tcpi_unacked (segments in flight), tcpi_bytes_acked, tcpi_bytes_received, and
# tcpi_notsent_bytes (what waits in the kernel).
TCP_INFO = struct.Struct("=24xI92xQQ8xI")


class Connection(RequestHandler):
    """aiohttp's, with some things more."""

    # What had moved when we looked last, and since when that is so.
    _moved: tuple[int, int] | None = None
    _since = 0.0

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        super().data_received(data)
        if self._messages:
            self._break_body()

    def _break_body(self) -> None:
        error = getattr(self._messages[-1][0], "exc", None)
        if not isinstance(error, HttpProcessingError):
            return
        if len(self._messages) > 1:
            body = self._messages[-2][1]
        elif self._current_request is not None:
            body = self._current_request.content
        else:
            return
        if not body.is_eof():
            body.set_exception(error)
            body.feed_eof()

    def is_idle(self) -> bool:
        """Whether it waits for its next request."""
        return self._waiter is not None

    def hang_up(self) -> None:
        """Let whoever reads or writes on it find that the client has gone.

        Not ``transport.abort()``: asyncio's sendfile would wait for that closed socket for ever.
        """
        sock = self.transport.get_extra_info("socket") if self.transport is not None else None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def cut_if_silent(self, now: float, timeout: float) -> None:
        """Hang up when it is the client's turn, and since ``timeout`` seconds nothing came; called now and then.

        It is the client's turn when it has not acknowledged what was sent, or not sent all of a body that we are ready to read.
        The kernel counts what was acknowledged and received, so sendfile is seen as well as anything else, and a transfer costs
        nothing. Between two requests it is the keep-alive timer's turn.
        """
        moved = self._owed()
        if moved is None or moved != self._moved:
            self._moved, self._since = moved, now
        elif now - self._since >= timeout:
            self.hang_up()

    def _owed(self) -> tuple[int, int] | None:
        """Bytes acknowledged and received so far when it is the client's turn, else None."""
        if self.is_idle() or self.transport is None:
            return None
        try:
            sock = self.transport.get_extra_info("socket")
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO.size)
            in_flight, acknowledged, received, not_sent = TCP_INFO.unpack(info)
        except (OSError, struct.error):  # a closed socket, a UNIX one, an older kernel
            return None
        request = self._current_request
        wants_body = request is not None and not request.content.is_eof() and not self._reading_paused
        return (acknowledged, received) if in_flight or not_sent or wants_body else None


class ConnectionServer(Server):
    """aiohttp's, with our connections."""

    @classmethod
    def of(cls, server: Server) -> ConnectionServer:
        """As ``server``, which has no connections yet."""
        return cls(server.request_handler, request_factory=server.request_factory, loop=server._loop, **server._kwargs)

    def __call__(self) -> Connection:
        return Connection(self, loop=self._loop, **self._kwargs)
