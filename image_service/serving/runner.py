"""An aiohttp application on listening sockets: limits, time-outs, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import time
from collections.abc import Callable, Iterable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_server import Server
from oslo_config import cfg

from image_service.api.middleware.access_log import AccessLogger, access_log
from image_service.serving.accepting import Acceptor, Loads
from image_service.serving.connection import ConnectionServer

# Headers of a request. 128 properties, their base attributes and what proxies add stay well under it.
MAX_HEADERS = 400
# How long a client with an open connection may still come with a request when this process wants to end.
LAST_REQUESTS = 1.0
# How long requests that are cut off get to clean up behind themselves.
CLEAN_UP = 5.0
FOR_EVER = 10 * 365 * 86400.0
# Of Linux's struct tcp_info (linux/tcp.h): tcpi_unacked (segments in flight), tcpi_bytes_acked, tcpi_bytes_received, and
# tcpi_notsent_bytes (what waits in the kernel).
TCP_INFO = struct.Struct("=24xI92xQQ8xI")


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
        silence = conf.client_socket_timeout or FOR_EVER
        super().__init__(
            app,
            logger=server_log,
            access_log=access_log if conf.access_log else None,
            access_log_class=AccessLogger,
            keepalive_timeout=silence,
            max_line_size=conf.max_header_line,
            max_field_size=conf.max_header_line,
            max_headers=MAX_HEADERS,
            # An image is stored as it was sent, whatever Content-Encoding says; and nothing inflates in memory.
            auto_decompress=False,
            shutdown_timeout=CLEAN_UP,
        )
        self._loads, self._age = loads, age
        self._acceptors: list[Acceptor] = []
        self._drain_time: float = conf.graceful_timeout
        self._last_response = not conf.http_keepalive
        self._silent = SilentClients(silence)

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

    def _connections(self) -> list[RequestHandler]:
        return self.server.connections if self.server is not None else []

    def cut_silent_clients(self, now: float) -> None:
        """Cut connections whose client owes us something and said nothing for ``client_socket_timeout``."""
        self._silent.check(self._connections(), now)

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
        while self._load() and not hurry() and time.monotonic() - begin < self._drain_time:
            heartbeat()
            if time.monotonic() - begin > LAST_REQUESTS:
                for connection in self._connections():
                    if is_idle(connection):
                        connection.force_close()
                self.cut_silent_clients(time.monotonic())
            await asyncio.sleep(0.05)
        # What is cut off here ends as if its client had gone, and cleans up while cleanup() waits for it.
        for connection in self._connections():
            hang_up(connection)


def is_idle(connection: RequestHandler) -> bool:
    """Whether the connection waits for its next request. aiohttp has no public word for it."""
    return connection._waiter is not None


def hang_up(connection: RequestHandler) -> None:
    """Let whoever reads or writes on the connection find that its client has gone.

    Not ``transport.abort()``: asyncio's sendfile would wait for that closed socket for ever.
    """
    sock = connection.transport.get_extra_info("socket") if connection.transport is not None else None
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


class SilentClients:
    """Finds connections on which it is the client's turn, and nothing came for ``timeout`` seconds.

    It is the client's turn when it has not acknowledged what was sent, or not sent all of a body that we are ready to read. The
    kernel counts what was acknowledged and received (TCP_INFO), so sendfile is seen as well as anything else, and a transfer
    costs nothing. Connections between two requests are the keep-alive timer's.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._period = min(max(timeout / 20, 0.5), 30.0)
        self._next = 0.0
        self._progress: dict[RequestHandler, tuple[tuple[int, int], float]] = {}

    def check(self, connections: Iterable[RequestHandler], now: float) -> None:
        """Cut the silent ones; does something only when it is time for it."""
        if now < self._next:
            return
        self._next = now + self._period
        before, self._progress = self._progress, {}
        for connection in connections:
            moved = self._owed(connection)
            if moved is None:
                continue
            known, since = before.get(connection, (None, now))
            self._progress[connection] = (moved, since if known == moved else now)
            if known == moved and now - since >= self._timeout:
                hang_up(connection)

    def _owed(self, connection: RequestHandler) -> tuple[int, int] | None:
        """Bytes acknowledged and received so far when it is the client's turn, else None."""
        if is_idle(connection) or connection.transport is None:
            return None
        try:
            sock = connection.transport.get_extra_info("socket")
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO.size)
            in_flight, acknowledged, received, not_sent = TCP_INFO.unpack(info)
        except (OSError, struct.error):  # a closed socket, a UNIX one, an older kernel
            return None
        request = connection._current_request
        wants_body = request is not None and not request.content.is_eof() and not connection._reading_paused
        return (acknowledged, received) if in_flight or not_sent or wants_body else None
