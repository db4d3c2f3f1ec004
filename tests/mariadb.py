"""A private MariaDB server from Debian's packages: own folder, own port on loopback, real durability."""

from __future__ import annotations

import getpass
import itertools
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql

from tests.ports import free_port

START_DEADLINE = 60.0
MISSING = "MariaDB is not installed; run: scripts/apt-install.sh mariadb-server"


class MariaDB:
    """One server. It starts empty; ``new_database`` gives each test its own. ``kill`` and ``start`` play a crash."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._password = secrets.token_hex(16)
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process is not None
        return self._process.pid

    def install(self) -> None:
        """Make the system tables."""
        (self._folder / "tmp").mkdir(exist_ok=True)
        command = ["mariadb-install-db", *self._options(), "--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run(command, check=True, capture_output=True)
        (self._folder / "user.sql").write_text(
            f"CREATE OR REPLACE USER 'glance'@'127.0.0.1' IDENTIFIED BY '{self._password}';\n"
            "GRANT ALL PRIVILEGES ON *.* TO 'glance'@'127.0.0.1' WITH GRANT OPTION;\n"
        )

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        log = (self._folder / "server.log").open("ab")
        network = [f"--port={self.port}", "--bind-address=127.0.0.1", f"--socket={self._folder}/socket", "--skip-name-resolve"]
        small = ["--innodb-buffer-pool-size=64M", "--max-connections=400", f"--init-file={self._folder}/user.sql"]
        command = [_server(), *self._options(), *network, *small, f"--pid-file={self._folder}/pid"]
        self._process = subprocess.Popen(command, stdout=log, stderr=log)
        log.close()
        self._wait()

    def _options(self) -> list[str]:
        # A server that starts removes the temporary tables that it finds in its tmpdir: not those of one that runs.
        own = [f"--datadir={self._folder}/data", f"--tmpdir={self._folder}/tmp"]
        return ["--no-defaults", *own, f"--user={getpass.getuser()}"]

    def _wait(self) -> None:
        deadline = time.monotonic() + START_DEADLINE
        while True:
            try:
                self._connect().close()
            except pymysql.err.OperationalError:
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self._folder / "server.log").read_text(errors="replace")[-3000:]) from None
                time.sleep(0.1)
            else:
                return

    def _connect(self) -> pymysql.Connection:
        return pymysql.connect(host="127.0.0.1", port=self.port, user="glance", password=self._password, connect_timeout=5)

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run one statement as the test user; its rows."""
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def new_database(self) -> str:
        """URL of a new empty database, as an operator writes it."""
        name = f"glance_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return f"mysql://glance:{self._password}@127.0.0.1:{self.port}/{name}"

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Shut down in order."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                os.kill(self._process.pid, how)
            self._process.wait(60)
            self._process = None


def _server() -> str:
    found = shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin")
    if found is None:
        raise RuntimeError(MISSING)
    return found


@contextmanager
def running_mariadb(folder: Path) -> Iterator[MariaDB]:
    """A started server in ``folder``; gone at the end."""
    if shutil.which("mariadb-install-db") is None:
        raise RuntimeError(MISSING)
    server = MariaDB(folder)
    server.install()
    try:
        server.start()
        yield server
    finally:
        server.stop()
