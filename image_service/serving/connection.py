"""Connections that tell who reads a body at once that it is broken.

Where the framing of a body is wrong (a chunk without a size), aiohttp keeps the error for the next request and lets
the reader of this one wait until the client goes away.
"""

from __future__ import annotations

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_server import Server


class Connection(RequestHandler):
    """aiohttp's, with one thing more."""

    __slots__ = ()

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


class ConnectionServer(Server):
    """aiohttp's, with our connections."""

    @classmethod
    def of(cls, server: Server) -> ConnectionServer:
        """As ``server``, which has no connections yet."""
        return cls(server.request_handler, request_factory=server.request_factory, loop=server._loop, **server._kwargs)

    def __call__(self) -> Connection:
        return Connection(self, loop=self._loop, **self._kwargs)
