"""``make bench``: our service beside real Glance, in one run on one machine, as ratios (more than 1: ours is better).

Each figure is the median of ROUNDS rounds, in which the two are measured one after the other. Only one server runs at a time.
Nothing here is asserted: a busy machine may print anything. ``--database mariadb`` starts a MariaDB of its own for both.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import hashlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import image_service
from tests.benchmarks import memory, soak
from tests.benchmarks.peers import GLANCE_VENV, Glance, Nginx, Ours, Peer, installed
from tests.functional.service import OCTET_STREAM, ask
from tests.mariadb import running_mariadb

IMAGES = 1000
SECONDS = 4
DOWNLOADS = 3
ATTEMPTS = 5
CREATE = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"name": "made", "disk_format": "raw", "container_format": "bare", "os_distro": "debian", "tags": ["a"]}'
"""


@dataclass
class Figures:
    """What was measured of one server: name -> values, one a round."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def note(self, name: str, value: float) -> None:
        """Keep one value."""
        self.values.setdefault(name, []).append(value)

    def median(self, name: str) -> float:
        """The middle one."""
        return statistics.median(self.values[name])


def rate(port: int, path: str, script: Path | None = None, clients: int = 4) -> float:
    """Requests a second, by wrk; only answers 2xx count."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{SECONDS}s", "-H", "Accept: */*"]
    command += ["-s", str(script)] if script else []
    said = subprocess.run([*command, f"http://127.0.0.1:{port}{path}"], check=True, capture_output=True, text=True).stdout
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    total = re.search(r"(\d+) requests in ([\d.]+)s", said)
    assert total is not None, said
    return (int(total[1]) - (int(bad[1]) if bad else 0)) / float(total[2])


def fill(port: int) -> str:
    """Register IMAGES images; the id of the last one."""
    image_id = ""
    for number in range(IMAGES):
        body = {"name": f"n{number}", "disk_format": "raw", "container_format": "bare", "os_distro": "debian", "tags": ["a"]}
        image_id = ask(port, "POST", "/v2/images", body).json["id"]
    return image_id


def measure(peer: Peer, figures: Figures, data: Path, folder: Path) -> None:
    """One round with one server, from start to stop."""
    peer.prepare()
    figures.note("start to first answer (s)", peer.start())
    try:
        image_id = fill(peer.port)
        figures.note("show (requests/s)", rate(peer.port, f"/v2/images/{image_id}"))
        figures.note("list 20 of 1,000 (requests/s)", rate(peer.port, "/v2/images?limit=20"))
        script = folder / "create.lua"
        script.write_text(CREATE)
        figures.note("create (requests/s)", rate(peer.port, "/v2/images", script))
        transfer(peer, figures, data, image_id)
        figures.note("memory, RSS of all (MB)", peer.memory() / 1e6)
        figures.note("memory, PSS of all (MB)", peer.share() / 1e6)
    finally:
        peer.stop()


def transfer(peer: Peer, figures: Figures, data: Path, image_id: str) -> None:
    """Upload and download one file with curl."""
    size = data.stat().st_size
    url = f"http://127.0.0.1:{peer.port}/v2/images/{image_id}/file"
    # The bytes that were written before are on the disk, and not in the way of these.
    subprocess.run(["sync"], check=True)
    upload = ["curl", "-sf", "-o", "/dev/null", "-w", "%{time_total}", "-H", "Expect:", "-T", str(data)]
    upload += [word for name, value in OCTET_STREAM.items() for word in ("-H", f"{name}: {value}")]
    seconds, cpu = _send(peer, [*upload, url])
    figures.note("upload (MB/s)", size / 1e6 / seconds)
    figures.note("upload (CPU s a GB)", cpu / size * 1e9)
    figures.note("first download (MB/s)", size / 1e6 / fetch(url))
    download(peer, figures, size, url)


def _send(peer: Peer, upload: list[str]) -> tuple[float, float]:
    """Seconds that curl takes for an upload, and CPU seconds that the server takes.

    On SQLite Glance answers one with 500, database is locked, while one of its processes still ends what the load before had
    begun; then it is sent again.
    """
    for _ in range(ATTEMPTS):
        before = peer.cpu()
        sent = subprocess.run(upload, capture_output=True, text=True, check=False)
        if sent.returncode == 0:
            return float(sent.stdout), peer.cpu() - before
        print(f"{peer.name} answered an upload with an error; it is sent again", file=sys.stderr)
        time.sleep(2)
    raise RuntimeError(f"{peer.name} takes no upload: {(peer.folder / 'log').read_text()[-2000:]}")


def fetch(url: str) -> float:
    """Seconds that curl takes for a download."""
    return float(subprocess.check_output(["curl", "-sf", "-o", "/dev/null", "-w", "%{time_total}", url]))


