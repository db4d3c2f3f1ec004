"""The registry when its database is slow, locked, killed or gone."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, make_url, text

from image_service import config, log
from image_service.errors import Duplicate, InvalidValue, LimitExceeded, NotFound, RegistryNotWritable, RegistryUnavailable
from image_service.model import Image, Status, UploadKind, UploadLease, new_id
from image_service.registry import engine, schema, threads
from image_service.registry.database import DatabaseRegistry
from image_service.registry.engine import Database
from image_service.registry.interface import ImageChange, ImageQuery
from tests.functional.registries import migrated
from tests.mariadb import MariaDB, running_mariadb
from tests.ports import free_port


def test_a_killed_server_is_an_error_and_then_found_again(tmp_path: Path) -> None:
    async def body(server: MariaDB, url: str) -> None:
        registry = DatabaseRegistry(Database(url))
        ids = [(await registry.create_image(Image(id=new_id()))).id for _ in range(5)]
        # Several connections in the pool, all of which will be dead.
        await asyncio.gather(*[registry.get_image(image_id) for image_id in ids * 4])
        server.kill()
        for call in (
            registry.get_image(ids[0]),
            registry.list_images(ImageQuery()),
            registry.create_image(Image(id=new_id())),
            registry.update_image(ids[0], ImageChange(values={"name": "x"})),
            registry.check(),
        ):
            with pytest.raises(RegistryUnavailable):
                await call
        server.start()
        await asyncio.gather(*[registry.get_image(image_id) for image_id in ids * 4])
        await registry.check()
        assert len(await registry.list_images(ImageQuery())) == 5
        await registry.aclose()

    with running_mariadb(tmp_path) as server:
        asyncio.run(body(server, migrated(server.new_database())))


def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    """Writers at work when the server is killed: each answered image is there, each unanswered one whole or not at all."""

    enough = asyncio.Event()

    async def write(registry: DatabaseRegistry, answered: list[str], asked: list[str]) -> None:
        while True:
            image = Image(id=new_id(), properties={"a": "1", "b": "2"}, tags=["t"])
            asked.append(image.id)
            await registry.create_image(image)
            answered.append(image.id)
            if len(answered) == 40:
                enough.set()

    async def body(server: MariaDB, url: str) -> None:
        registry = DatabaseRegistry(Database(url))
        answered: list[str] = []
        asked: list[str] = []
        writers = [asyncio.create_task(write(registry, answered, asked)) for _ in range(4)]
        await enough.wait()
        server.kill()
        outcomes = await asyncio.gather(*writers, return_exceptions=True)
        assert all(isinstance(outcome, RegistryUnavailable) for outcome in outcomes)
        server.start()
        found = {image.id: image for image in await registry.list_images(ImageQuery())}
        assert set(answered) <= found.keys() <= set(asked)
        assert all(len(image.properties) == 2 and image.tags == ["t"] for image in found.values())
        await registry.aclose()

    with running_mariadb(tmp_path) as server:
        asyncio.run(body(server, migrated(server.new_database())))


def test_a_broken_commit_is_never_done_again(mariadb: MariaDB) -> None:
    """The connection is killed while a transaction is open: before COMMIT it is tried again, in it never."""
    url = migrated(mariadb.new_database())
    database = engine.Database(url)
    seen: list[int] = []

    def breaks_once(connection: Connection) -> str:
        seen.append(connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one())
        if len(seen) == 1:
            mariadb.execute(f"KILL {seen[0]}")
        connection.exec_driver_sql("SELECT 1")
        return "done"

    def breaks_at_commit(connection: Connection) -> None:
        seen.append(0)
        mariadb.execute(f"KILL {connection.exec_driver_sql('SELECT CONNECTION_ID()').scalar_one()}")

    assert database.write(breaks_once) == "done"
    assert len(seen) == 2
    seen.clear()
    with pytest.raises(RegistryUnavailable, match="COMMIT"):
        database.write(breaks_at_commit)
    assert seen == [0]
    database.close()


def test_a_deadlock_is_nobodys_error(mariadb: MariaDB) -> None:
    database = engine.Database(migrated(mariadb.new_database()))
    database.write(lambda c: c.exec_driver_sql("CREATE TABLE pair (id INT PRIMARY KEY, n INT) ENGINE=InnoDB"))
    database.write(lambda c: c.exec_driver_sql("INSERT INTO pair VALUES (1, 0), (2, 0)"))
    both = threading.Barrier(2, timeout=30)
    runs: list[int] = []

    def swap(first: int, second: int) -> None:
        mine: list[int] = []

        def work(connection: Connection) -> None:
            runs.append(first)
            connection.exec_driver_sql(f"UPDATE pair SET n = n + 1 WHERE id = {first}")
            if not mine:
                mine.append(1)
                both.wait()
            connection.exec_driver_sql(f"UPDATE pair SET n = n + 1 WHERE id = {second}")

        database.write(work)

    threads = [threading.Thread(target=swap, args=pair) for pair in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    rows = database.read(lambda c: c.exec_driver_sql("SELECT n FROM pair").scalars().all())
    assert rows == [2, 2]
    assert len(runs) == 3
    database.close()


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    path = tmp_path / "registry.db"
    migrated(f"sqlite:///{path}")
    return path


def _hold(path: Path, held: threading.Event, release: threading.Event) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    held.set()
    release.wait(60)
    connection.execute("COMMIT")
    connection.close()


def test_a_writer_waits_for_another_process_and_readers_do_not(sqlite_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``_LOCK_WAIT`` is made short, so that the wait is longer than SQLite's own and is tried again."""
    monkeypatch.setattr(engine, "_LOCK_WAIT", 0.2)
    held, release = threading.Event(), threading.Event()

    async def body() -> None:
        registry = DatabaseRegistry(Database(f"sqlite:///{sqlite_file}"))
        image = await registry.create_image(Image(id=new_id()))
        holder = threading.Thread(target=_hold, args=(sqlite_file, held, release))
        holder.start()
        held.wait(30)
        writes = [
            asyncio.create_task(registry.update_image(image.id, ImageChange(set_properties={str(n): "v"}))) for n in range(10)
        ]
        await asyncio.sleep(1)
        assert not any(write.done() for write in writes)
        assert (await registry.get_image(image.id)).properties == {}
        release.set()
        await asyncio.gather(*writes)
        assert len((await registry.get_image(image.id)).properties) == 10
        holder.join(30)
        await registry.aclose()

    asyncio.run(body())


