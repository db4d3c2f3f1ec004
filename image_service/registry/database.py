"""``DatabaseRegistry``: the registry in this process, on SQLite, MariaDB or MySQL. Nothing above ``registry``
imports it but the programs.

Database calls block, so they run in threads: few for reading, few for writing, so that writers who wait for a
lock never keep a reader waiting. SQLite has one writer at a time anyway, so there one thread writes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import Connection

from image_service.errors import UploadLost
from image_service.model import Image, Member, Status, UploadLease
from image_service.registry import lookups, pages, queries, schema, writes
from image_service.registry.engine import Database
from image_service.registry.interface import ImageChange, ImageQuery, Registry

# Seconds for which an answer of check() is believed.
_CHECK_CACHE = 3.0
_SQLITE_READERS = 4

T = TypeVar("T")


class DatabaseRegistry(Registry):
    """See :class:`Registry` for what each method promises.

    ``database`` may be the URL of one (``[database] connection``). No connection is made before the first call. ``ValueError``
    for an URL of an unknown kind.
    """

    def __init__(self, database: Database | str) -> None:
        self._database = Database(database) if isinstance(database, str) else database
        threads = max(2, self._database.most_connections)
        writers = 1 if self._database.is_sqlite else threads // 2
        readers = min(_SQLITE_READERS, threads - 1) if self._database.is_sqlite else threads - writers
        self._readers = ThreadPoolExecutor(readers, "registry-read")
        self._writers = ThreadPoolExecutor(writers, "registry-write")
        self._healthy_until = 0.0

    async def _read(self, work: Callable[[Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._database.read, work)

    async def _write(self, work: Callable[[Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writers, self._database.write, work)

    async def _change(self, function: Callable[..., T], *arguments: Any) -> T:
        return await self._write(lambda connection: function(connection, *arguments))

    async def create_image(self, image: Image) -> Image:
        return await self._change(writes.create_image, image)

    async def get_image(self, image_id: str, *, include_deleted: bool = False) -> Image:
        return await self._read(lambda connection: queries.find_image(connection, image_id, include_deleted=include_deleted))

    async def list_images(self, query: ImageQuery) -> list[Image]:
        return await self._read(lambda connection: pages.find_images(connection, query))

    async def update_image(
        self,
        image_id: str,
        change: ImageChange,
        *,
        from_status: Collection[Status] | None = None,
        include_deleted: bool = False,
    ) -> Image:
        return await self._change(writes.update_image, image_id, change, from_status, include_deleted)

    async def delete_image(self, image_id: str) -> Image:
        return await self._change(writes.delete_image, image_id)

    async def begin_upload(self, lease: UploadLease, *, from_status: Collection[Status]) -> Image:
        return await self._change(writes.begin_upload, lease, from_status)

    async def renew_upload(self, image_id: str, upload_id: str) -> bool:
        return await self._write(lambda connection: writes.renew_upload(connection, image_id, upload_id))

    async def end_upload(self, image_id: str, upload_id: str, change: ImageChange) -> Image:
        image = await self._change(writes.end_upload, image_id, upload_id, change)
        if isinstance(image, UploadLost):
            raise image
        return image

    async def claim_dead_uploads(self, older_than: float) -> list[UploadLease]:
        return await self._write(lambda connection: writes.claim_dead_uploads(connection, older_than))

    async def live_uploads(self) -> list[UploadLease]:
        return await self._read(lookups.live_uploads)

    async def list_members(self, image_id: str) -> list[Member]:
        return await self._read(lambda connection: lookups.list_members(connection, image_id))

    async def get_member(self, image_id: str, member_id: str) -> Member | None:
        return await self._read(lambda connection: lookups.get_member(connection, image_id, member_id))

    async def create_member(self, member: Member, *, most: int = -1) -> Member:
        return await self._write(lambda connection: writes.create_member(connection, member, most))

    async def update_member(self, member: Member) -> Member:
        return await self._write(lambda connection: writes.update_member(connection, member))

    async def replace_members(self, image_id: str, members: Sequence[Member]) -> None:
        await self._write(lambda connection: writes.replace_members(connection, image_id, members))

    async def delete_member(self, image_id: str, member_id: str) -> None:
        await self._write(lambda connection: writes.delete_member(connection, image_id, member_id))

    async def list_shared(self, member_id: str) -> list[Member]:
        return await self._read(lambda connection: lookups.list_shared(connection, member_id))

    async def storage_used(self, owner: str | None) -> int:
        return await self._read(lambda connection: lookups.storage_used(connection, owner))

    async def known_image_ids(self, image_ids: Sequence[str]) -> dict[str, Status]:
        return await self._read(lambda connection: lookups.known_image_ids(connection, image_ids))

    async def check(self) -> None:
        if time.monotonic() < self._healthy_until:
            return
        await self._read(schema.require_fit)
        self._healthy_until = time.monotonic() + _CHECK_CACHE

    async def close(self) -> None:
        """Wait for what is running, then close the connections."""
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        self._readers.shutdown()
        self._writers.shutdown()
        self._database.close()
