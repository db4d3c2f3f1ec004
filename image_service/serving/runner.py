"""An aiohttp application on listening sockets: limits, time-outs, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler
from oslo_config import cfg

from image_service.api.call import BACKGROUND
from image_service.api.middleware.access_log import AccessLogger, access_log
from image_service.serving.accepting import Acceptor, Loads
from image_service.serving.connection import Connection

# Headers of a request. 128 properties, their base attributes and what proxies add stay well under it.
MAX_HEADERS = 400
# How long a client with an open connection may still come with a request when this process wants to end.
LAST_REQUESTS = 1.0
# How long requests that are cut off get to clean up behind themselves; aiohttp waits for it twice.
CLEAN_UP = 5.0
FOR_EVER = 10 * 365 * 86400.0


def _is_no_mistake_of_ours(record: logging.LogRecord) -> bool:
    """aiohttp logs a request that is no HTTP as an error with a trace. It is the client's, and one line at INFO."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.levelno, record.levelname, record.exc_info = logging.INFO, "INFO", None
        # Without what it quotes, which may be a token.
        reason = re.split(r"b?['\"\n]", str(error.message))[0]
        record.msg, record.args = "Not understood: %s: %s", (type(error).__name__, reason)
    return record.levelno >= server_log.getEffectiveLevel()


server_log = logging.getLogger("image_service.http")
server_log.addFilter(_is_no_mistake_of_ours)


class Runner(web.AppRunner):
    """Runs one application in this process, which is worker number ``age``; ``loads`` is shared by all of them."""

    def __init__(self, app: web.Application, conf: cfg.ConfigOpts, loads: Loads, age: int) -> None:
        app.on_response_prepare.append(self._end_connection)
        super().__init__(app, shutdown_timeout=CLEAN_UP)
        self._conf, self._loads, self._age = conf, loads, age
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
        options = [
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, self._conf.tcp_keepidle),
            # Milliseconds for which a client may acknowledge nothing, or take nothing.
            (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._conf.client_socket_timeout * 1000),
        ]
        if self.server is not None:
            new = partial(Connection, self.server, loop=asyncio.get_running_loop(), **self._of_each_connection)
            is_unix = sock.family == socket.AF_UNIX
            self._acceptors.append(Acceptor(sock, [] if is_unix else options, new, self._is_busier))

    def _is_busier(self) -> bool:
        mine = self._load()
        self._loads.set(self._age, mine)
        return mine > self._loads.least()

    def _load(self) -> int:
        return len(self._connections()) + sum(acceptor.taking for acceptor in self._acceptors)

    def _connections(self) -> list[RequestHandler]:
        return self.server.connections if self.server is not None else []

    async def drain(self, hurry: Callable[[], bool], heartbeat: Callable[[], None]) -> None:
        """Stop to accept, then wait for the running requests and background work, at most ``graceful_timeout`` seconds.

        Not aiohttp's own way (:meth:`cleanup`): that drops what arrives for an upload that is still running. A connection without
        a request gets a moment for its last one, so that a client which has just sent it gets an answer.
        """
        begin, background = time.monotonic(), self.app.get(BACKGROUND, set())
        self._last_response = True
        self._loads.leave(self._age)
        for acceptor in self._acceptors:
            acceptor.close()
        while (self._load() or background) and not hurry() and time.monotonic() - begin < self._conf.graceful_timeout:
            heartbeat()
            if time.monotonic() - begin > LAST_REQUESTS:
                for connection in self._connections():
                    if connection._waiter is not None:  # for its next request; aiohttp has no public word for it
                        connection.force_close()
            await asyncio.sleep(0.05)
        for task in background:
            task.cancel()
        for acceptor in self._acceptors:
            await acceptor.settled()  # Who became the server's only later would ask an application that has ended.
        # What is cut off here ends as if its client had gone, and cleans up while cleanup() waits for it: who is cancelled, as
        # cleanup() would do later, may not know how a change ended.
        for connection in self._connections():
            if connection.transport is not None:
                with contextlib.suppress(OSError):
                    connection.transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