def test_what_waits_for_the_writer_is_kept_by_one_commit_but_for_what_refuses(sqlite_file: Path) -> None:
    held, release, begun = threading.Event(), threading.Event(), threading.Event()
    holder = threading.Thread(target=_hold, args=(sqlite_file, held, release))
    holder.start()
    held.wait(30)
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
        first = asyncio.create_task(registry.create_image(Image(id=new_id())))
        await asyncio.to_thread(begun.wait, 30)
        writes = [asyncio.create_task(registry.create_image(Image(id=one))) for one in (*kept, *given_up)]
        refused = asyncio.create_task(registry.create_image(Image(id=kept[4], tags=["of nobody"])))
        await asyncio.sleep(0)
        for write in writes[len(kept) :]:
            write.cancel()
        await asyncio.sleep(0)
        release.set()
        made = await asyncio.gather(first, *writes[: len(kept)])
        assert [image.id for image in made[1:]] == kept
        with pytest.raises(Duplicate):
            await refused
        assert said.count("COMMIT") == 2
        assert {image.id for image in await registry.list_images(ImageQuery())} == {first.result().id, *kept}
        await registry.aclose()

    asyncio.run(body())
    holder.join(30)


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
    held, release = threading.Event(), threading.Event()
    holder = threading.Thread(target=_hold, args=(sqlite_file, held, release))
    holder.start()
    held.wait(30)

    async def body() -> None:
        registry = DatabaseRegistry(Database(f"sqlite:///{sqlite_file}"))
        first, second = (asyncio.create_task(registry.create_image(Image(id=new_id()))) for _ in range(2))
        await asyncio.sleep(2.5)
        late = asyncio.create_task(registry.create_image(Image(id=new_id())))
        await asyncio.wait([first, second])
        release.set()
        await late
        for early in (first, second):
            assert isinstance(early.exception(), RegistryUnavailable)
        await registry.aclose()

    asyncio.run(body())
    holder.join(30)


def test_a_lock_that_is_never_given_back_is_unavailable(sqlite_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_LOCK_WAIT", 0.1)
    monkeypatch.setattr(engine, "WRITE_DEADLINE", 0.5)
    held, release = threading.Event(), threading.Event()
    holder = threading.Thread(target=_hold, args=(sqlite_file, held, release))
    holder.start()
    held.wait(30)

    async def body() -> None:
        registry = DatabaseRegistry(Database(f"sqlite:///{sqlite_file}"))
        calls = [registry.create_image(Image(id=new_id())) for _ in range(6)]
        refused = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(one) for one in refused} == {RegistryUnavailable}
        assert "locked" not in str(refused)
        # Who waited behind the first has waited as long.
        assert str(refused).count("too busy") >= 5
        release.set()
        holder.join(30)
        await registry.create_image(Image(id=new_id()))
        await registry.aclose()

    asyncio.run(body())


