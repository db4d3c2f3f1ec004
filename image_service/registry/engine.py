"""Connections to the database: transactions, deadlines, what is tried again and what never.

Every connection is in autocommit mode, so a read costs no BEGIN and no ROLLBACK; a write says BEGIN and COMMIT itself. What
failed before its COMMIT has changed nothing and may be tried again. Where the connection breaks during COMMIT nobody knows what
happened: ``RegistryUnavailable``, never a second try.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

from oslo_config import cfg, types
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from image_service.config_check import is_loopback
from image_service.errors import ImageServiceError, InvalidValue, RegistryNotWritable, RegistryUnavailable

LOG = logging.getLogger(__name__)

# Longest wait for others' locks, in seconds; beyond it the answer is 503, never "database is locked".
WRITE_DEADLINE = 60.0
_LOCK_WAIT = 10
_CONNECT_TIMEOUT = 10
_ANSWER_TIMEOUT = 60
# InnoDB: lock wait timeout, deadlock (also Galera's certification failure). Nothing was kept.
_MYSQL_TRY_AGAIN = frozenset({1205, 1213})
_MYSQL_NO_TABLE = 1146
# Not reachable, gone, lost, too many connections: the server may only be starting.
_MYSQL_NOT_YET = frozenset({2002, 2003, 2006, 2013, 1040, 1203})
# SQLITE_BUSY and SQLITE_LOCKED, the low byte of the extended code.
_SQLITE_TRY_AGAIN = frozenset({5, 6})
# Read-only, full, cannot be opened: of SQLite, then of MariaDB.
_NOT_WRITABLE = frozenset({8, 13, 14, 1021, 1114, 1290, 1792, 1836})
_URLS = "mysql://USER:PASSWORD@HOST/NAME or sqlite:////PATH"

T = TypeVar("T")


def database_url(connection: str) -> URL:
    """The URL with the driver that is used: PyMySQL for every kind of ``mysql:`` and ``mariadb:``; Python's sqlite3.

    ``ValueError`` with a sentence for an URL of another kind.
    """
    try:
        url = make_url(connection)
        types.Port()(url.port or 0)
    except (ArgumentError, ValueError):  # of a port that is none
        raise ValueError(f"[database] connection is no URL, or has a wrong port; write {_URLS}.") from None
    kind = url.get_backend_name()
    if kind in ("mysql", "mariadb"):
        # An old `?charset=utf8` would lose characters beyond three bytes.
        return url.set(drivername="mysql+pymysql").difference_update_query(["charset"])
    if kind == "sqlite" and url.database and url.database != ":memory:" and not url.query:
        return url.set(drivername="sqlite+pysqlite")
    raise ValueError(f"[database] connection: {kind} is not supported like this; write {_URLS}.")


class Database:
    """A pool of connections to one database. Thread-safe; blocks, so it is called from threads only."""

    def __init__(
        self, connection: str, *, pool_size: int = 5, max_overflow: int = 10, ssl_ca: str | None = None, **pool: int
    ) -> None:
        url = database_url(connection)
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self.most_connections = pool_size + max_overflow
        arguments = {"timeout": _LOCK_WAIT, "check_same_thread": False} if self.is_sqlite else mysql_arguments(url, ssl_ca)
        try:
            self.engine = create_engine(
                url,
                pool_size=pool_size,
                max_overflow=max_overflow,
                pool_reset_on_return=None,
                isolation_level="AUTOCOMMIT",
                skip_autocommit_rollback=True,
                connect_args=arguments,
                **pool,
            )
            if not self.is_sqlite:
                driver: Any = self.engine.dialect
                driver.loaded_dbapi.connect(**driver.create_connect_args(url)[1] | arguments, defer_connect=True)
        except (ArgumentError, TypeError, ValueError, AttributeError, OSError) as error:
            words = "what stands behind the question mark of connection, or ssl_ca, is not right"
            raise ValueError(f"[database] {words}: {error}.") from error
        # SQLite: take the one write lock at once; a lock that is taken later by a reader cannot be waited for.
        self._begin = "BEGIN IMMEDIATE" if self.is_sqlite else "START TRANSACTION"
        # First of all: SQLAlchemy asks a connection for its sql_mode once, to know how to quote.
        event.listen(self.engine, "connect", _prepare_sqlite if self.is_sqlite else _prepare_mysql, insert=True)
        if self.is_sqlite:
            _SqliteFile(self.engine)

    def read(self, work: Callable[[Connection], T], since: float | None = None) -> T:
        """Run ``work``, which only reads. ``since``: when somebody began to wait for it (``time.monotonic``)."""
        try:
            return self.patiently(work, since)
        except (DBAPIError, PoolTimeout) as error:
            raise translated(error) from error

    def write(self, work: Callable[[Connection], T], since: float | None = None) -> T:
        """Run ``work`` in one transaction. It may run several times, and must change nothing outside the database."""
        return self.read(lambda connection: self._transaction(connection, work), since)

    def patiently(self, work: Callable[[Connection], T], since: float | None = None) -> T:
        """Run ``work`` again where others had the lock, and once on a new connection when the first one turned out to be dead.

        Raises what SQLAlchemy does. (Two processes that give a new SQLite file its journal: the one that loses is told at once,
        whatever busy_timeout is.)
        """
        deadline = (since or time.monotonic()) + WRITE_DEADLINE
        if time.monotonic() > deadline:  # It has waited behind others.
            raise RegistryUnavailable("The database is too busy. Nothing was changed; try again later.")
        may_reconnect = True
        while True:
            try:
                with self.engine.connect() as connection:
                    return work(connection)
            except DBAPIError as error:
                again = lost_a_lock(error) or (error.connection_invalidated and may_reconnect)
                if not again or time.monotonic() > deadline:
                    raise
                may_reconnect = may_reconnect and not error.connection_invalidated
            time.sleep(random.uniform(0.002, 0.03))  # noqa: S311 - spreads those that collided, no secret

    def _transaction(self, connection: Connection, work: Callable[[Connection], T]) -> T:
        connection.exec_driver_sql(self._begin)
        try:
            result = work(connection)
            _commit(connection)
        except BaseException:
            _roll_back(connection)
            raise
        return result

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def mysql_arguments(url: URL, ssl_ca: str | None) -> dict[str, Any]:
    """What PyMySQL is told besides the URL."""
    timeouts = {"connect_timeout": _CONNECT_TIMEOUT, "read_timeout": _ANSWER_TIMEOUT, "write_timeout": _ANSWER_TIMEOUT}
    tls: dict[str, Any] = {"ssl": {"ca": ssl_ca, "check_hostname": True}} if ssl_ca else {}
    if not ssl_ca and is_loopback(url.host or "localhost") and not any(name.startswith("ssl") for name in url.query):
        # PyMySQL would read the system's certificates for each connection, in 25 ms, to see whether the server knows TLS.
        tls = {"ssl_disabled": True}
    return {"charset": "utf8mb4", **timeouts, **tls}


class _SqliteFile:
    """Keeps an engine to the file that its first connection has. SQLite would go on writing into one that was moved away or
    deleted, and make a new one for its next connection: what was answered would be lost. And into another file that was put in
    its place it would write what the log beside it still has.
    """

    def __init__(self, engine: Engine) -> None:
        self._path = os.path.abspath(engine.url.database or "")
        # Held open, so that no other file gets its number.
        self._fd: int | None = None
        event.listen(engine, "do_connect", self._require_same)
        event.listen(engine, "connect", self._remember)
        event.listen(engine, "checkout", self._require_same)
        event.listen(engine, "engine_disposed", self._forget)

    def _remember(self, *_: object) -> None:
        if self._fd is None:
            self._fd = os.open(self._path, os.O_PATH | os.O_CLOEXEC)

    def _forget(self, *_: object) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _require_same(self, *_: object) -> None:
        try:
            found = os.stat(self._path)
        except OSError:
            if self._fd is not None:
                raise RegistryUnavailable("The file of the database is gone. Tell the administrator.") from None
            # SQLite would make it for everybody to read, and its log like it. Where this fails SQLite says what is wrong.
            with contextlib.suppress(OSError):
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))
            return
        if self._fd is not None and not os.path.samestat(found, os.fstat(self._fd)):
            path = self._path
            LOG.error("%s is another file now. Stop the service, remove %s-wal and %s-shm, start it again", path, path, path)
            raise RegistryUnavailable("The database was replaced while the service ran. Tell the administrator.")


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # WAL: readers never wait for a writer. FULL: what was answered survives a power cut.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={_LOCK_WAIT * 1000}", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _prepare_mysql(connection: Any, _record: object) -> None:
    with connection.cursor() as cursor:
        # Without gap locks, so that writers of different images never wait for each other.
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        # A server that cuts values off silently would keep another name than the one that was answered.
        settings = f"sql_mode = 'TRADITIONAL', innodb_lock_wait_timeout = {_LOCK_WAIT}"
        # A process that stands still in a transaction, or whose host is gone, would keep others from its rows for hours. MariaDB
        # undoes it; to MySQL, which cannot, this is a comment.
        cursor.execute(f"SET SESSION {settings} /*M! , idle_transaction_timeout = {_ANSWER_TIMEOUT} */")


def _commit(connection: Connection) -> None:
    try:
        connection.exec_driver_sql("COMMIT")
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        LOG.exception("The connection to the database broke during COMMIT")
        raise RegistryUnavailable(
            "The database went away during COMMIT; nobody knows whether the change was kept. Look again."
        ) from error


def _roll_back(connection: Connection) -> None:
    """Undo; a connection that cannot even do that is thrown away, and the server undoes it."""
    if connection.invalidated:
        return
    try:
        connection.exec_driver_sql("ROLLBACK")
    except DBAPIError:
        LOG.debug("ROLLBACK failed; the connection is dropped", exc_info=True)
        connection.invalidate()


def lost_a_lock(error: DBAPIError) -> bool:
    """Was the transaction undone, or never begun, because another one had the lock?"""
    return _sqlite_code(error) in _SQLITE_TRY_AGAIN or mysql_code(error) in _MYSQL_TRY_AGAIN


def _sqlite_code(error: DBAPIError) -> int:
    """The number of an SQLite error, or 0."""
    return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF


def mysql_code(error: DBAPIError) -> int | None:
    """The number of a MySQL error, or None."""
    arguments = getattr(error.orig, "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else None


def translated(error: DBAPIError | PoolTimeout) -> ImageServiceError:
    """The domain's error for what the database said; the database's own words go to the log only."""
    if isinstance(error, DataError):
        return InvalidValue("A value is too long or out of range for its column.")
    if isinstance(error, DBAPIError) and (mysql_code(error) == _MYSQL_NO_TABLE or "no such table" in str(error.orig)):
        words = "The database lacks a table. Run: image-manage db sync, or restore a backup where that finds nothing to do."
        return RegistryUnavailable(words)
    if isinstance(error, DBAPIError) and (_sqlite_code(error) or mysql_code(error)) in _NOT_WRITABLE:
        LOG.error("%s: look whether it is read-only, who may write its files and folder, and at the room on its disk", error.orig)
        return RegistryNotWritable("The database cannot be written. Tell the administrator.")
    LOG.error("The database failed: %s", getattr(error, "orig", error), exc_info=error)
    return RegistryUnavailable("The database does not answer. Try again later.")


async def open_database(options: Any) -> Database:
    """The database of the options of ``[database]``, once it takes connections: it may be starting together with us.

    ``cfg.Error`` when ``connection`` is missing or of an unknown kind. ``RegistryUnavailable`` when it does not take any after
    ``max_retries`` more tries (-1: for ever), or where waiting does not help (a wrong password, no such folder).
    """
    if not options.connection:
        raise cfg.Error("[database] connection is not set: the URL of a MySQL database, or sqlite:////ABSOLUTE/PATH.")
    try:
        database = Database(
            options.connection,
            pool_size=options.max_pool_size,
            max_overflow=options.max_overflow,
            pool_timeout=options.pool_timeout,
            pool_recycle=options.connection_recycle_time,
            ssl_ca=options.ssl_ca,
        )
    except ValueError as error:
        raise cfg.Error(str(error)) from error
    for tries in itertools.count(1):
        try:
            await asyncio.to_thread(database.patiently, lambda _connection: None)
            break
        except DBAPIError as error:
            words = f"The database {database.engine.url!r} does not take connections: {getattr(error.orig, 'args', ('',))[-1]}."
            if database.is_sqlite or mysql_code(error) not in _MYSQL_NOT_YET or 0 <= options.max_retries < tries:
                raise RegistryUnavailable(words) from error
        LOG.warning("%s Try %d follows in %d s", words, tries, options.retry_interval)
        await asyncio.sleep(options.retry_interval)
    return database
