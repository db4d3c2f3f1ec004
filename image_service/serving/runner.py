"""An aiohttp application on listening sockets: limits, time-outs, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler
from oslo_config import cfg

from image_service.api.middleware.access_log import AccessLogger, access_log
from image_service.serving.accepting import Acceptor
from image_service.serving.connection import Connection

# Headers of a request. 128 properties, their base attributes and what proxies add stay well under it.
MAX_HEADERS = 400
# How long a client with an open connection may still come with a request when this process wants to end.
LAST_REQUESTS = 1.0
# How long requests that are cut off get to clean up behind themselves; aiohttp grants it twice, before and after it tells them.
CLEAN_UP = 3.0
FOR_EVER = 10 * 365 * 86400.0


def _is_no_mistake_of_ours(record: logging.LogRecord) -> bool:
    """aiohttp logs a request that is no HTTP as an error with a trace. It is the client's, and one line at INFO."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.levelno, record.levelname, record.exc_info = logging.INFO, "INFO", None
        record.msg, record.args = "Not understood: %s: %s", (type(error).__name__, str(error.message)[:200])
    return record.levelno >= server_log.getEffectiveLevel()


server_log = logging.getLogger("image_service.http")
server_log.addFilter(_is_no_mistake_of_ours)


class Runner(web.AppRunner):
    """Runs one application in this process."""

    def __init__(self, app: web.Application, conf: cfg.ConfigOpts) -> None:
        app.on_response_prepare.append(self._end_connection)
        super().__init__(app, shutdown_timeout=CLEAN_UP)
        self._conf = conf
        self._of_each_connection: dict[str, Any] = {
            "logger": server_log,
            "access_log": access_log if conf.access_log else None,
            "access_log_class": AccessLogger,
            # Also how long the body of a request may be silent (api.receiving).
            "keepalive_timeout": conf.client_socket_timeout or FOR_EVER,
            "max_line_size": conf.max_header_line,
            "max_field_size": conf.max_header_line,
            "max_headers": MAX_HEADERS,
            # An image is stored as it was sent, whatever Content-Encoding says; and nothing inflates in memory.
            "auto_decompress": False,
        }
        self._acceptors: list[Acceptor] = []
        self._last_response = not conf.http_keepalive

    async def _end_connection(self, request: web.Request, response: web.StreamResponse) -> None:
        if self._last_response:
            response.force_close()
            # aiohttp has written this header before it asks us.
            response.headers["Connection"] = "close"

    def listen(self, sock: socket.socket) -> None:
        """Accept connections from ``sock``, which other processes accept from, too."""
        if sock.family != socket.AF_UNIX:
            # Connections inherit these. The last one: milliseconds for which a client may acknowledge nothing, or take nothing.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, self._conf.tcp_keepidle)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._conf.client_socket_timeout * 1000)
        if self.server is not None:
            loop = asyncio.get_running_loop()
            self._acceptors.append(Acceptor(sock, partial(Connection, self.server, loop=loop, **self._of_each_connection)))

    def _connections(self) -> list[RequestHandler]:
        return self.server.connections if self.server is not None else []

    async def drain(self, hurry: Callable[[], bool], heartbeat: Callable[[], None]) -> None:
        """Stop to accept, then wait for the running requests, at most ``graceful_timeout`` seconds; what is left to do then is
        :meth:`cleanup`.

        Not that alone: it drops what arrives for an upload that is still running. A connection without a request gets a moment
        for its last one, so that a client which has just sent it gets an answer.
        """
        begin = time.monotonic()
        self._last_response = True
        for acceptor in self._acceptors:
            acceptor.close()
        while self._is_busy() and not hurry() and time.monotonic() - begin < self._conf.graceful_timeout:
            heartbeat()
            if time.monotonic() - begin > LAST_REQUESTS:
                for connection in self._connections():
                    if connection._waiter is not None:  # for its next request; aiohttp has no public word for it
                        connection.force_close()
            await asyncio.sleep(0.05)

    def _is_busy(self) -> bool:
        return bool(self._connections()) or any(acceptor.handing_over for acceptor in self._acceptors)
