"""Taking new connections one at a time, so that the workers share them.

All workers listen on the same sockets, and asyncio gives every connection that waits to whoever wakes up first; with few clients
that keep their connections, one process would work and its neighbours idle.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable

LOG = logging.getLogger(__name__)

# Seconds without new connections when the process or the machine has no more descriptors.
EXHAUSTED = 1.0
_TOO_MANY = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """Takes connections from one socket and hands them to a server."""

    def __init__(self, sock: socket.socket, protocol: Callable[[], asyncio.Protocol]) -> None:
        self._sock = sock
        self._protocol = protocol
        self.handing_over: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._loop.add_reader(sock, self._accept)

    def close(self) -> None:
        """Take who waits already, then no more: the kernel refuses clients when the last process has closed the socket."""
        while self._accept():
            pass
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()

    def _accept(self) -> bool:
        """Take one connection, if one is there."""
        try:
            connection, _ = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            if error.errno not in _TOO_MANY:
                raise
            LOG.error("No new connections for %g s: %s", EXHAUSTED, error)
            self._loop.remove_reader(self._sock)
            self._pause = self._loop.call_later(EXHAUSTED, self._loop.add_reader, self._sock, self._accept)
            return False
        connection.setblocking(False)
        self.handing_over.add(task := self._loop.create_task(self._serve(connection)))
        task.add_done_callback(self.handing_over.discard)
        return True

    async def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client has gone already
            await self._loop.connect_accepted_socket(self._protocol, connection)
