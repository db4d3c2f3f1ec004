"""The registry on SQLite: one file, and one writer at a time, for which the others wait."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from image_service import config
from image_service.errors import Duplicate, InvalidValue, LimitExceeded, NotFound, RegistryNotWritable, RegistryUnavailable
from image_service.model import Image, Status, UploadKind, UploadLease, new_id
from image_service.registry import engine, threads
from image_service.registry.database import DatabaseRegistry
from image_service.registry.engine import Database
from image_service.registry.interface import ImageChange, ImageQuery
from tests.functional.registries import migrated


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    path = tmp_path / "registry.db"
    migrated(f"sqlite:///{path}")
    return path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another connection has the lock for writing meanwhile."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("COMMIT")
        connection.close()


def test_a_writer_waits_for_another_process_and_readers_do_not(sqlite_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``_LOCK_WAIT`` is made short, so that the wait is longer than SQLite's own and is tried again."""
    monkeypatch.setattr(engine, "_LOCK_WAIT", 0.2)

    async def body() -> None:
        registry = DatabaseRegistry(Database(f"sqlite:///{sqlite_file}"))
        image = await registry.create_image(Image(id=new_id()))
        changes = [ImageChange(set_properties={str(n): "v"}) for n in range(10)]
        with locked(sqlite_file):
            writes = [asyncio.create_task(registry.update_image(image.id, change)) for change in changes]
            await asyncio.sleep(1)
            assert not any(write.done() for write in writes)
            assert (await registry.get_image(image.id)).properties == {}
        await asyncio.gather(*writes)
        assert len((await registry.get_image(image.id)).properties) == 10
        await registry.aclose()

    asyncio.run(body())


def test_what_waits_for_the_writer_is_kept_by_one_commit_but_for_what_refuses(sqlite_file: Path) -> None:
    begun = threading.Event()
    said: list[str] = []
    kept, given_up = [[new_id() for _ in range(10)] for _ in range(2)]

    def note(_connection: Connection, _cursor: Any, statement: str, *_: object) -> None:
        said.append(statement)
        if statement == "BEGIN IMMEDIATE":
            begun.set()

    async def body() -> None:
        database = Database(f"sqlite:///{sqlite_file}")
        event.listen(database.engine, "before_cursor_execute", note)
        registry = DatabaseRegistry(database)
        with locked(sqlite_file):
            first = asyncio.create_task(registry.create_image(Image(id=new_id())))
            await asyncio.to_thread(begun.wait, 30)
            writes = [asyncio.create_task(registry.create_image(Image(id=one))) for one in (*kept, *given_up)]
            refused = asyncio.create_task(registry.create_image(Image(id=kept[4], tags=["of nobody"])))
            await asyncio.sleep(0)
            for write in writes[len(kept) :]:
                write.cancel()
            await asyncio.sleep(0)
        made = await asyncio.gather(first, *writes[: len(kept)])
        assert [image.id for image in made[1:]] == kept
        with pytest.raises(Duplicate):
            await refused
        assert said.count("COMMIT") == 2
        assert {image.id for image in await registry.list_images(ImageQuery())} == {first.result().id, *kept}
        await registry.aclose()

    asyncio.run(body())


def test_of_writes_that_are_kept_together_each_has_its_own_error(sqlite_file: Path) -> None:
    async def body() -> None:
        registry = DatabaseRegistry(Database(f"sqlite:///{sqlite_file}"))
        ids = [(await registry.create_image(Image(id=new_id()))).id for _ in range(9)]
        changes = [registry.update_image(one, ImageChange({"name": "new"})) for one in ids]
        missing = registry.update_image(new_id(), ImageChange({"name": "new"}))
        again = registry.create_image(Image(id=ids[0]))
        too_much = registry.update_image(ids[0], ImageChange({"name": "other"}, add_tags=("a", "b"), most={"tags": 1}))
        answers = await asyncio.gather(*changes[:5], missing, again, too_much, *changes[5:], return_exceptions=True)
        assert [type(one) for one in answers] == [*[Image] * 5, NotFound, Duplicate, LimitExceeded, *[Image] * 4]
        # In the log each stands without the others.
        assert isinstance(answers[5], NotFound)
        assert answers[5].__context__ is None
        found = [await registry.get_image(one) for one in ids]
        assert [(image.name, image.tags) for image in found] == [("new", [])] * 9
        await registry.aclose()

    asyncio.run(body())


