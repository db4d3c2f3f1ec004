"""Which migrations a database has, and bringing it to the newest: expand, then contract.

Expand only adds, so the release before keeps running on it; contract removes what the new release no longer reads. (What moves
data in between comes with the first release that has data to move.) Revisions are numbered ``expand_0001``, ``contract_0001``;
table ``alembic_version`` holds the newest of each. A process runs on a schema that has at least its expand number and at most its
contract number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from image_service.errors import Conflict, RegistryUnavailable
from image_service.registry.engine import Database

LOCK_NAME, LOCK_WAIT = "image_service_schema", 600
# Seconds for one statement: a large table is altered for hours.
LONGEST_STEP = 86_400


class Version(NamedTuple):
    """The newest applied number of each branch; 0: none."""

    expand: int = 0
    contract: int = 0

    def __str__(self) -> str:
        return f"expand_{self.expand:04d} contract_{self.contract:04d}"


NEWEST = Version(expand=1, contract=1)


def version(connection: Connection) -> Version:
    """What is applied, whoever applied it."""
    tables = inspect(connection)
    if not tables.has_table("alembic_version"):
        if tables.has_table("images"):  # Ours are never without the other: it is made first.
            raise RegistryUnavailable(
                "This is the database of another program, perhaps of a Glance of before 2017: give an empty one."
            )
        return Version()
    numbers = {"expand": 0, "contract": 0}
    for revision in _revisions(connection):
        branch, _, number = revision.partition("_")
        if branch not in numbers or not number.isdigit():
            raise RegistryUnavailable(f"This is the database of another program: it is at revision {revision}.")
        numbers[branch] = max(numbers[branch], int(number))
    return Version(**numbers)


def _revisions(connection: Connection) -> Sequence[str]:
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars().all()


def require_fit(connection: Connection) -> None:
    """``RegistryUnavailable`` with what to do, unless this program can work on the schema. One query where all is well."""
    if {*str(NEWEST).split()} <= {*_revisions(connection)}:
        return
    found = version(connection)
    if found.expand < NEWEST.expand:
        raise RegistryUnavailable(f"The database's schema is too old ({found}). Run: image-manage db sync")
    _require_not_newer(found)


def _require_not_newer(found: Version) -> None:
    if found.contract > NEWEST.contract:
        raise RegistryUnavailable(f"The database's schema is too new for this release ({found}). Install the newer one here too.")


def next_step(connection: Connection) -> str | None:
    """``expand``, ``contract``, or None when there is nothing left to do."""
    found = version(connection)
    _require_not_newer(found)
    if found.expand < NEWEST.expand:
        return "expand"
    # What a newer release has added, it will contract itself.
    return "contract" if found.expand == NEWEST.expand and found.contract < NEWEST.contract else None


def sync(database: Database, *wanted: str) -> bool:
    """The ``wanted`` steps, or both. Did this call change anything? Hosts that do it at the same time come one after the other.

    ``expand`` adds what this release needs, ``contract`` removes what it no longer reads: ``Conflict`` when that comes too early.
    """
    changed = False
    with _locked(database) as connection:
        while (step := next_step(connection)) and step in (wanted or ("expand", "contract")):
            _upgrade(connection, f"{step}_{getattr(NEWEST, step):04d}")
            changed = True
    if step == "expand":
        raise Conflict("First run: image-manage db expand")
    return changed


def _upgrade(connection: Connection, revision: str) -> None:
    # Alembic costs a tenth of a second at start, which servers need not spend.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


@contextmanager
def _locked(database: Database) -> Iterator[Connection]:
    """One connection while no other process migrates.

    On SQLite this is a transaction: a migration is applied whole or not at all.
    """
    try:
        with database.engine.connect() as connection:
            yield from _sqlite_locked(connection) if database.is_sqlite else _mysql_locked(connection)
    except DBAPIError as error:
        raise RegistryUnavailable(
            f"The database failed: {error.orig}. Mend that and do it again: it goes on where it was."
        ) from error


def _sqlite_locked(connection: Connection) -> Iterator[Connection]:
    connection.exec_driver_sql(f"PRAGMA busy_timeout={LOCK_WAIT * 1000}")
    connection.exec_driver_sql("BEGIN EXCLUSIVE")
    try:
        yield connection
        connection.exec_driver_sql("COMMIT")
    except BaseException:
        with suppress(DBAPIError):  # A full disk has undone it already; the first error is the one to tell.
            connection.exec_driver_sql("ROLLBACK")
        raise
    finally:
        # Its waiting time is not for others of the pool.
        connection.invalidate()


def _mysql_locked(connection: Connection) -> Iterator[Connection]:
    # PyMySQL has no public word for it after the handshake, and a server that is silent there must not be waited for so long.
    driver: Any = connection.connection.dbapi_connection
    driver._read_timeout = LONGEST_STEP
    try:
        if connection.execute(text("SELECT GET_LOCK(:name, :wait)"), {"name": LOCK_NAME, "wait": LOCK_WAIT}).scalar() != 1:
            raise RegistryUnavailable(f"Another process has been migrating the database for {LOCK_WAIT} seconds.")
        yield connection
    finally:
        # The lock goes with the connection, whose waiting time is not for others of the pool.
        connection.invalidate()
