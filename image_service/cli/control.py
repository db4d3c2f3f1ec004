"""``image-control``: starts and stops the servers on hosts without systemd.

    image-control {api|registry|all} {start|stop|status|restart|reload}

A pid file holds the process's id and the time when it started, so that a number that another process got meanwhile is never
mistaken for ours. Exit codes: 0 done or running, 1 failed, 2 wrong arguments or configuration, 3 not running (status).
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from oslo_config import cfg

from image_service import config, log
from image_service.cli.command import make_parser, run

PROGRAMS = {"registry": "glance-registry", "api": "glance-api"}
START_SECONDS = 120.0
MARGIN = 60.0


def main() -> None:
    """Run one command; ends the process."""
    args = _parse()

    def work() -> int:
        names = [args.server] if args.server != "all" else [name for name in PROGRAMS if _is_wanted(name, args)]
        servers = [_server(name, args) for name in names]
        if args.command in ("stop", "status"):
            servers.reverse()
        return max(run_command(server, args.command, args.timeout) for server in servers)

    run("image-control", work)


def _parse() -> argparse.Namespace:
    description = "Starts and stops the servers on hosts without systemd."
    parser = make_parser("image-control", description, *PROGRAMS.values())
    pid_help = "default: SERVER.pid in run_dir, or in a folder of the user where that cannot be written"
    parser.add_argument("--pid-file", help=pid_help)
    parser.add_argument("--timeout", type=_seconds, help="seconds to wait; default: 120 for start, graceful_timeout for stop")
    parser.add_argument("server", choices=[*PROGRAMS, "all"])
    parser.add_argument("command", choices=["start", "stop", "status", "restart", "reload"])
    args = parser.parse_args()
    if args.server == "all" and (args.config_file or args.pid_file):
        parser.error("--config-file and --pid-file are of one server; name it: api or registry")
    if args.pid_file and not Path(args.pid_file).absolute().parent.is_dir():
        parser.error(f"--pid-file {args.pid_file}: there is no such folder")
    return args


def _seconds(text: str) -> float:
    seconds = float(text)
    if not seconds >= 0:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return seconds


def _is_wanted(name: str, args: argparse.Namespace) -> bool:
    """Of ``all``, a registry that nobody configured is none: the API talks to the database itself then."""
    if name != "registry" or config.load("glance-registry", None, args.config_dir).config_file:
        return True
    return config.asks_registry(config.load("glance-api", None, args.config_dir))


@dataclass(frozen=True, slots=True)
class Server:
    """One server as this command sees it. ``output``: what it prints before its log is open. ``drain`` is in seconds."""

    name: str
    arguments: list[str]
    pid_file: Path
    output: Path
    drain: float


def _server(name: str, args: argparse.Namespace) -> Server:
    conf = config.load(PROGRAMS[name], args.config_file, args.config_dir)
    arguments = [f"--config-file={os.path.abspath(file)}" for file in args.config_file or []]
    arguments += [f"--config-dir={os.path.abspath(folder)}" for folder in args.config_dir or []]
    pid_file = Path(args.pid_file).absolute() if args.pid_file else run_folder(conf.run_dir) / f"{PROGRAMS[name]}.pid"
    return Server(f"image-{name}", arguments, pid_file, pid_file.with_suffix(".out"), conf.graceful_timeout + MARGIN)


def run_folder(wanted: str) -> Path:
    """``wanted`` where it can be written, else a folder that only this user can write."""
    with contextlib.suppress(OSError):
        os.makedirs(wanted, exist_ok=True)
    if os.access(wanted, os.W_OK):
        return Path(wanted)
    private = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"image-service-{os.getuid()}"
    private.mkdir(mode=0o700, exist_ok=True)
    found = private.lstat()
    if private.is_symlink() or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(f"{private} is not ours alone; remove it, or give --pid-file")
    return private


# ---- processes ----------------------------------------------------------------------------------------------


def started_at(pid: int) -> str | None:
    """When a process started, in the kernel's clock ticks; None where there is none, or only its exit code is left."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def running_pid(server: Server) -> int | None:
    """The process that the pid file means, when it still is that process and runs our program."""
    try:
        words = server.pid_file.read_text().split()
        pid, since = int(words[0]), words[1]
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError, IndexError):
        return None
    ours = any(Path(os.fsdecode(word)).name == server.name for word in command)
    return pid if ours and started_at(pid) == since else None


