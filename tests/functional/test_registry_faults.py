"""The registry when its database is slow, locked, killed or gone."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path

import pytest
from sqlalchemy import Connection, make_url, text

from image_service import log
from image_service.errors import RegistryNotWritable, RegistryUnavailable
from image_service.model import Image, Status, UploadKind, UploadLease, new_id
from image_service.registry import engine, schema
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
