"""How much memory transfers take: one and eight images of 1 GiB at a time, up and down, against the idle service."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.peers import Ours
from tests.functional.service import ask

MIB = 1 << 20


def cores() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def random_file(path: Path, mebibytes: int) -> Path:
    """A file of bytes that do not compress, made of one random MiB in varying order."""
    block = os.urandom(MIB)
    with path.open("wb") as file:
        for number in range(mebibytes):
            cut = number * 4099 % MIB
            file.write(block[cut:] + block[:cut])
    return path


class Peak:
    """The most memory that the processes of a server had while the body ran."""

    def __init__(self, server: Ours) -> None:
        self._server = server
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.bytes = 0

    def _watch(self) -> None:
        while not self._end.is_set():
            self.bytes = max(self.bytes, self._server.memory())
            time.sleep(0.05)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def run(folder: Path, workers: int, size: int) -> None:
    """Print the growth over idle of all processes together, in MiB."""
    data = random_file(folder / "data", size)
    place = folder / "service"
    place.mkdir()
    server = Ours(place, f"sqlite:///{place}/registry.db", workers)
    server.prepare()
    server.start()
    try:
        for _ in range(50):
            ask(server.port, "GET", "/v2/images")
        idle = server.memory()
        print(f"idle: {idle / MIB:.0f} MiB, {len(server.pids())} processes; growth of all together, in MiB:")
        for at_a_time in (1, 8):
            images = [_new_image(server.port) for _ in range(at_a_time)]
            for word, command in (("up", _up(data)), ("down", _down)):
                with Peak(server) as peak:
                    _all_at_once([command(server.port, image) for image in images])
                print(f"  {at_a_time} x {size} MiB {word}: {(peak.bytes - idle) / MIB:+.0f}")
            for image in images:
                ask(server.port, "DELETE", f"/v2/images/{image}")
    finally:
        server.stop()


def _new_image(port: int) -> str:
    image_id: str = ask(port, "POST", "/v2/images", {"disk_format": "raw", "container_format": "bare"}).json["id"]
    return image_id


def _url(port: int, image: str) -> str:
    return f"http://127.0.0.1:{port}/v2/images/{image}/file"


def _up(data: Path) -> Callable[[int, str], list[str]]:
    kind = "Content-Type: application/octet-stream"
    return lambda port, image: ["curl", "-sf", "-H", "Expect:", "-H", kind, "-T", str(data), _url(port, image)]


def _down(port: int, image: str) -> list[str]:
    return ["curl", "-sf", "-o", "/dev/null", _url(port, image)]


def _all_at_once(commands: list[list[str]]) -> None:
    for process in [subprocess.Popen(command) for command in commands]:
        assert process.wait() == 0, process.args
