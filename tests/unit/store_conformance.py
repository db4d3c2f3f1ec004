"""What every store driver must do: the contracts of ``store.interface``, as tests to subclass.

A driver gives :meth:`ReadContract.make`, :meth:`ReadContract.put` and :meth:`WriteContract.left`; a test fails
when ``left`` finds anything that no committed image accounts for.
"""

from __future__ import annotations

import asyncio
import functools
import os
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from image_service.errors import DataMissing, ImageServiceError, UnsupportedUrl, UploadLost
from image_service.store.interface import Listable, Store, StoredObject

BIG = os.urandom(5 << 20) + b"end"


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def new_id() -> str:
    return str(uuid.uuid4())


async def read_all(store: Store, url: str, offset: int = 0, length: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in store.read(url, offset, length)])


async def granted() -> None:
    """It is still to be discarded."""


class ReadContract:
    """Reading: what a driver that writes nothing must do as well."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return self.make(tmp_path)

    def make(self, folder: Path) -> Store:
        """A fresh, empty store; ``folder`` is the test's own."""
        raise NotImplementedError

    async def put(self, store: Store, data: bytes) -> str:
        """The URL under which the store has ``data``."""
        raise NotImplementedError

    def missing_url(self, store: Store) -> str:
        """A URL of the store's kind where there is nothing."""
        raise NotImplementedError

    @pytest.mark.parametrize("data", [b"", b"x", b"0123456789", BIG], ids=["empty", "one", "ten", "big"])
    def test_size_and_whole(self, store: Store, data: bytes) -> None:
        async def case() -> None:
            url = await self.put(store, data)
            assert await store.size(url) == len(data)
            assert await read_all(store, url) == data
            await store.close()

        asyncio.run(case())

    @pytest.mark.parametrize(
        ("offset", "length", "wanted"),
        [
            (0, 4, b"0123"),
            (3, 4, b"3456"),
            (3, None, b"3456789"),
            (9, 1, b"9"),
            (8, 100, b"89"),
            (10, None, b""),
            (2, 0, b""),
        ],
    )
    def test_part(self, store: Store, offset: int, length: int | None, wanted: bytes) -> None:
        async def case() -> None:
            url = await self.put(store, b"0123456789")
            assert await read_all(store, url, offset, length) == wanted
            await store.close()

        asyncio.run(case())

    @in_loop
    async def test_part_of_a_big_one(self, store: Store) -> None:
        url = await self.put(store, BIG)
        assert await read_all(store, url, 3 << 20, 1 << 20) == BIG[3 << 20 : 4 << 20]
        await store.close()

    @in_loop
    async def test_chunks_stay_small(self, store: Store) -> None:
        url = await self.put(store, BIG)
        assert max([len(chunk) async for chunk in store.read(url)]) <= 4 << 20
        await store.close()

    @in_loop
    async def test_reading_may_stop_early(self, store: Store) -> None:
        url = await self.put(store, BIG)
        chunks = store.read(url)
        assert BIG.startswith(await anext(chunks))
        await chunks.aclose()
        assert await read_all(store, url, len(BIG) - 3) == b"end"
        await store.close()

    @in_loop
    async def test_missing(self, store: Store) -> None:
        with pytest.raises(DataMissing):
            await store.size(self.missing_url(store))
        with pytest.raises(DataMissing):
            await read_all(store, self.missing_url(store))
        await store.close()

    @pytest.mark.parametrize("url", ["", "nonsense", "ftp://h/x", "gopher:", "://", "http:///x", "file:relative"])
    def test_url_of_another_kind(self, store: Store, url: str) -> None:
        async def case() -> None:
            with pytest.raises(UnsupportedUrl):
                await store.size(url)
            await store.close()

        asyncio.run(case())

    @in_loop
    async def test_it_can_work(self, store: Store) -> None:
        await store.check()
        assert isinstance(store.details(), dict)
        await store.close()


