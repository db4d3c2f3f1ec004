"""What the scenarios ask of a deployed service, run on one of its hosts. Needs nothing but Python.

Usage: client.py ACTION [ARGUMENT...] with the environment variables IMAGE_URL, IMAGE_USER and IMAGE_PASSWORD.
    put NAME SIZE         create an image of SIZE bytes (the same for the same name and size), print its id
    check ID NAME SIZE    download it and compare
    delete ID             delete it
    full SIZE             an image that does not fit: 413, queued again, nothing left
    kill VICTIM SIZE      upload while VICTIM (worker, image-api, image-registry, mariadb) is killed with -9
    load STOP MODE        send, read, list and delete images until the file STOP is there; print what failed. With MODE
                          `strict` nothing may fail; with `retry` a failed upload is tried again, and no read may fail
Exit code 0 when all is as it must be; else 1 and a sentence.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STORE = Path("/var/lib/glance/images")
PIECE = 1 << 16
# Seconds that a service may take to be well again, the sweep of dead uploads included.
WAIT = 240.0


def content(name: str, size: int) -> Iterator[bytes]:
    """The bytes of image ``name``, a piece at a time."""
    seed = hashlib.shake_128(name.encode()).digest(PIECE)
    for start in range(0, size, PIECE):
        piece = start.to_bytes(8, "big") + seed[8:]
        yield piece[: min(PIECE, size - start)]


def digest(name: str, size: int) -> str:
    total = hashlib.sha512()
    for piece in content(name, size):
        total.update(piece)
    return total.hexdigest()


def ask(method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """One request; status and body of the answer. Raises OSError or HTTPException where there is none."""
    url = urllib.parse.urlsplit(os.environ["IMAGE_URL"])
    words = f"{os.environ['IMAGE_USER']}:{os.environ['IMAGE_PASSWORD']}"
    sent = {"Authorization": "Basic " + base64.b64encode(words.encode()).decode(), **(headers or {})}
    if url.scheme == "https":
        trust = ssl.create_default_context(cafile=os.environ.get("IMAGE_CA"))
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(url.netloc, timeout=60, context=trust)
    else:
        connection = http.client.HTTPConnection(url.netloc, timeout=60)
    try:
        connection.request(method, path, body=body, headers=sent)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def create(name: str) -> str:
    body = {"name": name, "disk_format": "raw", "container_format": "bare", "visibility": "public"}
    status, text = ask("POST", "/v2/images", json.dumps(body), {"Content-Type": "application/json"})
    expect(status == 201, f"creating answered {status}: {text[:300]!r}")
    return str(json.loads(text)["id"])


def send(image: str, pieces: Iterator[bytes]) -> int:
    """Upload in chunks; the status of the answer, or 0 where the connection broke."""
    try:
        return ask("PUT", f"/v2/images/{image}/file", pieces, {"Content-Type": "application/octet-stream"})[0]
    except (OSError, http.client.HTTPException):
        return 0


def show(image: str) -> dict[str, Any]:
    status, text = ask("GET", f"/v2/images/{image}")
    expect(status == 200, f"show answered {status}")
    document: dict[str, Any] = json.loads(text)
    return document


def expect(true: bool, otherwise: str) -> None:
    if not true:
        sys.exit(otherwise)


def put(name: str, size: str) -> None:
    image = create(name)
    status = send(image, content(name, int(size)))
    expect(status == 204, f"uploading answered {status}")
    sys.stdout.write(image)


def check(image: str, name: str, size: str) -> None:
    status, text = ask("GET", f"/v2/images/{image}/file")
    expect(status == 200, f"downloading answered {status}")
    expect(hashlib.sha512(text).hexdigest() == digest(name, int(size)), "the bytes are not those that were sent")


def delete(image: str) -> None:
    status = ask("DELETE", f"/v2/images/{image}")[0]
    expect(status == 204, f"deleting answered {status}")


def full(size: str) -> None:
    image = create("too large")
    status = send(image, content("too large", int(size)))
    expect(status == 413, f"an image that does not fit answered {status}, not 413")
    expect(show(image)["status"] == "queued", f"the image is {show(image)['status']}, not queued")
    delete(image)


def slowly(name: str, size: int, begun: threading.Event) -> Iterator[bytes]:
    """The bytes of an image over some seconds."""
    pieces = list(content(name, size))
    for number, piece in enumerate(pieces):
        if number == len(pieces) // 4:
            begun.set()
        time.sleep(4 / len(pieces))
        yield piece


def strike(victim: str) -> None:
    """Kill -9: one worker of the API, or the whole of a service."""
    if victim == "worker":
        master = subprocess.check_output(["systemctl", "show", "image-api", "--property=MainPID", "--value"], text=True)
        workers = subprocess.check_output(["pgrep", "--parent", master.strip()], text=True).split()
        subprocess.run(["kill", "-9", *workers], check=True)
    else:
        subprocess.run(["systemctl", "kill", "--signal=KILL", victim], check=True)


def settled(image: str) -> str:
    """The status of ``image`` once the service is well again and no upload is called running."""
    deadline = time.monotonic() + WAIT
    status = "unknown"
    while time.monotonic() < deadline:
        try:
            code, text = ask("GET", f"/v2/images/{image}")
            status = json.loads(text)["status"] if code == 200 else f"HTTP {code}"
        except (OSError, http.client.HTTPException) as error:
            status = str(error)
        if status in ("active", "queued", "killed"):
            return status
        time.sleep(2)
    sys.exit(f"after {WAIT} s the image is {status}")


def kill(victim: str, size: str) -> None:
    name = f"killed {victim}"
    image = create(name)
    begun = threading.Event()
    answers: list[int] = []
    upload = threading.Thread(target=lambda: answers.append(send(image, slowly(name, int(size), begun))))
    upload.start()
    expect(begun.wait(30), "the upload did not begin")
    strike(victim)
    upload.join()
    status = settled(image)
    sys.stdout.write(f"{victim}: the upload answered {answers}, the image is {status}\n")
    if status == "active":
        check(image, name, size)
    else:
        expect(answers != [204], "an upload that was said to be good is lost")
        expect(not (STORE / image).exists(), "bytes are left of an image that is not active")
        expect(send(image, content(name, int(size))) == 204, "a second upload did not go through")
        check(image, name, size)
    delete(image)
    expect(not list(STORE.glob(f"*{image}*")), "bytes are left of a deleted image")


class Load:
    """Clients that do what clients do, and count."""

    SIZE = 1_500_000

    def __init__(self, stop: Path, strict: bool) -> None:
        self.stop = stop
        self.strict = strict
        self.done: dict[str, int] = {}
        self.failed: list[str] = []

    def run(self, clients: int) -> None:
        threads = [threading.Thread(target=self._client, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _client(self, number: int) -> None:
        name = f"load {number}"
        wanted = digest(name, self.SIZE)
        while not self.stop.exists():
            image = self._upload(name)
            if image is None:
                continue
            self._read("show", f"/v2/images/{image}")
            body = self._read("download", f"/v2/images/{image}/file")
            if body is not None and hashlib.sha512(body).hexdigest() != wanted:
                self.failed.append("download: other bytes")
            self._read("list", "/v2/images?limit=5")
            self._count("delete", self._status("DELETE", f"/v2/images/{image}"), 204, read=False)

    def _upload(self, name: str) -> str | None:
        """The id of a new image, or None where that failed (and may, or was counted)."""
        try:
            image = create(name)
        except (OSError, http.client.HTTPException, SystemExit) as error:
            self._count(f"create ({error})", 0, 201, read=False)
            return None
        status = send(image, content(name, self.SIZE))
        self._count("upload", status, 204, read=False)
        return image if status == 204 else None

    def _status(self, method: str, path: str) -> int:
        try:
            return ask(method, path)[0]
        except (OSError, http.client.HTTPException):
            return 0

    def _read(self, what: str, path: str) -> bytes | None:
        try:
            status, body = ask("GET", path)
        except http.client.IncompleteRead as cut:
            status, body = self._rest(path, cut.partial)
        except (OSError, http.client.HTTPException) as error:
            status, body = 0, str(error).encode()
        self._count(what, status, 200, read=True)
        return body if status == 200 else None

    def _rest(self, path: str, begin: bytes) -> tuple[int, bytes]:
        """What no proxy can mend: the host was lost in the middle of a body. Clients go on from there, as curl -C does."""
        if self.strict:
            return 0, begin
        try:
            status, body = ask("GET", path, headers={"Range": f"bytes={len(begin)}-"})
        except (OSError, http.client.HTTPException) as error:
            status, body = 0, str(error).encode()
        self._count("download went on", status, 206, read=True)
        return (200 if status == 206 else status), begin + body

    def _count(self, what: str, status: int, wanted: int, *, read: bool) -> None:
        self.done[what] = self.done.get(what, 0) + 1
        if status != wanted and (self.strict or read):
            self.failed.append(f"{time.strftime('%H:%M:%S')} {what}: {status}")


def load(stop: str, mode: str) -> None:
    work = Load(Path(stop), strict=mode == "strict")
    work.run(3)
    sys.stdout.write(json.dumps({"done": work.done, "failed": work.failed}))
    expect(work.done.get("download", 0) > 10, "the clients hardly did anything")
    expect(not work.failed, "requests failed")


if __name__ == "__main__":
    ACTIONS = {"load": load, "put": put, "check": check, "delete": delete, "full": full, "kill": kill}
    ACTIONS[sys.argv[1]](*sys.argv[2:])
