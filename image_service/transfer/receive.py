"""The pipeline of an upload: while chunks arrive, those before are hashed and written in threads.

hashlib gives the interpreter's lock back while it works, so both hashes run beside each other and beside receiving and writing:
MD5 (``checksum``) and ``hashing_algorithm`` (``os_hash_value``).

source ── cap ── gather to 1.5 MiB ┬── md5
            (three buffers,        ├── hashing_algorithm
             used in turn)         └── store

Each of the three takes the buffers in their order and does not wait for the others, until no buffer is free: with two hashes,
a writer and a receiver on two cores somebody is always late. While the slower hash stands still, the whole upload does: so a hash
goes on to its next buffer without asking the event loop, which is busy receiving.
"""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from image_service import faults
from image_service.errors import LimitExceeded
from image_service.store.interface import StoreWriter

_THREADS = ThreadPoolExecutor(max(2, os.cpu_count() or 1), thread_name_prefix="digest")
_AT_ONCE = 16 << 10  # so little is hashed sooner than a thread is woken
TURN = 1536 << 10  # bytes handed to the threads at a time
_BUFFERS = 3
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
    three turns and one chunk of the source, whatever the size. ``ValueError`` for an algorithm that hashlib does not have.
    """
    pipeline, arrived = _Pipeline(writer, algorithm), 0
    try:
        async for chunk in source:
            arrived += len(chunk)
            if cap is not None and arrived > cap:
                sentence = f"The image is larger than the {cap} bytes that it may have: the size cap or a quota is in the way."
                raise LimitExceeded(sentence)
            await pipeline.take(chunk)
        return await pipeline.finish()
    finally:
        await pipeline.quiet()


class _Digest:
    """A hash of what it takes, in that order. The thread that has hashed one piece queues the next, behind those of others."""

    def __init__(self, algorithm: str) -> None:
        self._hash = hashlib.new(algorithm, usedforsecurity=False)
        self._lock = threading.Lock()
        # The first one is being hashed already.
        self._waiting: deque[tuple[memoryview, Future[None]]] = deque()

    def take(self, data: memoryview) -> Future[None]:
        """Hash ``data``, which must stay as it is until that is done."""
        done: Future[None] = Future()
        with self._lock:
            self._waiting.append((data, done))
            first = len(self._waiting) == 1
        if first and len(data) <= _AT_ONCE:
            self._update()
        elif first:
            _THREADS.submit(self._update)
        return done

    def _update(self) -> None:
        data, done = self._waiting[0]
        self._hash.update(data)
        with self._lock:
            self._waiting.popleft()
            more = bool(self._waiting)
        if more:
            _THREADS.submit(self._update)
        done.set_result(None)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


class _Pipeline:
    def __init__(self, writer: StoreWriter | None, algorithm: str) -> None:
        self._digests = _Digest("md5"), _Digest(algorithm)
        self._writer = writer
        # Wakes who waits in the order in which they came.
        self._writing = asyncio.Lock()
        self._size = 0
        # Fresh pages: memory is used only as far as they are filled.
        self._buffers = [mmap.mmap(-1, TURN) for _ in range(_BUFFERS)]
        self._filling = 0
        self._filled = 0
        self._since = 0.0
        self._running: deque[asyncio.Future[None]] = deque()
        # Something failed, or nobody waits for it any more: what is queued must not begin.
        self._broken = False

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
        """Hand on what was gathered, but for the last ``keep`` bytes: those begin the next buffer, when that is free."""
        full, end = self._buffers[self._filling], self._filled - keep
        if end:
            self._running.append(asyncio.ensure_future(self._turn(memoryview(full)[:end])))
        await self._wait(_BUFFERS - 1)
        self._filling, self._filled = (self._filling + 1) % _BUFFERS, keep
        self._buffers[self._filling][:keep] = full[end : end + keep]
        self._since = time.monotonic()

    async def _turn(self, data: memoryview) -> None:
        hashed = [asyncio.wrap_future(digest.take(data)) for digest in self._digests]
        try:
            await self._write(data)
        finally:
            await asyncio.gather(*hashed)
        if not self._size:
            faults.point("upload.first-chunk")
        self._size += len(data)

    async def _write(self, data: memoryview) -> None:
        async with self._writing:
            if self._writer is None or self._broken:
                return
            try:
                await self._writer.write(data)
            except BaseException:
                self._broken = True
                raise

    async def _wait(self, most: int) -> None:
        """Until at most so many turns run. Raises what one of those that ended raised."""
        while len(self._running) > most or (self._running and self._running[0].done()):
            await asyncio.shield(self._running[0])  # Who is cancelled here leaves it to quiet().
            self._running.popleft()

    async def finish(self) -> Received:
        await self._flush()
        await self._wait(0)
        return Received(self._size, *(digest.hexdigest() for digest in self._digests))

    async def quiet(self) -> None:
        """Begin nothing any more, and wait until no thread touches the buffers or the writer.

        Another error is on its way already.
        """
        self._broken = True
        await asyncio.shield(asyncio.gather(*self._running, return_exceptions=True))
