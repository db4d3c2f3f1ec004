"""The pipeline of an upload: while chunks arrive, those before are hashed and written in threads.

hashlib gives the interpreter's lock back while it works, so both hashes run beside each other and beside receiving and writing:
MD5 (``checksum``) and ``hashing_algorithm`` (``os_hash_value``).

source ── cap ── gather to 2 MiB ──┬── md5
            (two buffers,          ├── hashing_algorithm
             used in turn)         └── store
"""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import os
import time
from collections.abc import AsyncIterator, Awaitable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from image_service import faults
from image_service.errors import LimitExceeded
from image_service.store.interface import StoreWriter

_THREADS = ThreadPoolExecutor(max(2, os.cpu_count() or 1), thread_name_prefix="digest")
_AT_ONCE = 16 << 10  # so little is hashed sooner than a thread is woken
TURN = 2 << 20  # bytes handed to the threads at a time
# Turns but the last are multiples of this, in memory that begins at a page, so that a store may write past the page cache.
_BLOCK = 4096
# A slow client's bytes are handed on earlier, so that many slow clients do not each fill a buffer.
_SLOW_TURN = 64 << 10
_SLOW_AFTER = 0.05  # seconds


@dataclass(frozen=True, slots=True)
class Received:
    """What arrived: bytes, MD5 in hex, and the value of the other hash in hex."""

    size: int
    checksum: str
    hash_value: str


async def receive(source: AsyncIterator[bytes], writer: StoreWriter | None, *, algorithm: str, cap: int | None) -> Received:
    """Write all of ``source`` to ``writer`` (not committed, not aborted: that is the caller's); without one it is only hashed.

    Raises what the source and the writer raise, and ``LimitExceeded`` over ``cap`` bytes; the threads are quiet then. Memory:
    two turns and one chunk of the source, whatever the size. ``ValueError`` for an algorithm that hashlib does not have.
    """
    pipeline = _Pipeline(writer, algorithm)
    try:
        async for chunk in source if cap is None else capped(source, cap):
            await pipeline.take(chunk)
        return await pipeline.finish()
    finally:
        await pipeline.quiet()


async def capped(source: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    """Pass ``source`` on; ``LimitExceeded`` in place of the chunk that leads over ``limit`` bytes, whatever a header said."""
    left = limit
    async for chunk in source:
        left -= len(chunk)
        if left < 0:
            raise LimitExceeded(
                f"The image is larger than the {limit} bytes that it may have: the size cap or a quota is in the way."
            )
        yield chunk


class _Pipeline:
    def __init__(self, writer: StoreWriter | None, algorithm: str) -> None:
        self._writer = writer
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._other = hashlib.new(algorithm, usedforsecurity=False)
        self._size = 0
        # Fresh pages: memory is used only as far as they are filled.
        self._buffers = (mmap.mmap(-1, TURN), mmap.mmap(-1, TURN))
        self._filling = 0
        self._filled = 0
        self._since = 0.0
        self._running: asyncio.Future[None] | None = None

    async def take(self, chunk: bytes) -> None:
        """Gather ``chunk``; hand on a buffer that is full, or that a slow client takes long to fill."""
        view = memoryview(chunk)
        while view:
            if not self._filled:
                self._since = time.monotonic()
            end = min(self._filled + len(view), TURN)
            part, view = view[: end - self._filled], view[end - self._filled :]
            self._buffers[self._filling][self._filled : end] = part
            self._filled = end
            if end == TURN or (end >= _SLOW_TURN and time.monotonic() - self._since > _SLOW_AFTER):
                await self._flush(keep=end % _BLOCK)

    async def _flush(self, keep: int = 0) -> None:
        """Hand on what was gathered, but for the last ``keep`` bytes: those begin the other buffer."""
        await self._wait()
        full, end = self._buffers[self._filling], self._filled - keep
        self._filling, self._filled = 1 - self._filling, keep
        self._buffers[self._filling][:keep] = full[end : end + keep]
        self._since = time.monotonic()
        if end:
            self._running = asyncio.ensure_future(self._turn(memoryview(full)[:end]))

    async def _turn(self, data: memoryview) -> None:
        work: list[Awaitable[None]] = [] if self._writer is None else [self._writer.write(data)]
        for digest in (self._md5, self._other):
            if len(data) <= _AT_ONCE:
                digest.update(data)
            else:
                work.append(asyncio.get_running_loop().run_in_executor(_THREADS, digest.update, data))
        results = await asyncio.gather(*work, return_exceptions=True)
        for result in results:
            if result is not None:
                raise result
        if not self._size:
            faults.point("upload.first-chunk")
        self._size += len(data)

    async def _wait(self) -> None:
        if self._running is not None:
            await asyncio.shield(self._running)  # Who is cancelled here leaves it to quiet().
            self._running = None

    async def finish(self) -> Received:
        await self._flush()
        await self._wait()
        return Received(self._size, self._md5.hexdigest(), self._other.hexdigest())

    async def quiet(self) -> None:
        """Wait until no thread touches the buffers or the writer. Another error is on its way already."""
        if self._running is not None:
            await asyncio.wait({self._running})
            if not self._running.cancelled():
                self._running.exception()
