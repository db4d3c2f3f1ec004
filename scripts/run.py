"""`make run` and `make stop`: a working image service in var/, with a bootable image in it.

Standard library only.

var/
  glance-api.conf   written new by each run
  glance.sqlite     the registry's database
  images/           the file store
  cache/            images that were downloaded or built
  clouds.yaml       for openstack and openstacksdk
  image-api.log, image-api.pid
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from scripts.obtain_image import CHUNK, LocalImage, chunks_of, obtain
from scripts.progress import watched

ROOT = Path(__file__).resolve().parent.parent
VAR = ROOT / "var"
BIN = Path(sys.executable).parent
CONF = VAR / "glance-api.conf"
CLOUDS = VAR / "clouds.yaml"
LOG = VAR / "image-api.log"
PID = VAR / "image-api.pid"
HOST = "127.0.0.1"
START_TIMEOUT = 60  # seconds
STOP_TIMEOUT = 30  # seconds; graceful_timeout below is shorter

CONF_TEXT = """\
# Written by `make run`.
[DEFAULT]
bind_host = {host}
bind_port = {port}
workers = 2
graceful_timeout = 10
run_dir = {var}/run

[database]
connection = sqlite:///{var}/glance.sqlite

[paste_deploy]
# Nobody is asked who they are: everybody who reaches this (loopback only) is its administrator.
flavor =

[glance_store]
stores = file, http
default_store = file
filesystem_store_datadir = {var}/images
"""

CLOUDS_TEXT = """\
# Written by `make run`.
clouds:
  local:
    auth_type: none
    auth:
      endpoint: http://{host}:{port}
"""

HINTS = """
The image service runs on http://{host}:{port} (log: var/image-api.log).

  curl       curl http://{host}:{port}/v2/images
             curl http://{host}:{port}/v1/images/detail
             curl -o image.{disk_format} http://{host}:{port}/v2/images/{id}/file
  openstack  OS_CLIENT_CONFIG_FILE={clouds} {bin}/openstack --os-cloud local image list
  Python     OS_CLIENT_CONFIG_FILE={clouds} {bin}/python -c \\
               'import openstack; print([i.name for i in openstack.connect(cloud="local").image.images()])'
"""


class Service:
    """The service's Images API v2, as far as this script needs it."""

    def __init__(self, port: int) -> None:
        self.port = port

    def call(self, method: str, path: str, wanted: int, body: Any = None) -> Any:
        """Send JSON, return the answer's JSON (None for an empty one).

        Raises SystemExit when the status is not ``wanted``.
        """
        data = None if body is None else json.dumps(body).encode()
        return self._answer(method, path, wanted, data, {"Content-Type": "application/json"})

    def upload(self, image_id: str, body: Iterable[bytes], size: int) -> None:
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        self._answer("PUT", f"/v2/images/{image_id}/file", 204, body, headers)

    def sha512_of(self, image_id: str) -> str:
        """Download an image and return the SHA-512 of what came."""
        digest = hashlib.sha512()
        with contextlib.closing(http.client.HTTPConnection(HOST, self.port, timeout=60)) as connection:
            connection.request("GET", f"/v2/images/{image_id}/file")
            answer = connection.getresponse()
            for chunk in watched(iter(lambda: answer.read(CHUNK), b""), answer.length or 0, "Downloading"):
                digest.update(chunk)
        return digest.hexdigest()

    def ready(self) -> bool:
        try:
            connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
            connection.request("GET", "/readiness")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False

    def _answer(self, method: str, path: str, wanted: int, body: Any, headers: dict[str, str]) -> Any:
        with contextlib.closing(http.client.HTTPConnection(HOST, self.port, timeout=300)) as connection:
            try:
                connection.request(method, path, body=body, headers=headers)
                answer = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise SystemExit(f"{method} {path} failed ({error}); the log's end:\n{log_end()}") from error
            text = answer.read().decode()
        if answer.status != wanted:
            raise SystemExit(f"{method} {path}: the service answered {answer.status} {text}")
        return json.loads(text) if text else None


def running_pid() -> int | None:
    """The process of the pid file, if it is still an image-api."""
    try:
        pid = int(PID.read_text())
        return pid if b"image-api" in Path(f"/proc/{pid}/cmdline").read_bytes() else None
    except (OSError, ValueError):
        return None


def stop() -> None:
    """Ask the service to drain and end; wait for it."""
    pid = running_pid()
    if pid is None:
        print("The image service does not run.")
        return
    os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + STOP_TIMEOUT
    while running_pid() and time.monotonic() < until:
        time.sleep(0.1)
    if running_pid():
        raise SystemExit(f"The image service (process {pid}) has not ended yet; see var/image-api.log.")
    PID.unlink(missing_ok=True)
    print("The image service has ended.")


def port_of(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) < 1 << 16):
        raise SystemExit(f"PORT={text}: give a number from 1 to 65535, for example: make run PORT=9393")
    return int(text)


