"""Real server processes for tests of how they run: image-api on SQLite and a folder, on a port of its own."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from image_service.registry import schema
from image_service.registry.engine import Database
from tests.ports import free_port

BIN = Path(sys.executable).parent
PATIENCE = 90.0
T = TypeVar("T")


def eventually(look: Callable[[], T | None], what: str, patience: float = PATIENCE) -> T:
    """The first true answer of ``look``."""
    end = time.monotonic() + patience
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, f"in {patience} s not: {what}"
        time.sleep(0.02)


@dataclass
class Running:
    """An image-api with its files below ``folder``."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> Path:
        return self.folder / "glance-api.conf"

    @property
    def log(self) -> str:
        """What it said on standard error."""
        return (self.folder / "stderr").read_text()

    def configure(self, default: str = "", sections: str = "") -> None:
        """Write the configuration; ``default`` goes to the section DEFAULT."""
        (self.folder / "images").mkdir(exist_ok=True)
        self.config.write_text(
            f"[DEFAULT]\nbind_port = {self.port}\nworkers = 2\n{default}\n[database]\nconnection = {self.database}\n"
            f"[glance_store]\nfilesystem_store_datadir = {self.folder}/images\n{sections}\n"
        )

    @property
    def database(self) -> str:
        return f"sqlite:///{self.folder}/registry.db"

    def make_schema(self) -> None:
        """What image-manage db sync does."""
        database = Database(self.database)
        schema.sync(database)
        database.close()

    def start(self, *arguments: str, environment: Mapping[str, str] | None = None, descriptors: tuple[int, ...] = ()) -> None:
        """Start it; does not wait. ``descriptors`` stay open in it, as numbers from 3 on, as systemd passes sockets."""
        command = [str(BIN / "image-api"), "--config-file", str(self.config), *arguments]
        if descriptors:
            command = [sys.executable, "-c", _AS_SYSTEMD, ",".join(map(str, descriptors)), *command]
        with (self.folder / "stderr").open("ab") as errors:
            self.process = subprocess.Popen(
                command, stderr=errors, stdout=errors, env={**os.environ, **(environment or {})}, pass_fds=descriptors
            )

    def start_and_wait(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        """Start it; come back when all workers serve."""
        before = self.log.count("is ready") if (self.folder / "stderr").exists() else 0
        self.start(*arguments, environment=environment)
        self.wait_ready(before + 1)

    def wait_ready(self, times: int) -> None:
        """Until a generation of workers has begun to serve for the ``times``-th time."""

        def ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.log
            return self.log.count("is ready") >= times

        eventually(ready, "ready")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the master."""
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self) -> int:
        """Its exit code."""
        assert self.process is not None
        return self.process.wait(PATIENCE)

    def workers(self) -> set[int]:
        """Process ids of the workers."""
        assert self.process is not None
        pid = self.process.pid
        return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}

    def connect(self) -> socket.socket:
        """A new connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def end(self) -> None:
        """Whatever state it is in, nothing of it runs afterwards."""
        if self.process is not None and self.process.poll() is None:
            workers = self.workers()
            self.process.kill()
            self.process.wait(PATIENCE)
            for pid in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


# systemd sets LISTEN_PID to the process that it starts, and numbers the sockets from 3 on.
_AS_SYSTEMD = """
import os, sys
descriptors = [int(word) for word in sys.argv[1].split(",")]
kept = [os.dup(fd) for fd in descriptors]
for number, fd in enumerate(kept, 3):
    os.dup2(fd, number)
    os.set_inheritable(number, True)
os.environ["LISTEN_PID"], os.environ["LISTEN_FDS"] = str(os.getpid()), str(len(kept))
os.execv(sys.argv[2], sys.argv[2:])
"""


@contextlib.contextmanager
def running(folder: Path, default: str = "", sections: str = "") -> Iterator[Running]:
    """An image-api that is configured and not started yet."""
    server = Running(folder)
    server.configure(default, sections)
    server.make_schema()
    try:
        yield server
    finally:
        server.end()