def download(peer: Peer, figures: Figures, size: int, url: str) -> None:
    """What a file costs that has been read before."""
    before = peer.cpu()
    figures.note("download (MB/s)", size / 1e6 / statistics.median(fetch(url) for _ in range(DOWNLOADS)))
    figures.note("download (CPU s a GB)", (peer.cpu() - before) / size * 1e9 / DOWNLOADS)


def measure_nginx(figures: Figures, workers: int, stored: Path, folder: Path) -> None:
    """nginx sends the file that the service has stored: how a file came into memory makes a difference, too."""
    folder.mkdir()
    (folder / "data").hardlink_to(stored)
    nginx = Nginx(folder, "", workers)
    nginx.prepare()
    nginx.start()
    try:
        fetch(f"http://127.0.0.1:{nginx.port}/data")
        download(nginx, figures, stored.stat().st_size, f"http://127.0.0.1:{nginx.port}/data")
    finally:
        nginx.stop()


def measure_hashes(figures: Figures, data: Path) -> None:
    """What no upload can be faster than: its two hashes, side by side, of a file that is in memory."""

    def digest(algorithm: str) -> None:
        with data.open("rb") as file:
            hashlib.file_digest(file, algorithm)

    begin = time.monotonic()
    with ThreadPoolExecutor() as threads:
        list(threads.map(digest, ("md5", "sha512")))
    figures.note("upload (MB/s)", data.stat().st_size / 1e6 / (time.monotonic() - begin))


@contextlib.contextmanager
def databases(kind: str, folder: Path) -> Iterator[Callable[[Path], str]]:
    """A function that makes the URL of a new empty database."""
    if kind == "sqlite":
        yield lambda place: f"sqlite:///{place}/registry.db"
    else:
        (folder / "mariadb").mkdir()
        with running_mariadb(folder / "mariadb") as server:
            yield lambda _place: server.new_database()


def compare(kind: str, rounds: int, workers: int, data: Path, folder: Path) -> dict[str, Figures]:
    """Measure both in turn."""
    peers: list[type[Peer]] = [Glance, Ours] if installed() else [Ours]
    found = {name: Figures() for name in (Ours.name, Glance.name, Nginx.name, "hashes")}
    with databases(kind, folder) as new_database:
        for number in range(rounds):
            for make in peers:
                place = folder / f"{make.name}-{number}"
                place.mkdir()
                measure(make(place, new_database(place), workers), found[make.name], data, folder)
                images = list((place / "images").iterdir())
                if make is Ours:
                    measure_hashes(found["hashes"], data)
                    measure_nginx(found[Nginx.name], workers, images[0], folder / f"nginx-{number}")
                    (folder / f"nginx-{number}/data").unlink()
                for image in images:
                    image.unlink()
    return found


LESS_IS_BETTER = ("start", "memory", "CPU")


def show(found: dict[str, Figures]) -> None:
    """Print a table of medians and ratios."""
    ours, theirs = found["image-api"], found.get("glance")
    print(f"{'':34}{'image-api':>12}{'glance':>12}{'ratio':>9}")
    for name in ours.values:
        mine = ours.median(name)
        if theirs is None:
            print(f"{name:34}{mine:12.2f}")
            continue
        other = theirs.median(name)
        ratio = other / mine if any(word in name for word in LESS_IS_BETTER) else mine / other
        print(f"{name:34}{mine:12.2f}{other:12.2f}{ratio:8.1f}x")
    cost = "download (CPU s a GB)"
    print(f"{cost}, of nginx's: {ours.median(cost) / found['nginx'].median(cost):.2f}")
    rate = "upload (MB/s)"
    print(f"{rate}, of that of its two hashes alone: {ours.median(rate) / found['hashes'].median(rate):.2f}")


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["compare", "memory", "soak"], default="compare")
    parser.add_argument("--database", choices=["sqlite", "mariadb"], default="sqlite")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--size", type=int, default=1024, help="MiB of the image that is transferred")
    parser.add_argument("--folder", type=Path, help="where files are made; default: the system's temporary folder")
    given = parser.parse_args()
    print(f"machine: {platform.machine()}, {memory.cores()} cores, Python {platform.python_version()}, {given.database}, "
          f"{given.workers} workers")  # fmt: skip
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        if given.what == "memory":
            memory.run(folder, given.workers, given.size)
        elif given.what == "soak":
            soak.run(folder, given.workers)
        else:
            if not installed():
                print(f"real Glance is not in {GLANCE_VENV}; only ours is measured", file=sys.stderr)
            # As pip does when it installs a release, and has done with Glance.
            compileall.compile_dir(str(Path(image_service.__file__).parent), quiet=1)
            data = memory.random_file(folder / "data", given.size)
            show(compare(given.database, given.rounds, given.workers, data, folder))


main()