def check_port(port: int) -> None:
    if running_pid():
        address = CLOUDS.read_text().rpartition("endpoint: ")[2].strip()
        raise SystemExit(f"The image service runs already, on {address}; `make stop` ends it.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            advice = "choose another one, for example: make run PORT=9393"
            raise SystemExit(f"Port {port} cannot be used ({error.strerror}); {advice}") from error


def start(port: int) -> subprocess.Popen[bytes]:
    """Write the configuration, bring the schema up to date, start image-api and wait until it is ready."""
    (VAR / "images").mkdir(parents=True, exist_ok=True)
    CONF.write_text(CONF_TEXT.format(host=HOST, port=port, var=VAR))
    CLOUDS.write_text(CLOUDS_TEXT.format(host=HOST, port=port))
    with LOG.open("ab") as log:
        begin = log.tell()
        sync: list[str | Path] = [BIN / "image-manage", "--config-file", CONF, "db", "sync"]
        if subprocess.run(sync, stdout=log, stderr=log, check=False).returncode:
            raise SystemExit(f"The database could not be prepared; the log's end:\n{log_end(begin)}")
        # In a session of its own Ctrl-C does not reach it: this script ends it in order.
        command: list[str | Path] = [BIN / "image-api", "--config-file", CONF]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        PID.write_text(f"{process.pid}\n")
        until = time.monotonic() + START_TIMEOUT
        while not Service(port).ready():
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"The image service did not get ready; the log's end:\n{log_end(begin)}")
            time.sleep(0.1)
    except BaseException:
        process.terminate()
        process.wait()
        PID.unlink(missing_ok=True)
        raise
    return process


def log_end(begin: int = 0) -> str:
    """The last lines that were written after byte ``begin``."""
    return "\n".join(LOG.read_bytes()[begin:].decode(errors="replace").splitlines()[-15:])


def upload(service: Service, image: LocalImage) -> str:
    """Upload the image unless the service has it, and read it back. Returns its id."""
    wanted = image.sha512()
    for known in service.call("GET", f"/v2/images?os_hash_value={wanted}&status=active", 200)["images"]:
        if known["name"] == image.name:
            print(f"The image is there already: {known['id']}")
            return str(known["id"])
    if image.is_doubtful:
        print(f"{image.name} has no boot record and no mark of a disk format: it becomes a raw disk. Is it one, and unpacked?")
    fields = {"name": image.name, "disk_format": image.disk_format, "container_format": "bare"}
    image_id = str(service.call("POST", "/v2/images", 201, {**fields, "visibility": "public"})["id"])
    size = image.path.stat().st_size
    try:
        service.upload(image_id, watched(chunks_of(image.path), size, "Uploading  "), size)
    except BaseException:  # also Ctrl-C
        with contextlib.suppress(SystemExit):  # Where that fails too, the first failure is the one to tell.
            service.call("DELETE", f"/v2/images/{image_id}", 204)
        raise
    if service.sha512_of(image_id) != wanted:
        raise SystemExit("The service gave back other bytes than were uploaded: please report this.")
    print("The image was uploaded, downloaded again and compared: the bytes are the same.")
    return image_id


def show(service: Service, image_id: str) -> dict[str, Any]:
    """Print the list of images and the details of one."""
    row = "{:36}  {:24}  {:8}  {:>12}"
    print("\n" + row.format("ID", "Name", "Status", "Size"))
    for image in service.call("GET", "/v2/images", 200)["images"]:
        print(row.format(image["id"], image["name"] or "", image["status"], image["size"] or 0))
    details: dict[str, Any] = service.call("GET", f"/v2/images/{image_id}", 200)
    print()
    for key in sorted(details):
        print(f"{key:18} {details[key]}")
    return details


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """While the service starts here, no other `make run` does. Raises SystemExit."""
    VAR.mkdir(exist_ok=True)
    with (VAR / "run.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit("Another `make run` is starting the service here; wait for it.") from None
        yield


def run(port: int, wanted: str, background: bool) -> None:
    with alone():
        check_port(port)
        image = obtain(wanted, VAR / "cache")
        print(f"Image: {image.origin}")
        process = start(port)
    try:
        service = Service(port)
        details = show(service, upload(service, image))
        print(HINTS.format(host=HOST, port=port, clouds=shlex.quote(str(CLOUDS)), bin=shlex.quote(str(BIN)), **details))
        if not (BIN / "openstack").exists():
            print("`make venv` installs the clients openstack and openstacksdk.")
        if background:
            print("`make stop` ends it.")
            return
        print("Ctrl-C ends it.", flush=True)
        process.wait()
    except BaseException:
        stop()
        raise
    print(f"The image service has ended (exit code {process.returncode}).")
    sys.exit(process.returncode)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=["run", "stop"])
    parser.add_argument("--port", default="9292")
    parser.add_argument("--image", default="", help="path or URL of the image to upload")
    parser.add_argument("--background", action="store_true")
    arguments = parser.parse_args()
    for ending in (signal.SIGTERM, signal.SIGHUP):  # the second: the terminal was closed
        signal.signal(ending, signal.default_int_handler)
    try:
        if arguments.command == "stop":
            stop()
        else:
            run(port_of(arguments.port), arguments.image, arguments.background)
    except KeyboardInterrupt:
        sys.exit(0)
    except OSError as error:
        raise SystemExit(f"{error.filename or 'make run'}: {error.strerror or error}") from error


if __name__ == "__main__":
    main()