def test_a_write_without_room_takes_no_room_from_those_that_are_kept_with_it(sqlite_file: Path) -> None:
    def leave_little_room(connection: Any, _record: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 20}").close()

    async def body() -> None:
        database = Database(f"sqlite:///{sqlite_file}")
        event.listen(database.engine, "connect", leave_little_room)
        registry = DatabaseRegistry(database)
        images = [Image(id=new_id()) for _ in range(9)]
        images[4].properties = {f"property{number}": "x" * 60_000 for number in range(9)}
        answers = await asyncio.gather(*[registry.create_image(image) for image in images], return_exceptions=True)
        assert [type(one) for one in answers] == [*[Image] * 4, RegistryNotWritable, *[Image] * 4]
        assert {image.id for image in await registry.list_images(ImageQuery())} == {one.id for one in images} - {images[4].id}
        await registry.aclose()

    asyncio.run(body())


def test_writes_that_take_long_are_kept_one_by_one(sqlite_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_LONGEST_TOGETHER", 0)
    said: list[str] = []

    async def body() -> None:
        database = Database(f"sqlite:///{sqlite_file}")
        event.listen(database.engine, "before_cursor_execute", lambda *given: said.append(given[2]))
        registry = DatabaseRegistry(database)
        images = [Image(id=new_id()) for _ in range(9)]
        made = await asyncio.gather(*[registry.create_image(image) for image in images])
        assert [image.id for image in made] == [image.id for image in images]
        assert said.count("COMMIT") == 9
        await registry.aclose()

    asyncio.run(body())


def test_nobody_waits_longer_because_of_who_came_later(sqlite_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_LOCK_WAIT", 0.1)
    monkeypatch.setattr(engine, "WRITE_DEADLINE", 3.0)

    async def body() -> None:
        registry = DatabaseRegistry(Database(f"sqlite:///{sqlite_file}"))
        with locked(sqlite_file):
            first, second = (asyncio.create_task(registry.create_image(Image(id=new_id()))) for _ in range(2))
            await asyncio.sleep(2.5)
            late = asyncio.create_task(registry.create_image(Image(id=new_id())))
            await asyncio.wait([first, second])
        await late
        for early in (first, second):
            assert isinstance(early.exception(), RegistryUnavailable)
        await registry.aclose()

    asyncio.run(body())


def test_a_lock_that_is_never_given_back_is_unavailable(sqlite_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_LOCK_WAIT", 0.1)
    monkeypatch.setattr(engine, "WRITE_DEADLINE", 0.5)

    async def body() -> None:
        registry = DatabaseRegistry(Database(f"sqlite:///{sqlite_file}"))
        with locked(sqlite_file):
            calls = [registry.create_image(Image(id=new_id())) for _ in range(6)]
            refused = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(one) for one in refused} == {RegistryUnavailable}
        assert "locked" not in str(refused)
        # Who waited behind the first has waited as long.
        assert str(refused).count("too busy") >= 5
        await registry.create_image(Image(id=new_id()))
        await registry.aclose()

    asyncio.run(body())


def test_many_open_a_new_file_at_once(tmp_path: Path) -> None:
    """As workers do that start before there is a schema; who loses the race for the journal is no error."""
    conf = config.load("glance-api", [], [])

    async def open_all() -> list[Database]:
        return await asyncio.gather(*[engine.open_database(conf.database) for _ in range(16)])

    for number in range(100):
        conf.set_override("connection", f"sqlite:///{tmp_path}/{number}.db", group="database")
        for database in asyncio.run(open_all()):
            database.close()


def test_a_closed_database_holds_no_file_open(sqlite_file: Path) -> None:
    def opened() -> int:
        files = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
        return files.count(os.path.realpath(sqlite_file))

    database = Database(f"sqlite:///{sqlite_file}")
    database.read(lambda connection: connection.exec_driver_sql("SELECT 1").scalar())
    assert opened() > 0
    database.close()
    assert opened() == 0


def test_an_undone_transaction_leaves_nothing(sqlite_file: Path) -> None:
    async def body() -> None:
        registry = DatabaseRegistry(Database(f"sqlite:///{sqlite_file}"))
        image = await registry.create_image(Image(id=new_id(), properties={"a": "1"}))
        bad = ImageChange(values={"name": "new"}, set_properties={"a": "2", "b": "x" * 70000})
        with pytest.raises(InvalidValue):
            await registry.update_image(image.id, bad)
        assert await registry.get_image(image.id) == image
        with pytest.raises(NotFound):
            await registry.begin_upload(UploadLease(new_id(), new_id(), UploadKind.V2, "file"), from_status=[Status.QUEUED])
        assert await registry.live_uploads() == []
        await registry.aclose()

    asyncio.run(body())
