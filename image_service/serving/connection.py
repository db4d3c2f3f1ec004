"""Connections that tell who reads a body at once that it is broken, and answer clients that have said all they will."""

from __future__ import annotations

from aiohttp import StreamReader
from aiohttp.web_protocol import RequestHandler


class Connection(RequestHandler):
    """aiohttp's. Its parser in C keeps the error of a wrong chunk for the next request (the one in Python does not), and who
    reads this one would wait until the client goes away. There are no public words for what is asked here.
    """

    _last_body: StreamReader | None = None

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        super().data_received(data)
        if self._messages:
            self._last_body = self._messages[-1][1]
        error = getattr(self._messages[-1][0], "exc", None) if self._messages else None
        if error is None:
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

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client has closed its side (``nc -N``): a whole request that is under way still gets its answer."""
        waits = self._waiter is not None and not self._messages  # for a next request, which does not come
        body = self._last_body
        if self._messages:
            body = self._messages[-1][1]
        elif self._current_request is not None:
            body = self._current_request.content
        if waits or body is None or not body.is_eof():
            return False
        self.close()  # after the answer
        return True
