"""Which worker takes a new connection: the one that has the fewest, while it comes for it at once.

All workers listen on the same sockets, and asyncio would give most connections to whoever wakes up first; with few clients
that keep their connections, one process would work and its neighbours idle. So each writes how many it has into memory that
all of them share, and who has more than another waits a moment before it takes one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import mmap
import socket
from collections.abc import Callable, Sequence

LOG = logging.getLogger(__name__)

SLOTS = 64
NOBODY = 0xFFFFFFFF
# Seconds that the others get to be faster.
COURTESY = 0.001
# Seconds without new connections when the process or the machine has no more descriptors.
EXHAUSTED = 1.0
_TOO_MANY = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Loads:
    """The connections of each worker, in shared memory. Made before the fork."""

    def __init__(self) -> None:
        self._counts = memoryview(mmap.mmap(-1, SLOTS * 4)).cast("I")
        for age in range(SLOTS):
            self.leave(age)

    def set(self, age: int, count: int) -> None:
        """Worker number ``age`` has ``count`` connections."""
        self._counts[age % SLOTS] = count

    def leave(self, age: int) -> None:
        """Worker number ``age`` takes no more."""
        self._counts[age % SLOTS] = NOBODY

    def least(self) -> int:
        """The fewest that a worker has."""
        return min(self._counts)


class Acceptor:
    """Takes connections from one socket, sets ``options`` (as ``setsockopt`` takes them), and hands them to a server."""

    def __init__(
        self,
        sock: socket.socket,
        options: Sequence[tuple[int, int, int]],
        protocol: Callable[[], asyncio.Protocol],
        is_busier: Callable[[], bool],
    ) -> None:
        self._sock = sock
        self._options = options
        self._protocol = protocol
        self._is_busier = is_busier
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._loop.add_reader(sock, self._ready)

    @property
    def taking(self) -> int:
        """Connections that were accepted and are not the server's yet."""
        return len(self._tasks)

    def close(self) -> None:
        """Take who waits already, then no more: the kernel refuses clients when the last process has closed the socket."""
        while self._accept():
            pass
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()

    async def settled(self) -> None:
        """Wait until all that were accepted are the server's."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ready(self) -> None:
        if self._is_busier():
            self._rest(COURTESY)
        else:
            self._accept()

    def _rest(self, seconds: float) -> None:
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock)
        self._pause = self._loop.call_later(seconds, self._late)

    def _late(self) -> None:
        """Nobody was faster, or somebody was."""
        self._loop.add_reader(self._sock, self._ready)
        self._accept()

    def _accept(self) -> bool:
        """Take one connection, if one is there."""
        try:
            connection, _ = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            if error.errno not in _TOO_MANY:
                raise
            LOG.error("No new connections for %g s: %s; LimitNOFILE says how many files may be open", EXHAUSTED, error)
            self._rest(EXHAUSTED)
            return False
        connection.setblocking(False)
        self._tasks.add(task := self._loop.create_task(self._serve(connection)))
        task.add_done_callback(self._tasks.discard)
        return True

    async def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client has gone already
            for option in self._options:
                connection.setsockopt(*option)
            await self._loop.connect_accepted_socket(self._protocol, connection)
