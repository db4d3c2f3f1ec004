"""``DatabaseRegistry``: the registry in this process, on SQLite, MariaDB or MySQL. Nothing above ``registry`` imports it.

Database calls block, so they run in threads: few for reading, few for writing, so that writers who wait for a lock never keep a
reader waiting; and two for renewing the leases of uploads, which would be lost behind writers who wait. On SQLite one thread
writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from image_service.registry import pages, queries, schema, writes
from image_service.registry.engine import Database
from image_service.registry.interface import Registry
from image_service.registry.threads import OneWriter, Threads

_SQLITE_READERS = 4
_RENEWERS = 2

P = ParamSpec("P")
T = TypeVar("T")


def _in_threads(
    work: Callable[Concatenate[Connection, P], T], *, threads: str = "_readers"
) -> Callable[Concatenate[DatabaseRegistry, P], Coroutine[Any, Any, T]]:
    """A method that runs ``work`` in one of ``threads``, and in a transaction unless those only read."""

    async def method(self: DatabaseRegistry, /, *arguments: P.args, **named: P.kwargs) -> T:
        mine: Threads = getattr(self, threads)
        return await mine.call(lambda connection: work(connection, *arguments, **named))

    return method


_reading, _writing, _renewing = _in_threads, partial(_in_threads, threads="_writers"), partial(_in_threads, threads="_renewers")


class DatabaseRegistry(Registry):
    """See :class:`Registry` for what each method promises. No connection is made before the first call."""

    create_image = _writing(writes.create_image)
    get_image = _reading(queries.find_image)
    list_images = _reading(pages.find_images)
    update_image = _writing(writes.update_image)
    delete_image = _writing(writes.delete_image)
    begin_upload = _writing(writes.begin_upload)
    renew_upload = _renewing(writes.renew_upload)
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
        if database.is_sqlite:
            readers = min(_SQLITE_READERS, max(1, database.most_connections - 1))
            self._writers: Threads = OneWriter(database.write)
            self._renewers: Threads = self._writers
        else:
            threads = max(2, database.most_connections - _RENEWERS)
            readers = threads - threads // 2
            self._writers = Threads(database.write, threads // 2, "registry-write")
            self._renewers = Threads(database.write, _RENEWERS, "registry-renew")
        self._readers = Threads(database.read, readers, "registry-read")

    async def aclose(self) -> None:
        """Wait for what is running, then close the connections."""
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        self._readers.stop()
        self._writers.stop()
        self._renewers.stop()
        self._database.close()
