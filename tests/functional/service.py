"""A whole service for tests that read as a specification: image-api, and image-registry where the registry is remote.

Each of the four combinations ({SQLite, MariaDB} x {in-process, remote}) and each configuration is started once for a session; a
test makes its own images with names of its own and never counts on an empty service.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import signal
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.functional.running import BIN, PATIENCE, eventually
from tests.ports import free_port

OCTET_STREAM = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True)
class Answer:
    """What came back: ``headers`` with names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


def ask(port: int, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
    """One request on a connection of its own. ``body``: bytes as they are, an iterator in chunks, anything else as JSON."""
    sent = dict(headers or {})
    if isinstance(body, dict | list):
        body = json.dumps(body).encode()
        sent.setdefault("Content-Type", "application/json")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    with contextlib.closing(connection):
        encoded = {name: value.encode() for name, value in sent.items()}
        connection.request(method, path, body, encoded, encode_chunked=not isinstance(body, bytes | None))
        answer = connection.getresponse()
        found = {name.lower(): value.encode("latin-1").decode() for name, value in answer.getheaders()}
        return Answer(answer.status, found, answer.read())


@dataclass
class Service:
    """Running processes with their files below ``folder``; ``database`` is the URL of a migrated database."""

    folder: Path
    database: str
    remote: bool = False
    default: str = ""
    sections: str = ""
    port: int = field(default_factory=free_port)
    registry_port: int = field(default_factory=free_port)
    environment: Mapping[str, str] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def images(self) -> Path:
        """The folder of the file store."""
        return self.folder / "images"

    @property
    def log(self) -> str:
        """What the processes said."""
        return (self.folder / "log").read_text()

    def configure(self) -> None:
        """Write both configurations, and the secret between them."""
        self.images.mkdir(exist_ok=True)
        secret = self.folder / "registry.secret"
        if not secret.exists():
            secret.write_text(secrets.token_hex(32))
            secret.chmod(0o600)
        link = f"[registry_link]\nsecret_file = {secret}\n"
        database = f"[database]\nconnection = {self.database}\n"
        where = f"data_api = registry\nregistry_port = {self.registry_port}\n" if self.remote else ""
        store = f"[glance_store]\nfilesystem_store_datadir = {self.images}\nhttp_allowed_networks = 127.0.0.0/8\n"
        (self.folder / "glance-api.conf").write_text(
            f"[DEFAULT]\nbind_port = {self.port}\nworkers = 2\n{where}{self.default}\n"
            f"{link}{'' if self.remote else database}{store}{self.sections}\n"
        )
        (self.folder / "glance-registry.conf").write_text(
            f"[DEFAULT]\nbind_port = {self.registry_port}\nworkers = 2\n{link}{database}"
        )

    def start(self) -> None:
        """Start what belongs to it, and wait until it is ready."""
        if self.remote:
            self.start_registry()
        self._start("image-api", "glance-api.conf")
        self._wait(self.port, "image-api")

    def start_registry(self) -> None:
        """Start image-registry if it does not run yet, and wait until it is ready."""
        if "image-registry" not in self.processes:
            self._start("image-registry", "glance-registry.conf")
            self._wait(self.registry_port, "image-registry")

    def _start(self, program: str, config: str) -> None:
        with (self.folder / "log").open("ab") as log:
            self.processes[program] = subprocess.Popen(
                [str(BIN / program), "--config-file", str(self.folder / config)],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )

    def _wait(self, port: int, program: str) -> None:
        def ready() -> bool:
            assert self.processes[program].poll() is None, self.log
            with contextlib.suppress(OSError):
                return ask(port, "GET", "/readiness").status == 200
            return False

        eventually(ready, f"{program} is ready")

    def kill(self, program: str = "image-api") -> None:
        """kill -9 of the master and its workers, all at once."""
        process = self.processes.pop(program)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)

    def end(self) -> None:
        """Whatever state it is in, nothing of it runs afterwards."""
        for program in list(self.processes):
            self.kill(program)

    # -- requests
    # ----------------------------------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """A request to image-api."""
        return ask(self.port, method, path, body, headers)

    def ask_registry(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """A request to image-registry (only where the registry is remote)."""
        return ask(self.registry_port, method, path, body, headers)

    def image(self, data: bytes | None = None, headers: Mapping[str, str] | None = None, **attributes: Any) -> dict[str, Any]:
        """A v2 image, raw in bare unless ``attributes`` say otherwise; active when ``data`` is given."""
        wanted = {"name": f"image-{uuid.uuid4()}", "disk_format": "raw", "container_format": "bare", **attributes}
        made = self.ask("POST", "/v2/images", wanted, headers)
        assert made.status == 201, made.text
        image: dict[str, Any] = made.json
        if data is None:
            return image
        put = self.ask("PUT", f"/v2/images/{image['id']}/file", data, {**OCTET_STREAM, **(headers or {})})
        assert put.status == 204, put.text
        found: dict[str, Any] = self.ask("GET", f"/v2/images/{image['id']}", headers=headers).json
        return found


@contextlib.contextmanager
def running_service(
    folder: Path, database: str, *, remote: bool = False, default: str = "", sections: str = "", start: bool = True
) -> Iterator[Service]:
    """A configured service, started unless ``start`` is False; gone at the end."""
    service = Service(folder, database, remote, default, sections)
    service.configure()
    try:
        if start:
            service.start()
        yield service
    finally:
        service.end()
