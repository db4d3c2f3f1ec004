"""``image-manage db``, as an operator runs it: real processes on SQLite and MariaDB."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import pytest
from sqlalchemy import Connection, insert, inspect, make_url, text, update

from image_service.errors import Duplicate, RegistryUnavailable
from image_service.model import Image, Status, new_id, now
from image_service.registry import engine, schema
from image_service.registry.database import DatabaseRegistry
from image_service.registry.engine import Database
from image_service.registry.tables import IMAGES, METADATA
from tests.mariadb import MariaDB

Manage = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(params=["sqlite", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "mariadb":
        new: str = request.getfixturevalue("mariadb").new_database()
        return new
    return f"sqlite:///{tmp_path}/registry.db"


def command(conf: Path, *words: str) -> list[str]:
    return [str(Path(sys.executable).parent / "image-manage"), "--config-file", str(conf), *words]


def write_conf(folder: Path, url: str) -> Path:
    conf = folder / "glance-registry.conf"
    conf.write_text(f"[database]\nconnection = {url}\n")
    return conf


@pytest.fixture
def manage(url: str, tmp_path: Path) -> Manage:
    """Run ``image-manage`` on the database."""
    conf = write_conf(tmp_path, url)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command(conf, *words), capture_output=True, text=True, timeout=120, check=False)

    return run


def test_sync_makes_the_schema_once(manage: Manage) -> None:
    first, second = manage("db", "sync"), manage("db_sync")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "it was changed" in first.stdout
    assert "nothing to do" in second.stdout
    assert manage("db", "version").stdout == "expand_0001 contract_0001\n"


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_new_sqlite_file_is_not_for_everybody(manage: Manage, tmp_path: Path) -> None:
    assert manage("db", "sync").returncode == 0
    assert stat.S_IMODE((tmp_path / "registry.db").stat().st_mode) == 0o640


def test_check_names_the_next_step(manage: Manage) -> None:
    assert manage("db", "check").returncode == 3
    early = manage("db", "contract")
    assert early.returncode == 1
    assert "image-manage db expand" in early.stderr
    assert manage("db", "expand").returncode == 0
    assert manage("db", "check").returncode == 5
    assert manage("db", "migrate").returncode == 0
    assert manage("db", "contract").returncode == 0
    assert manage("db", "check").returncode == 0


def test_many_hosts_may_sync_at_once(manage: Manage, tmp_path: Path) -> None:
    runs = [
        subprocess.Popen(
            command(tmp_path / "glance-registry.conf", "db", "sync"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    outputs = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], outputs
    # Who comes later finds nothing to do.
    assert sum("it was changed" in out for out, _ in outputs) == 1
    assert manage("db", "check").returncode == 0


def test_migrations_make_what_the_tables_say(url: str) -> None:
    database = Database(url)
    schema.sync(database)
    with database.engine.connect() as connection:
        made = inspect(connection)
        for table in METADATA.sorted_tables:
            columns = {c["name"]: (str(c["type"]).split(" ")[0], bool(c["nullable"])) for c in made.get_columns(table.name)}
            wanted = {c.name: (c.type.compile(connection.dialect), bool(c.nullable)) for c in table.columns}
            assert _plain(columns) == _plain(wanted), table.name
            indexes = {index["name"]: index["column_names"] for index in made.get_indexes(table.name)}
            assert indexes == {index.name: [c.name for c in index.columns] for index in table.indexes}, table.name
            assert made.get_pk_constraint(table.name)["constrained_columns"] == [c.name for c in table.primary_key]
    database.close()


def _plain(columns: dict[str, tuple[str, bool]]) -> dict[str, tuple[str, bool]]:
    """MariaDB has no BOOL of its own and prints its integers with a width; a DATETIME prints without its precision."""
    same = {"BOOL": "TINYINT", "BOOLEAN": "TINYINT", "DATETIME(6)": "DATETIME"}
    found = {}
    for name, (kind, nullable) in columns.items():
        bare = kind.split("(")[0] if "INT" in kind else kind
        found[name] = (same.get(bare, bare), nullable)
    return found


def test_a_user_who_may_not_make_tables_is_told_so(mariadb: MariaDB, tmp_path: Path) -> None:
    url = make_url(mariadb.new_database())
    mariadb.execute("CREATE OR REPLACE USER reader IDENTIFIED BY 'readers-word'")
    mariadb.execute(f"GRANT SELECT ON {url.database}.* TO reader")
    conf = write_conf(tmp_path, url.set(username="reader", password="readers-word").render_as_string(hide_password=False))
    done = subprocess.run(command(conf, "db", "sync"), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "CREATE command denied to user 'reader'" in done.stderr
    assert "Traceback" not in done.stderr
    assert "readers-word" not in done.stderr


def test_a_server_of_another_sql_mode_is_used_too(mariadb: MariaDB) -> None:
    mariadb.execute("SET GLOBAL sql_mode = 'ANSI_QUOTES'")
    try:
        database = Database(mariadb.new_database())
        assert schema.sync(database)
        database.close()
    finally:
        mariadb.execute("SET GLOBAL sql_mode = DEFAULT")


def test_a_step_whose_connection_breaks_is_told_so_and_goes_on_later(mariadb: MariaDB) -> None:
    database = Database(mariadb.new_database())

    def break_off(connection: Connection, revision: str) -> None:
        mariadb.execute(f"KILL {connection.exec_driver_sql('SELECT CONNECTION_ID()').scalar_one()}")
        upgrade(connection, revision)

    upgrade = schema._upgrade
    with patch.object(schema, "_upgrade", break_off), pytest.raises(RegistryUnavailable, match=r"The database failed: .*Lost"):
        schema.sync(database)
    assert schema.sync(database)
    database.close()


def test_an_interrupted_first_run_is_finished(mariadb: MariaDB) -> None:
    """On SQLite an interrupted run is undone whole."""
    database = Database(mariadb.new_database())
    schema.sync(database, "expand")
    with database.engine.connect() as connection:
        for statement in (
            "DELETE FROM alembic_version",
            "DROP TABLE image_uploads",
            "DROP INDEX ix_images_owner ON images",
        ):
            connection.execute(text(statement))
    schema.sync(database)
    with database.engine.connect() as connection:
        assert inspect(connection).has_table("image_uploads")
        assert "ix_images_owner" in {index["name"] for index in inspect(connection).get_indexes("images")}
    database.close()


@pytest.mark.parametrize("longest", [1, None])
def test_a_step_waits_for_another_host_longer_than_a_server_for_an_answer(
    mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch, longest: int | None
) -> None:
    monkeypatch.setattr(engine, "_ANSWER_TIMEOUT", 1)
    monkeypatch.setattr(schema, "LONGEST_STEP", longest or schema.LONGEST_STEP)
    database = Database(mariadb.new_database())
    with database.engine.connect() as other, ThreadPoolExecutor() as threads:
        other.execute(text(f"SELECT GET_LOCK('{schema.LOCK_NAME}', 0)"))
        step = threads.submit(schema.sync, database)
        with suppress(TimeoutError, RegistryUnavailable):
            step.result(2.5)
        other.execute(text(f"SELECT RELEASE_LOCK('{schema.LOCK_NAME}')"))
        if longest is None:
            assert step.result(60)
        else:
            with pytest.raises(RegistryUnavailable, match=r"The database failed: .*timed out"):
                step.result(60)
    database.close()


@pytest.mark.parametrize(
    ("applied", "fits"),
    [
        (["expand_0001", "contract_0001"], True),
        (["expand_0001"], True),
        (["expand_0002", "contract_0001"], True),
        (["expand_0002", "contract_0002"], False),
        ([], False),
        (None, False),
    ],
)
def test_a_process_runs_on_its_schema_and_on_the_next_expanded_one(url: str, applied: list[str] | None, fits: bool) -> None:
    database = Database(url)
    schema.sync(database)
    with database.engine.connect() as connection:
        connection.execute(text("DELETE FROM alembic_version"))
        for revision in applied or []:
            connection.execute(text(f"INSERT INTO alembic_version VALUES ('{revision}')"))
        if applied is None:
            connection.execute(text("DROP TABLE alembic_version"))
    database.close()

    async def check() -> None:
        registry = DatabaseRegistry(Database(url))
        try:
            await registry.check()
        finally:
            await registry.aclose()

    if fits:
        asyncio.run(check())
    else:
        with pytest.raises(RegistryUnavailable):
            asyncio.run(check())


def test_purge_erases_and_keeps_the_id(manage: Manage, url: str) -> None:
    assert manage("db", "sync").returncode == 0
    old, fresh, pending = new_id(), new_id(), new_id()

    async def fill() -> None:
        registry = DatabaseRegistry(Database(url))
        for image_id in (old, fresh, pending):
            status = Status.PENDING_DELETE if image_id == pending else Status.DELETED
            await registry.create_image(Image(id=image_id, name="secret plan", owner="p", status=status, size=3))
            await registry.delete_image(image_id)
        await registry.aclose()

    asyncio.run(fill())
    database = Database(url)
    aged = update(IMAGES).where(IMAGES.c.id != fresh).values(deleted_at=now() - timedelta(days=31))
    database.write(lambda connection: connection.execute(aged))
    database.close()
    first, second = manage("db", "purge"), manage("db", "purge", "--age_in_days", "0", "--max_rows", "-1")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert first.stdout.startswith("1 deleted")
    assert second.stdout.startswith("1 deleted")

    async def look() -> None:
        registry = DatabaseRegistry(Database(url))
        for image_id, name in ((old, None), (fresh, None), (pending, "secret plan")):
            image = await registry.get_image(image_id, include_deleted=True)
            assert (image.name, image.deleted) == (name, True)
            with pytest.raises(Duplicate):
                await registry.create_image(Image(id=image_id))
        await registry.aclose()

    asyncio.run(look())


def test_purges_at_once_share_the_work(manage: Manage, url: str) -> None:
    assert manage("db", "sync").returncode == 0
    old = dict.fromkeys(("created_at", "updated_at", "deleted_at"), now() - timedelta(days=31))
    flags = {"min_disk": 0, "min_ram": 0, "protected": False, "os_hidden": False, "deleted": True, **old}
    rows = [{"id": new_id(), "name": "n", "status": "deleted", "visibility": "shared", **flags} for _ in range(3000)]
    database = Database(url)
    database.write(lambda connection: connection.execute(insert(IMAGES), rows))
    database.close()
    with ThreadPoolExecutor(3) as threads:
        runs = list(threads.map(lambda _: manage("db", "purge", "--max_rows", "-1"), range(3)))
    assert [run.returncode for run in runs] == [0, 0, 0], [run.stderr for run in runs]
    assert sum(int(run.stdout.split()[0]) for run in runs) == len(rows)


@pytest.mark.parametrize("words", [("--age_in_days", "-1"), ("--max_rows", "0"), ("--max_rows", "x")])
def test_purge_refuses_nonsense(manage: Manage, words: tuple[str, str]) -> None:
    assert manage("db", "purge", *words).returncode == 2


@pytest.mark.parametrize(
    ("line", "code", "sentence"),
    [
        ("", 2, "connection is not set"),
        ("connection = postgresql://a:hunter2@b/c", 2, "postgresql is not supported"),
        ("connection = sqlite:////nowhere/at/all.db", 1, "/nowhere/at/all.db does not take connections: unable to open"),
        ("connection = mysql://a:hunter2@127.0.0.1:1/c\nmax_retries = 1\nretry_interval = 0", 1, "Connection refused"),
        ("sql_connection = sqlite:////nowhere/at/all.db", 1, "unable to open database file"),
    ],
)
def test_a_database_that_cannot_be_had_is_a_sentence(tmp_path: Path, line: str, code: int, sentence: str) -> None:
    conf = tmp_path / "glance-registry.conf"
    conf.write_text(f"[database]\n{line}\n")
    environment = {**os.environ, "HOME": str(tmp_path)}
    run = subprocess.run(command(conf, "db", "sync"), capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert run.returncode == code, run.stderr
    assert sentence in run.stderr
    assert "Traceback" not in run.stderr
    assert "hunter2" not in run.stdout + run.stderr


@pytest.mark.parametrize(
    ("revisions", "code", "sentence"),
    [
        (["2024_1_contract01"], 1, "another program"),
        (["liberty"], 1, "another program"),
        (["expand_0001", "contract_0002"], 1, "too new"),
        (["expand_0002", "contract_0001"], 0, ""),
        (["expand_0002"], 0, ""),
    ],
)
def test_a_database_of_others_or_of_a_newer_release_is_not_touched(
    manage: Manage, url: str, revisions: list[str], code: int, sentence: str
) -> None:
    assert manage("db", "sync").returncode == 0
    database = Database(url)
    with database.engine.connect() as connection:
        connection.execute(text("DELETE FROM alembic_version"))
        for revision in revisions:
            connection.execute(text(f"INSERT INTO alembic_version VALUES ('{revision}')"))
    database.close()
    for words in (("db", "sync"), ("db", "check"), ("db", "contract")):
        done = manage(*words)
        assert (done.returncode, sentence in done.stderr, "Traceback" in done.stderr) == (code, True, False), (words, done.stderr)
    assert (manage("db", "purge").returncode, "Traceback" in done.stderr) == (code, False)


@pytest.mark.parametrize(
    ("connection", "sentence"),
    [
        ("mysql://u@127.0.0.1/x?foo=bar", "'foo'"),
        ("mysql://u@127.0.0.1/x?charset=utf8&plugin=dbcounter", "dbcounter"),
        ("mysql://u@127.0.0.1/x?ssl=true", "the question mark of connection"),
        ("mysql://u@127.0.0.1/x\nssl_ca = /nowhere/ca.pem", "ssl_ca"),
        ("mysql://u@host:port/x", "is no URL"),
        ("mysql://u@host:99999/x", "wrong port"),
        ("sqlite:////nowhere/at/all.db?mode=ro", "write mysql"),
    ],
)
def test_a_url_that_nobody_understands_is_a_sentence(tmp_path: Path, connection: str, sentence: str) -> None:
    conf = write_conf(tmp_path, connection)
    for words, code in ((("db", "version"), 2), (("config", "check"), 1)):
        done = subprocess.run(command(conf, *words), capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, sentence in done.stderr, "Traceback" in done.stderr) == (code, True, False), done.stderr


def test_a_database_of_a_glance_before_alembic_is_not_touched(manage: Manage, url: str) -> None:
    """2014's: sqlalchemy-migrate kept its version in another table."""
    database = Database(url)
    with database.engine.connect() as connection:
        connection.execute(text("CREATE TABLE migrate_version (version INTEGER)"))
        connection.execute(text("CREATE TABLE images (id VARCHAR(36) PRIMARY KEY, name VARCHAR(255), is_public INTEGER)"))
        for words in (("db", "sync"), ("db", "expand"), ("db", "check"), ("db", "version")):
            done = manage(*words)
            assert (done.returncode, "another program" in done.stderr) == (1, True), (words, done.stderr)
        assert {*inspect(connection).get_table_names()} == {"images", "migrate_version"}
        assert inspect(connection).get_indexes("images") == []
    database.close()


