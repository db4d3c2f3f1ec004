"""An aiohttp application on listening sockets: limits, time-outs, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from typing import cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_server import Server
from oslo_config import cfg

from image_service.api.middleware.access_log import AccessLogger, access_log
from image_service.serving.accepting import Acceptor, Loads
from image_service.serving.connection import Connection, ConnectionServer

# Headers of a request. 128 properties, their base attributes and what proxies add stay well under it.
MAX_HEADERS = 400
# How long a client with an open connection may still come with a request when this process wants to end.
LAST_REQUESTS = 1.0
# How long requests that are cut off get to clean up behind themselves.
CLEAN_UP = 5.0
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
    """Runs one application in this process, which is worker number ``age``; ``loads`` is shared by all of them."""

    def __init__(self, app: web.Application, conf: cfg.ConfigOpts, loads: Loads, age: int) -> None:
        app.on_response_prepare.append(self._end_connection)
        self._silence = conf.client_socket_timeout or FOR_EVER
        self._next_look = 0.0
        super().__init__(
            app,
            logger=server_log,
            access_log=access_log if conf.access_log else None,
            access_log_class=AccessLogger,
            keepalive_timeout=self._silence,
            max_line_size=conf.max_header_line,
            max_field_size=conf.max_header_line,
            max_headers=MAX_HEADERS,
            # An image is stored as it was sent, whatever Content-Encoding says; and nothing inflates in memory.
            auto_decompress=False,
            shutdown_timeout=CLEAN_UP,
        )
        self._conf, self._loads, self._age = conf, loads, age
        self._acceptors: list[Acceptor] = []
        self._last_response = not conf.http_keepalive

    async def _make_server(self) -> Server:
        return ConnectionServer.of(await super()._make_server())

    async def _end_connection(self, request: web.Request, response: web.StreamResponse) -> None:
        if self._last_response:
            response.force_close()
            # aiohttp has written this header before it asks us.
            response.headers["Connection"] = "close"

    def listen(self, sock: socket.socket) -> None:
        """Accept connections from ``sock``, which other processes accept from, too."""
        if self.server is not None:
            self._acceptors.append(Acceptor(sock, self.server, self._is_busier))

    def _is_busier(self) -> bool:
        mine = self._load()
        self._loads.set(self._age, mine)
        return mine > self._loads.least()

    def _load(self) -> int:
        return len(self._connections()) + sum(acceptor.taking for acceptor in self._acceptors)

    def _connections(self) -> list[Connection]:
        return cast("list[Connection]", self.server.connections) if self.server is not None else []

    def cut_silent_clients(self) -> None:
        """When it is time for it: cut connections whose client owes us something, silent for ``client_socket_timeout``."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + min(max(self._silence / 20, 0.5), 30.0)
            for connection in self._connections():
                connection.cut_if_silent(now, self._silence)

    async def drain(self, hurry: Callable[[], bool], heartbeat: Callable[[], None]) -> None:
        """Stop to accept, then wait for the running requests, at most ``graceful_timeout`` seconds.

        Not aiohttp's own way (:meth:`cleanup`): that drops what arrives for an upload that is still running. A connection without
        a request gets a moment for its last one, so that a client which has just sent it gets an answer.
        """
        begin = time.monotonic()
        self._last_response = True
        self._loads.leave(self._age)
        for acceptor in self._acceptors:
            acceptor.close()
        while self._load() and not hurry() and time.monotonic() - begin < self._conf.graceful_timeout:
            heartbeat()
            if time.monotonic() - begin > LAST_REQUESTS:
                for connection in self._connections():
                    if connection.is_idle():
                        connection.force_close()
                self.cut_silent_clients()
            await asyncio.sleep(0.05)
        # What is cut off here ends as if its client had gone, and cleans up while cleanup() waits for it.
        for connection in self._connections():
            connection.hang_up()
