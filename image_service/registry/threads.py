"""Threads for calls of the database, which block.

SQLite has one writer at a time, so there one thread writes: what waits for it is kept together, by one COMMIT that waits for the
disk once.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context, copy_context
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection

from image_service.errors import ImageServiceError

# Other processes that write wait for the end of a transaction that keeps so many, or goes on for so many seconds.
_MOST_TOGETHER, _LONGEST_TOGETHER = 64, 0.1

T = TypeVar("T")


class Threads:
    """Runs work on the database, with ``run`` (``Database.read`` or ``.write``), in ``count`` threads."""

    def __init__(self, run: Callable[..., Any], count: int, name: str) -> None:
        self._run = run
        self._executor = ThreadPoolExecutor(count, name)

    async def call(self, work: Callable[[Connection], T]) -> T:
        """The result of ``work``. Given up before a thread takes it, it is not done."""
        # The context: what is logged in the thread has the request's id.
        call = self._executor.submit(copy_context().run, self._run, work, time.monotonic())
        return await asyncio.wrap_future(call)

    def stop(self) -> None:
        """Wait for all that was asked for; nothing more may be."""
        self._executor.shutdown()


class _Write(NamedTuple):
    context: Context
    work: Callable[[Connection], Any]
    since: float
    done: Future[Any]


class OneWriter(Threads):
    """The thread that writes to SQLite. Nobody gets another's error: one write may refuse, and the others are kept; where the
    database fails, they are done again by halves until the one that it fails for is alone.
    """

    def __init__(self, write: Callable[..., Any]) -> None:
        super().__init__(write, 1, "registry-write")
        self._waiting: deque[_Write] = deque()

    async def call(self, work: Callable[[Connection], T]) -> T:
        """See :meth:`Threads.call`."""
        done: Future[T] = Future()
        self._waiting.append(_Write(copy_context(), work, time.monotonic(), done))
        self._executor.submit(self._turn)
        return await asyncio.wrap_future(done)

    def _turn(self) -> None:
        taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_TOGETHER))]
        groups = [[write for write in taken if write.done.set_running_or_notify_cancel()]]
        del taken  # What is done is let go of: it may be large.
        while groups := [group for group in groups if group]:
            groups[:1] = self._keep(groups[0])

    def _keep(self, writes: list[_Write]) -> list[list[_Write]]:
        """Do them in one transaction, the first ones at least. What is left, in groups to be kept each by itself."""

        def work(connection: Connection) -> list[Any]:
            done: list[Any] = []
            end = time.monotonic() + _LONGEST_TOGETHER
            while len(done) < len(writes) and (not done or time.monotonic() < end):
                write = writes[len(done)]
                done.append(write.context.run(_by_itself, write.work, connection))
            return done

        try:
            # By the one that has waited longest, for nobody waits beyond his deadline because of who came later.
            results = writes[0].context.copy().run(self._run, work, writes[0].since)
        except Exception as error:  # noqa: BLE001 - handed to who waits for it
            if half := len(writes) // 2:
                return [writes[:half], writes[half:]]
            results = [error]
        for write, result in zip(writes, results, strict=False):
            if isinstance(result, Exception):
                write.done.set_exception(result)
            else:
                write.done.set_result(result)
        return [writes[len(results) :]]


def _by_itself(work: Callable[[Connection], T], connection: Connection) -> T | ImageServiceError:
    """The result of ``work``; or why it refused, and nothing of it is kept."""
    result: T | ImageServiceError
    connection.exec_driver_sql("SAVEPOINT itself")
    try:
        result = work(connection)
    except ImageServiceError as error:
        connection.exec_driver_sql("ROLLBACK TO itself")
        result = error
    connection.exec_driver_sql("RELEASE itself")
    return result
