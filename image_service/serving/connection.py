"""Connections that tell who reads a body at once that it is broken."""

from __future__ import annotations

from aiohttp.web_protocol import RequestHandler


class Connection(RequestHandler):
    """aiohttp's. Its parser in C keeps the error of a wrong chunk for the next request (the one in Python does not), and who
    reads this one would wait until the client goes away. There are no public words for what is asked here.
    """

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        super().data_received(data)
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