def test_a_database_without_tables_says_what_to_run(tmp_path: Path, mariadb: MariaDB) -> None:
    async def body(url: str) -> None:
        registry = DatabaseRegistry(Database(url))
        for call in (registry.get_image("x"), registry.create_image(Image(id=new_id())), registry.check()):
            with pytest.raises(RegistryUnavailable, match="image-manage db sync"):
                await call
        await registry.aclose()

    for url in (f"sqlite:///{tmp_path}/empty.db", mariadb.new_database()):
        asyncio.run(body(url))


@pytest.mark.parametrize("begun", [False, True])
def test_a_server_that_takes_no_writes_says_so_and_keeps_nothing(mariadb: MariaDB, begun: bool) -> None:
    url = make_url(migrated(mariadb.new_database()))
    mariadb.execute("CREATE OR REPLACE USER 'writer'@'127.0.0.1' IDENTIFIED BY 'password'")
    mariadb.execute(f"GRANT ALL ON {url.database}.* TO 'writer'@'127.0.0.1'")  # but not to write nevertheless
    database = Database(url.set(username="writer", password="password").render_as_string(hide_password=False))

    def work(connection: Connection) -> None:
        if begun:  # Then it is COMMIT that is refused.
            connection.execute(text("DELETE FROM alembic_version"))
        mariadb.execute("SET GLOBAL read_only = 1")
        if not begun:
            connection.execute(text("DELETE FROM alembic_version"))

    try:
        with pytest.raises(RegistryNotWritable):
            database.write(work)
        database.read(schema.require_fit)
    finally:
        mariadb.execute("SET GLOBAL read_only = 0")
        database.close()


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


def test_what_a_thread_logs_has_the_id_of_the_request(caplog: pytest.LogCaptureFixture) -> None:
    ids: list[str] = []

    def note(_record: logging.LogRecord) -> bool:
        ids.append(log.request_id.get())
        return True

    caplog.handler.addFilter(note)

    async def body() -> None:
        log.request_id.set("req-1")
        registry = DatabaseRegistry(Database(f"mysql://glance@127.0.0.1:{free_port()}/glance"))
        with pytest.raises(RegistryUnavailable):
            await registry.get_image(new_id())
        await registry.aclose()

    asyncio.run(body())
    assert ids == ["req-1"]


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


@pytest.mark.parametrize(("pool_size", "max_overflow"), [(1, 0), (2, 0), (2, 2), (5, 10)])
def test_a_pool_of_any_size_does(mariadb: MariaDB, pool_size: int, max_overflow: int) -> None:
    url = migrated(mariadb.new_database())

    async def body() -> None:
        registry = DatabaseRegistry(Database(url, pool_size=pool_size, max_overflow=max_overflow))
        image = await registry.create_image(Image(id=new_id()))
        assert not await registry.renew_upload(image.id, new_id())
        assert (await registry.get_image(image.id)).id == image.id
        await registry.aclose()

    asyncio.run(body())


def test_a_lease_is_renewed_beside_writers_who_wait_for_a_lock(mariadb: MariaDB) -> None:
    """As when another host has stood still in the middle of a transaction."""
    url = migrated(mariadb.new_database())

    async def body() -> None:
        registry, other = DatabaseRegistry(Database(url)), Database(url)
        locked, image = [await registry.create_image(Image(id=new_id())) for _ in range(2)]
        lease = UploadLease(image.id, new_id(), UploadKind.V2, "file")
        await registry.begin_upload(lease, from_status={Status.QUEUED})
        with other.engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT @@idle_transaction_timeout").scalar() == 60
            connection.exec_driver_sql("START TRANSACTION")
            connection.exec_driver_sql("UPDATE images SET name = 'x' WHERE id = %s", (locked.id,))
            writers = [registry.update_image(locked.id, ImageChange({"name": "y"})) for _ in range(30)]
            waiting = [asyncio.create_task(writer) for writer in writers]
            await asyncio.sleep(0.5)
            async with asyncio.timeout(10):
                assert await registry.renew_upload(lease.image_id, lease.upload_id)
            assert not any(task.done() for task in waiting)
            connection.exec_driver_sql("ROLLBACK")
        assert {found.name for found in await asyncio.gather(*waiting)} == {"y"}
        other.close()
        await registry.aclose()

    asyncio.run(body())
