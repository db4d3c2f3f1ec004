"""``DatabaseRegistry``: the registry in this process, on SQLite, MariaDB or MySQL. Nothing above ``registry`` imports it.

Database calls block, so they run in threads: few for reading, few for writing, so that writers who wait for a lock never keep a
reader waiting. SQLite has one writer at a time anyway, so there one thread writes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from image_service.registry import pages, queries, schema, writes
from image_service.registry.engine import Database
from image_service.registry.interface import Registry

_SQLITE_READERS = 4

P = ParamSpec("P")
T = TypeVar("T")


def _in_threads(
    work: Callable[Concatenate[Connection, P], T], *, writes: bool = False
) -> Callable[Concatenate[DatabaseRegistry, P], Coroutine[Any, Any, T]]:
    """A method that runs ``work`` in one of the threads for reading, or in a transaction in one of those for writing."""

    async def method(self: DatabaseRegistry, /, *arguments: P.args, **named: P.kwargs) -> T:
        threads, run = (self._writers, self._database.write) if writes else (self._readers, self._database.read)
        loop, now = asyncio.get_running_loop(), time.monotonic()
        # The context: what is logged in the thread has the request's id.
        call = partial(copy_context().run, run, lambda connection: work(connection, *arguments, **named), now)
        return await loop.run_in_executor(threads, call)

    return method


_reading, _writing = _in_threads, partial(_in_threads, writes=True)


class DatabaseRegistry(Registry):
    """See :class:`Registry` for what each method promises. No connection is made before the first call."""

    create_image = _writing(writes.create_image)
    get_image = _reading(queries.find_image)
    list_images = _reading(pages.find_images)
    update_image = _writing(writes.update_image)
    delete_image = _writing(writes.delete_image)
    begin_upload = _writing(writes.begin_upload)
    renew_upload = _writing(writes.renew_upload)
    end_upload = _writing(writes.end_upload)
    settle = _writing(writes.settle)
    claim_dead_uploads = _writing(writes.claim_dead_uploads)
    live_uploads = _reading(queries.live_uploads)
    list_members = _reading(queries.list_members)
    get_member = _reading(queries.get_member)
    create_member = _writing(writes.create_member)
    update_member = _writing(writes.update_member)
    replace_members = _writing(writes.replace_members)
    delete_member = _writing(writes.delete_member)
    list_shared = _reading(queries.list_shared)
    storage_used = _reading(queries.storage_used)
    check = _reading(schema.require_fit)

    def __init__(self, database: Database) -> None:
        self._database = database
        threads = max(2, database.most_connections)
        writers = 1 if database.is_sqlite else threads // 2
        readers = min(_SQLITE_READERS, threads - 1) if database.is_sqlite else threads - writers
        self._readers = ThreadPoolExecutor(readers, "registry-read")
        self._writers = ThreadPoolExecutor(writers, "registry-write")

    async def aclose(self) -> None:
        """Wait for what is running, then close the connections."""
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        self._readers.shutdown()
        self._writers.shutdown()
        self._database.close()
