"""The two servers that are measured: ours, and real Glance under uWSGI; the same processes, database kind and store."""

from __future__ import annotations

import os
import subprocess
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

from tests.functional.service import ask
from tests.ports import free_port

SERVICE_VENV = Path(os.environ.get("SERVICE_VENV", ".venv-service")).resolve()
GLANCE_VENV = Path(os.environ.get("GLANCE_VENV", ".venv-glance")).resolve()
TICKS = os.sysconf("SC_CLK_TCK")
DEADLINE = 60.0


@dataclass
class Peer(ABC):
    """A server with its files below ``folder``; ``database`` is the URL of an empty database."""

    folder: Path
    database: str
    workers: int
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    name = ""

    @abstractmethod
    def prepare(self) -> None:
        """Write the configuration and make the schema."""

    @abstractmethod
    def command(self) -> tuple[list[str], dict[str, str]]:
        """What to start, and its environment."""

    def start(self) -> float:
        """Start it; seconds until its first answer 200."""
        command, environment = self.command()
        begin = time.monotonic()
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})
        while time.monotonic() - begin < DEADLINE:
            assert self.process.poll() is None, (self.folder / "log").read_text()[-3000:]
            try:
                if ask(self.port, "GET", "/v2/images").status == 200:
                    return time.monotonic() - begin
            except OSError:
                time.sleep(0.005)
        raise TimeoutError(f"{self.name} does not answer")

    def stop(self) -> None:
        """End it and its workers."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(DEADLINE)

    def pids(self) -> list[int]:
        """The master and what it started."""
        assert self.process is not None
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            todo += [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return found

    def memory(self) -> int:
        """Resident bytes of all processes, shared pages counted once for each (RSS, as ps adds it up)."""
        return sum(_kilobytes(f"/proc/{pid}/status", "VmRSS") for pid in self.pids())

    def share(self) -> int:
        """Bytes that are gone when these processes run: shared pages counted once (PSS)."""
        return sum(_kilobytes(f"/proc/{pid}/smaps_rollup", "Pss") for pid in self.pids())

    def cpu(self) -> float:
        """CPU seconds that all processes have used."""
        return sum(_cpu(pid) for pid in self.pids())


def _kilobytes(path: str, name: str) -> int:
    for line in Path(path).read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return 0


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Ours(Peer):
    """image-api with the registry in-process."""

    name = "image-api"

    def prepare(self) -> None:
        (self.folder / "images").mkdir(parents=True)
        self._config.write_text(
            f"[DEFAULT]\nbind_port = {self.port}\nworkers = {self.workers}\n[database]\nconnection = {self.database}\n"
            f"[glance_store]\nstores = file\nfilesystem_store_datadir = {self.folder}/images\n"
        )
        manage: list[str | Path] = [SERVICE_VENV / "bin/image-manage", "--config-file", self._config, "db", "sync"]
        subprocess.run(manage, check=True, capture_output=True)

    @property
    def _config(self) -> Path:
        return self.folder / "glance-api.conf"

    def command(self) -> tuple[list[str], dict[str, str]]:
        return [str(SERVICE_VENV / "bin/image-api"), "--config-file", str(self._config)], {}


class Glance(Peer):
    """The newest Glance under uWSGI: one thread a process, everybody administrator by policy."""

    name = "glance"

    def prepare(self) -> None:
        (self.folder / "images").mkdir(parents=True)
        policy = self.folder / "policy.yaml"
        policy.write_text('"context_is_admin": ""\n')
        (self.folder / "glance-api.conf").write_text(
            f"[DEFAULT]\nenabled_backends = store1:file\n[paste_deploy]\nflavor =\nconfig_file = {self._paste}\n"
            f"[database]\nconnection = {self.database.replace('mysql://', 'mysql+pymysql://')}\n"
            f"[glance_store]\ndefault_backend = store1\n[store1]\nfilesystem_store_datadir = {self.folder}/images\n"
            f"[os_glance_staging_store]\nfilesystem_store_datadir = {self.folder}/staging\n"
            f"[os_glance_tasks_store]\nfilesystem_store_datadir = {self.folder}/tasks\n"
            f"[oslo_policy]\npolicy_file = {policy}\n[oslo_concurrency]\nlock_path = {self.folder}\n"
        )
        config = self.folder / "glance-api.conf"
        manage: list[str | Path] = [GLANCE_VENV / "bin/glance-manage", "--config-file", config, "db_sync"]
        subprocess.run(manage, check=True, capture_output=True)

    @property
    def _paste(self) -> Path:
        return GLANCE_VENV / "etc/glance/glance-api-paste.ini"

    def command(self) -> tuple[list[str], dict[str, str]]:
        uwsgi = [str(GLANCE_VENV / "bin/uwsgi"), "--master", "--die-on-term", "--lazy-apps", "--disable-logging"]
        uwsgi += [
            "--http-socket",
            f"127.0.0.1:{self.port}",
            "--processes",
            str(self.workers),
            "--threads",
            "1",
            "--enable-threads",
        ]
        uwsgi += ["--http-chunked-input", "--enable-threads", "--http-keepalive", "--so-keepalive", "--listen", "100"]
        return [*uwsgi, "--module", "glance.wsgi.api:application"], {"OS_GLANCE_CONFIG_DIR": str(self.folder)}


class Nginx(Peer):
    """A file server as fast as any: what a download cannot cost less than. It has no database and no API."""

    name = "nginx"

    def prepare(self) -> None:
        temporary = "".join(f"{kind}_temp_path {self.folder};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (self.folder / "nginx.conf").write_text(
            f"user root; daemon off; pid {self.folder}/pid; worker_processes {self.workers}; events {{}}\n"
            f"http {{ access_log off; sendfile on; {temporary} server {{ listen 127.0.0.1:{self.port}; root {self.folder};"
            " location = /v2/images { return 200; } } }\n"
        )

    def command(self) -> tuple[list[str], dict[str, str]]:
        return ["/usr/sbin/nginx", "-e", "stderr", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")], {}


def installed() -> bool:
    """Is real Glance there?"""
    return (GLANCE_VENV / "bin/uwsgi").exists()