class WriteContract(ReadContract):
    """Writing: nothing or the whole."""

    async def left(self, store: Store) -> list[str]:
        """Everything that lies in the store, by whatever name, whether the driver would list it or not."""
        raise NotImplementedError

    async def put(self, store: Store, data: bytes) -> str:
        writer = await store.begin(new_id(), new_id(), len(data))
        if data:
            await writer.write(data)
        return (await writer.commit(granted)).url

    async def listed(self, store: Store) -> list[StoredObject]:
        assert isinstance(store, Listable)
        return [item async for some in store.objects() for item in some]

    @in_loop
    async def test_pieces_make_the_whole(self, store: Store) -> None:
        writer = await store.begin(new_id(), new_id(), None)
        buffer = bytearray(1 << 20)
        for start in range(0, len(BIG), len(buffer)):
            piece = BIG[start : start + len(buffer)]
            buffer[: len(piece)] = piece
            await writer.write(memoryview(buffer)[: len(piece)])
            buffer[:] = bytes(len(buffer))  # a writer must not keep what it was given
        stored = await writer.commit(granted)
        assert stored.url.partition("://")[0] in store.schemes
        assert await read_all(store, stored.url) == BIG

    @in_loop
    async def test_listed(self, store: Store) -> None:
        done, running, upload = new_id(), new_id(), new_id()
        writer = await store.begin(done, new_id(), 3)
        await writer.write(b"abc")
        url = (await writer.commit(granted)).url
        writer = await store.begin(running, upload, 3)
        await writer.write(b"x")
        found = {(item.image_id, item.upload_id, item.size) for item in await self.listed(store)}
        assert found == {(done, None, 3), (running, upload, 1)}
        assert url in {item.url for item in await self.listed(store)}
        await writer.abort()

    @in_loop
    async def test_nothing_is_visible_before_the_commit(self, store: Store) -> None:
        image = new_id()
        writer = await store.begin(image, new_id(), 3)
        await writer.write(b"abc")
        assert [item for item in await self.listed(store) if item.upload_id is None] == []
        url = (await writer.commit(granted)).url
        assert await store.size(url) == 3

    @pytest.mark.parametrize("step", ["begin", "write", "commit", "abort"])
    def test_abort_after_each_step_leaves_nothing(self, store: Store, step: str) -> None:
        async def case() -> None:
            writer = await store.begin(new_id(), new_id(), None)
            if step != "begin":
                await writer.write(BIG)
            if step == "commit":
                await writer.commit(granted)
            if step == "abort":
                await writer.abort()
            await writer.abort()
            assert await self.left(store) == []

        asyncio.run(case())

    @in_loop
    async def test_a_cancelled_begin_leaves_nothing(self, store: Store) -> None:
        task = asyncio.create_task(store.begin(new_id(), new_id(), None))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        assert await self.left(store) == []

    @in_loop
    async def test_abort_after_a_cancelled_write(self, store: Store) -> None:
        writer = await store.begin(new_id(), new_id(), None)
        task = asyncio.create_task(writer.write(BIG))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        await writer.abort()
        assert await self.left(store) == []

    @in_loop
    async def test_abort_after_a_cancelled_commit(self, store: Store) -> None:
        writer = await store.begin(new_id(), new_id(), None)
        await writer.write(BIG)
        task = asyncio.create_task(writer.commit(granted))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        await writer.abort()
        assert await self.left(store) == []

    @in_loop
    async def test_abort_spares_another_upload_of_the_image(self, store: Store) -> None:
        image = new_id()
        first = await store.begin(image, new_id(), None)
        await first.write(b"first")
        await first.commit(granted)
        second = await store.begin(image, new_id(), None)
        await second.write(b"second")
        url = (await second.commit(granted)).url
        await first.abort()
        assert await read_all(store, url) == b"second"

    @in_loop
    async def test_two_writers_of_one_image_do_not_mix(self, store: Store) -> None:
        image = new_id()
        first, second = await store.begin(image, new_id(), None), await store.begin(image, new_id(), None)
        for _ in range(20):
            await asyncio.gather(first.write(b"1" * 1000), second.write(b"2" * 1000))
        url = (await second.commit(granted)).url
        await first.abort()
        assert await read_all(store, url) == b"2" * 20000
        assert len(await self.left(store)) == 1

    @in_loop
    async def test_many_writers_at_once(self, store: Store) -> None:
        urls = await asyncio.gather(*(self.put(store, bytes([n]) * (100_000 + n)) for n in range(30)))
        for number, url in enumerate(urls):
            assert await read_all(store, url) == bytes([number]) * (100_000 + number)
        assert len(await self.left(store)) == 30

    @in_loop
    async def test_commit_replaces_what_a_dead_upload_left(self, store: Store) -> None:
        image = new_id()
        dead = await store.begin(image, new_id(), None)
        await dead.write(b"dead, but longer")
        await dead.commit(granted)
        writer = await store.begin(image, new_id(), None)
        await writer.write(b"alive")
        url = (await writer.commit(granted)).url
        assert await read_all(store, url) == b"alive"
        assert len(await self.left(store)) == 1

    @in_loop
    async def test_a_commit_that_is_late_spares_the_next_upload(self, store: Store) -> None:
        """It stood still until the image was another upload's."""
        image = new_id()
        late, next_one = await store.begin(image, new_id(), None), await store.begin(image, new_id(), None)
        await late.write(b"late")
        await next_one.write(b"alive")
        url = (await next_one.commit(granted)).url

        async def refused() -> None:
            raise UploadLost("it is another's")

        with pytest.raises(UploadLost):
            await late.commit(refused)
        await late.abort()
        assert await read_all(store, url) == b"alive"
        assert len(await self.left(store)) == 1

    @in_loop
    async def test_a_commit_spares_what_came_after_it_had_asked(self, store: Store) -> None:
        image, urls = new_id(), []
        dead, late, next_one = [await store.begin(image, new_id(), None) for _ in range(3)]
        for writer, data in ((dead, b"dead"), (late, b"late"), (next_one, b"alive")):
            await writer.write(data)
        await dead.commit(granted)

        async def stood_still() -> None:
            urls.append((await next_one.commit(granted)).url)

        with pytest.raises(UploadLost):
            await late.commit(stood_still)
        await late.abort()
        assert await read_all(store, urls[0]) == b"alive"
        assert len(await self.left(store)) == 1

    @in_loop
    async def test_delete(self, store: Store) -> None:
        url = await self.put(store, b"abc")
        await store.delete(url)
        assert await self.left(store) == []
        with pytest.raises(DataMissing):
            await store.delete(url)
        with pytest.raises(DataMissing):
            await read_all(store, url)

    @in_loop
    async def test_discard_removes_all_of_a_dead_upload(self, store: Store) -> None:
        image, spared = new_id(), await self.put(store, b"spared")
        for _ in range(2):
            writer = await store.begin(image, new_id(), None)
            await writer.write(b"abc")
            await writer.commit(granted)
        unfinished = await store.begin(image, new_id(), None)
        await unfinished.write(b"abc")
        await store.discard(image, None, granted)
        await store.discard(image, None, granted)
        assert len(await self.left(store)) == 1
        assert await read_all(store, spared) == b"spared"

    @in_loop
    async def test_discard_of_one_upload_spares_the_image(self, store: Store) -> None:
        image, upload = new_id(), new_id()
        writer = await store.begin(image, new_id(), None)
        await writer.write(b"abc")
        url = (await writer.commit(granted)).url
        await (await store.begin(image, upload, None)).write(b"dead")
        await store.discard(image, upload, granted)
        assert await read_all(store, url) == b"abc"
        assert len(await self.left(store)) == 1

    @in_loop
    async def test_a_discard_that_is_late_spares_the_next_upload(self, store: Store) -> None:
        """It was asked for, and stood still while another process cleaned up and the next upload ended."""
        image, urls = new_id(), []
        dead = await store.begin(image, new_id(), None)
        await dead.write(b"dead")
        await dead.commit(granted)

        async def late() -> None:
            await store.discard(image, None, granted)
            writer = await store.begin(image, new_id(), None)
            await writer.write(b"alive")
            urls.append((await writer.commit(granted)).url)

        await store.discard(image, None, late)
        assert await read_all(store, urls[0]) == b"alive"
        await dead.abort()
        assert await read_all(store, urls[0]) == b"alive"

    @in_loop
    async def test_a_discard_that_is_not_confirmed_removes_nothing(self, store: Store) -> None:
        image = new_id()
        writer = await store.begin(image, new_id(), None)
        await writer.write(b"abc")
        url = (await writer.commit(granted)).url

        async def refused() -> None:
            raise UploadLost("another was faster")

        with pytest.raises(UploadLost):
            await store.discard(image, None, refused)
        assert await read_all(store, url) == b"abc"

    @in_loop
    async def test_an_abort_that_is_late_spares_the_next_upload(self, store: Store) -> None:
        """Many times: a file system may give the number of a file that went to the next one."""
        for _ in range(20):
            image = new_id()
            late = await store.begin(image, new_id(), None)
            await late.write(b"dead")
            await late.commit(granted)
            await store.discard(image, None, granted)
            writer = await store.begin(image, new_id(), None)
            await writer.write(b"alive")
            url = (await writer.commit(granted)).url
            await late.abort()
            assert await read_all(store, url) == b"alive"

    @in_loop
    async def test_a_discarded_upload_cannot_finish(self, store: Store) -> None:
        image = new_id()
        writer = await store.begin(image, new_id(), None)
        await writer.write(b"abc")
        await store.discard(image, None, granted)
        await writer.write(b"still writing")
        with pytest.raises(ImageServiceError):
            await writer.commit(granted)
        await writer.abort()
        assert await self.left(store) == []
