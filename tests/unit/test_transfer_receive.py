"""The upload pipeline: right hashes and bytes however the source is cut, and quiet threads after an error."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from image_service.errors import LimitExceeded, StoreFull
from image_service.model import Location
from image_service.store.filesystem import FilesystemStore
from image_service.store.interface import Confirm, StoreWriter
from image_service.transfer.receive import TURN, Received, receive
from tests.unit.store_conformance import in_loop, new_id

DATA = os.urandom(5 * TURN + 12345)


class MemoryWriter(StoreWriter):
    """Keeps what is written; in a thread and slowly, as a disk is. Fails after ``room`` bytes."""

    def __init__(self, room: int = 1 << 40, delay: float = 0) -> None:
        self.data = bytearray()
        self.room = room
        self.delay = delay
        self.active = self.failures = 0
        self.lock = threading.Lock()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        await asyncio.to_thread(self._write, data)

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        with self.lock:
            self.active += 1
        assert self.active == 1, "two writes at once"
        time.sleep(self.delay)
        if len(self.data) + len(data) > self.room:
            self.active -= 1
            self.failures += 1
            raise StoreFull("full")
        self.data += data
        self.active -= 1

    async def commit(self, confirm: Confirm) -> Location:
        raise NotImplementedError

    async def abort(self) -> None:
        raise NotImplementedError


async def cut(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
        await asyncio.sleep(0)


async def until(done: Callable[[], bool]) -> None:
    """Wait for it, however busy the machine is."""
    for _ in range(3000):
        if done():
            return
        await asyncio.sleep(0.01)
    pytest.fail("waited in vain")


def expected(data: bytes, algorithm: str = "sha512") -> Received:
    other = hashlib.new(algorithm, data).hexdigest()
    return Received(len(data), hashlib.md5(data, usedforsecurity=False).hexdigest(), other)


@pytest.mark.parametrize("size", [997, 65536, TURN - 1, TURN, TURN + 1, 3 * TURN, len(DATA)])
def test_bytes_and_hashes(size: int) -> None:
    writer = MemoryWriter()
    assert asyncio.run(receive(cut(DATA, size), writer, algorithm="sha512", cap=len(DATA))) == expected(DATA)
    assert writer.data == DATA


@pytest.mark.parametrize("data", [b"", b"x", DATA[:TURN], DATA[: TURN + 1], DATA[: 2 * TURN]])
@pytest.mark.parametrize("algorithm", ["sha256", "md5", "blake2b"])
def test_edges(data: bytes, algorithm: str) -> None:
    writer = MemoryWriter()
    received = asyncio.run(receive(cut(data, 50_000), writer, algorithm=algorithm, cap=None))
    assert received == expected(data, algorithm)
    assert writer.data == data


def test_a_mixture_of_sizes() -> None:
    sizes = [1, TURN, 5, 2 * TURN + 1, 0, 65536, TURN]

    async def mixed() -> AsyncIterator[bytes]:
        start = 0
        for size in sizes:
            yield DATA[start : start + size]
            start += size

    writer = MemoryWriter(delay=0.01)
    received = asyncio.run(receive(mixed(), writer, algorithm="sha512", cap=None))
    assert received == expected(DATA[: sum(sizes)])
    assert writer.data == DATA[: sum(sizes)]


def test_a_slow_client_does_not_fill_a_turn() -> None:
    async def slow() -> AsyncIterator[bytes]:
        for start in range(0, 10 * 32768, 32768):
            await asyncio.sleep(0.06)
            await until(lambda: start - len(writer.data) <= 4 * 32768)  # noqa: B023
            yield DATA[start : start + 32768]

    writer = MemoryWriter()
    assert asyncio.run(receive(slow(), writer, algorithm="sha512", cap=None)) == expected(DATA[: 10 * 32768])


def test_an_error_of_the_source() -> None:
    async def gone() -> AsyncIterator[bytes]:
        yield DATA
        raise ConnectionResetError

    writer = MemoryWriter(delay=0.05)
    with pytest.raises(ConnectionResetError):
        asyncio.run(receive(gone(), writer, algorithm="sha512", cap=None))
    assert writer.active == 0


@pytest.mark.parametrize("room", [0, TURN, len(DATA) - 1])
def test_an_error_of_the_writer(room: int) -> None:
    writer = MemoryWriter(room=room, delay=0.05)
    with pytest.raises(StoreFull):
        asyncio.run(receive(cut(DATA, 65536), writer, algorithm="sha512", cap=None))
    assert writer.failures == 1
    assert writer.data == DATA[: len(writer.data)], "nothing is written after a failure"


def test_a_broken_writer_stops_an_endless_source() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield DATA[:65536]
            await asyncio.sleep(0)

    with pytest.raises(StoreFull):
        asyncio.run(receive(endless(), MemoryWriter(room=3 * TURN), algorithm="sha512", cap=None))


@in_loop
async def test_a_writer_that_stands_still_holds_up_the_source() -> None:
    sent = 0

    async def ask_for_more() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            yield DATA[:TURN]
            sent += TURN

    class Standing(MemoryWriter):
        async def write(self, data: bytes | bytearray | memoryview) -> None:
            await asyncio.Event().wait()

    task = asyncio.create_task(receive(ask_for_more(), Standing(), algorithm="sha512", cap=None))
    await until(lambda: sent == 2 * TURN)
    await asyncio.sleep(0.2)
    assert sent == 2 * TURN, "three buffers are full"
    task.cancel()


def test_a_broken_writer_ends_a_slow_source_at_its_next_bytes() -> None:
    sent = 0

    async def slow() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield DATA[:TURN]
            await until(lambda: len(asyncio.all_tasks()) == 1)  # the write has failed

    with pytest.raises(StoreFull):
        asyncio.run(receive(slow(), MemoryWriter(room=0), algorithm="sha512", cap=None))
    assert sent == 2


@in_loop
async def test_cancelled_and_then_quiet() -> None:
    async def stuck() -> AsyncIterator[bytes]:
        yield DATA[: 2 * TURN]
        await asyncio.Event().wait()

    writer = MemoryWriter(delay=0.1)
    task = asyncio.create_task(receive(stuck(), writer, algorithm="sha512", cap=None))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert writer.active == 0


@pytest.mark.parametrize("size", [1000, 65536, 3 * TURN])
def test_the_cap_counts_bytes(size: int) -> None:
    with pytest.raises(LimitExceeded):
        asyncio.run(receive(cut(DATA, size), MemoryWriter(), algorithm="sha512", cap=len(DATA) - 1))


def test_nothing_beyond_the_cap_is_written() -> None:
    writer = MemoryWriter()
    with pytest.raises(LimitExceeded):
        asyncio.run(receive(cut(DATA, TURN), writer, algorithm="sha512", cap=4 * TURN - 1))
    assert len(writer.data) <= 3 * TURN
    whole = receive(cut(DATA, TURN), MemoryWriter(), algorithm="sha512", cap=len(DATA))
    assert asyncio.run(whole).size == len(DATA)


@in_loop
async def test_the_event_loop_turns_meanwhile(tmp_path: Path) -> None:
    """Other work gets its turn while a chunk of 64 MiB is hashed and written."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    store = FilesystemStore("file", [(tmp_path, 0)])
    writer = await store.begin(new_id(), new_id(), None)
    counter = asyncio.create_task(count())
    await receive(cut(bytes(64 << 20), 64 << 20), writer, algorithm="sha512", cap=None)
    counter.cancel()
    await writer.abort()
    assert turns > 100