@pytest.mark.parametrize(
    ("change", "told"), [("RENAME COLUMN checksum TO hash", "checksum"), ("RENAME TO pictures", "restore a backup")]
)
def test_a_database_that_fails_is_a_sentence_with_its_reason(manage: Manage, url: str, change: str, told: str) -> None:
    """The version says that all is well."""
    assert manage("db", "sync").returncode == 0
    database = Database(url)
    with database.engine.connect() as connection:
        connection.execute(text(f"ALTER TABLE images {change}"))
    database.close()
    done = manage("db", "purge")
    assert (done.returncode, told in done.stderr, "Traceback" in done.stderr) == (1, True, False), done.stderr


def test_a_disk_that_is_full_is_told(tmp_path: Path) -> None:
    """SQLite undoes the transaction by itself then."""
    conf = write_conf(tmp_path, f"sqlite:///{tmp_path}/registry.db")
    room = (
        "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (40960,) * 2); os.execv(sys.argv[1], sys.argv[1:])"
    )
    words = [sys.executable, "-c", room, *command(conf, "db", "sync")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "disk I/O error" in done.stderr, "rollback" in done.stderr) == (1, True, False), done.stderr


def test_a_database_without_tables_is_a_sentence(manage: Manage) -> None:
    done = manage("db", "purge")
    assert (done.returncode, "image-manage db sync" in done.stderr, "Traceback" in done.stderr) == (1, True, False)