def _require_pid_file(path: Path) -> None:
    """``cfg.Error`` for another file, named by mistake: it would be written over, or removed."""
    with contextlib.suppress(FileNotFoundError):
        if not all(word.isdigit() for word in path.read_bytes().split()):
            raise cfg.Error(f"{path} is no pid file: give another --pid-file.")


def run_command(server: Server, command: str, timeout: float | None) -> int:
    """One command for one server; the exit code. Two commands for one server come one after the other."""
    if command == "status":
        pid = running_pid(server)
        print(f"{server.name} is running, process {pid}" if pid else f"{server.name} is not running")
        return 0 if pid else 3
    _require_pid_file(server.pid_file)
    with open(server.pid_file.with_suffix(".lock"), "a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if command == "reload":
            return _reload(server)
        code = 0 if command == "start" else _stop(server, timeout)
        if code == 0 and command != "stop":
            code = _start(server, timeout)
        return code


def _reload(server: Server) -> int:
    pid = running_pid(server)
    if pid is None:
        print(f"{server.name} is not running", file=sys.stderr)
        return 1
    os.kill(pid, signal.SIGHUP)
    print(f"{server.name} reads its configuration again; its log says whether it is good")
    return 0


def _start(server: Server, timeout: float | None) -> int:
    pid = running_pid(server)
    if pid is not None:
        print(f"{server.name} is running already, process {pid}")
        return 0
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as words:
        words.bind(f"{folder}/notify")
        process = _spawn(server, f"{folder}/notify")
        try:
            server.pid_file.write_text(f"{process.pid} {started_at(process.pid)}\n", encoding="ascii")
        except OSError:  # nobody would find it again
            process.kill()
            raise
        if _serves(process, words, START_SECONDS if timeout is None else timeout):
            print(f"{server.name} is running, process {process.pid}")
            return 0
    if process.poll() is None:
        print(f"{server.name} does not serve yet; process {process.pid} goes on, see its log", file=sys.stderr)
    else:
        server.pid_file.unlink(missing_ok=True)
        print(f"{server.name} could not start (exit code {process.returncode}):", file=sys.stderr)
        print(log.redact("".join(server.output.read_text(errors="replace").splitlines(keepends=True)[-10:])), file=sys.stderr)
    return 1


def _spawn(server: Server, notify: str) -> subprocess.Popen[bytes]:
    program = Path(sys.argv[0]).with_name(server.name)
    if not program.exists():
        program = Path(sys.executable).with_name(server.name)
    with open(server.output, "wb", opener=partial(os.open, mode=0o640)) as output:
        return subprocess.Popen(
            [str(program.absolute()), *server.arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env={**os.environ, "NOTIFY_SOCKET": notify},
            start_new_session=True,
        )


def _serves(process: subprocess.Popen[bytes], words: socket.socket, timeout: float) -> bool:
    """Whether the process says that it serves (as it tells systemd) before it ends, or time is up."""
    words.settimeout(0.1)
    end = time.monotonic() + timeout
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(TimeoutError):
            if "READY=1" in words.recv(4096).decode().splitlines():
                return True
    return False


def _stop(server: Server, timeout: float | None) -> int:
    pid = running_pid(server)
    if pid is None:
        server.pid_file.unlink(missing_ok=True)
        print(f"{server.name} is not running")
        return 0
    since = started_at(pid)
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + (server.drain if timeout is None else timeout)
    while started_at(pid) == since:
        if time.monotonic() > end:
            print(f"{server.name} still finishes running transfers, process {pid}; it takes no new ones", file=sys.stderr)
            return 1
        time.sleep(0.05)
    server.pid_file.unlink(missing_ok=True)
    print(f"{server.name} was stopped")
    return 0
