"""Do 200 slow clients delay anybody? The time of a list request without them and among them."""

from __future__ import annotations

import contextlib
import socket
import statistics
import threading
import time
from pathlib import Path

from tests.benchmarks.peers import Ours
from tests.functional.service import OCTET_STREAM, ask

CLIENTS = 200
BYTES_A_SECOND = 4096
LISTS = 200
SECONDS = 30


def run(folder: Path, workers: int) -> None:
    """Print the median and the 99th percentile of a list's milliseconds, alone and among slow clients."""
    place = folder / "service"
    place.mkdir()
    server = Ours(place, f"sqlite:///{place}/registry.db", workers)
    server.prepare()
    server.start()
    try:
        big = _image(server.port, b"\0" * (8 << 20))
        _show("alone", _lists(server.port))
        ended = threading.Event()
        crowd = [threading.Thread(target=_slow, args=(server.port, big, number, ended)) for number in range(CLIENTS)]
        for client in crowd:
            client.start()
        time.sleep(3)
        print(f"  memory of all processes: {server.memory() / 1e6:.0f} MB")
        _show(f"among {CLIENTS} slow clients", _lists(server.port))
        ended.set()
        for client in crowd:
            client.join()
    finally:
        server.stop()


def _image(port: int, data: bytes | None) -> str:
    image_id: str = ask(port, "POST", "/v2/images", {"disk_format": "raw", "container_format": "bare"}).json["id"]
    if data is not None:
        ask(port, "PUT", f"/v2/images/{image_id}/file", data, OCTET_STREAM)
    return image_id


def _lists(port: int) -> list[float]:
    times = []
    for _ in range(LISTS):
        begin = time.monotonic()
        assert ask(port, "GET", "/v2/images?limit=20").status == 200
        times.append((time.monotonic() - begin) * 1000)
        time.sleep(0.02)
    return times


def _show(what: str, times: list[float]) -> None:
    print(f"  {what}: median {statistics.median(times):.1f} ms, 99% {statistics.quantiles(times, n=100)[98]:.1f} ms")


def _slow(port: int, image: str, number: int, ended: threading.Event) -> None:
    """Every second client uploads, the others download, a few KiB a second, until the end."""
    with contextlib.suppress(OSError), socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        if number % 2:
            target = _image(port, None)
            connection.sendall(
                f"PUT /v2/images/{target}/file HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n"
                f"Content-Length: {BYTES_A_SECOND * SECONDS * 10}\r\n\r\n".encode()
            )
        else:
            connection.sendall(f"GET /v2/images/{image}/file HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        while not ended.wait(0.5):
            if number % 2:
                connection.sendall(b"x" * (BYTES_A_SECOND // 2))
            else:
                connection.recv(BYTES_A_SECOND // 2)
