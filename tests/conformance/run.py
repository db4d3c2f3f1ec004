"""Drive the service with recorded requests of real Glance and say how many of its answers are alike.

    make conformance FOLDER=path                      all four places
    python -m tests.conformance.run FOLDER --place sqlite --show 50

FOLDER holds the recordings (``v1/``, ``v2/``), the programs that send the same requests (``record_v1.py``,
``record_v2.py``) and the one that compares (``compare.py``, with the ``accepted.json`` that came with it). It is not part
of this repository and ``make test`` does not need it. Three figures are printed for each place: as recorded; with FOLDER's
accepted differences; with ours (``accepted.json`` beside this file) as well.
Every rule of ours is explained in docs/compatibility.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.functional.registries import PLACES, migrated
from tests.functional.service import Service
from tests.mariadb import MariaDB, running_mariadb
from tests.ports import free_port

OURS = Path(__file__).with_name("accepted.json")
_EQUAL = re.compile(r"^(\d+) of (\d+) exchanges equal", re.MULTILINE)


@dataclass(frozen=True)
class Recording:
    """One set of requests and the service that it wants: ``stores`` by name and kind (none: unnamed ones)."""

    api: str
    kind: str
    stores: tuple[tuple[str, str], ...] = ()
    flavor: str = ""


RECORDINGS = (
    Recording("v1", "open"),
    Recording("v2", "open", (("store1", "file"),)),
    Recording("v2", "trusted", (("store1", "file"), ("store2", "file"), ("store3", "file"), ("web", "http")), "trusted-auth"),
)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 when every exchange is alike or its difference is documented."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--place", choices=PLACES, action="append", help="which registry, may be repeated; default: all four")
    parser.add_argument("--show", type=int, default=0, help="differences to print of each group")
    parser.add_argument("--keep", type=Path, help="where to keep what was recorded")
    asked = parser.parse_args(arguments)
    places = asked.place or list(PLACES)
    unexplained = 0
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        needs_mariadb = any("mariadb" in place for place in places)
        mariadb = stack.enter_context(running_mariadb(_folder(scratch / "mariadb"))) if needs_mariadb else None
        for place in places:
            recorded = _folder((asked.keep or scratch / "recorded") / place)
            for recording in RECORDINGS:
                folder = _folder(scratch / f"{place}-{recording.api}-{recording.kind}")
                _record(asked.folder, recording, place, _database(place, folder, mariadb), folder, recorded)
            unexplained += _report(asked.folder, place, recorded, asked.show, scratch)
    return 1 if unexplained else 0


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _database(place: str, folder: Path, mariadb: MariaDB | None) -> str:
    return migrated(mariadb.new_database() if mariadb and "mariadb" in place else f"sqlite:///{folder}/registry.db")


def _record(tools: Path, recording: Recording, place: str, database: str, folder: Path, out: Path) -> None:
    """Send the requests to an empty service and write its answers below ``out``."""
    with _serving(recording, place, database, folder) as service:
        api = f"http://127.0.0.1:{service.port}"
        if recording.api == "v1":
            command = ["record_v1.py", "--set", recording.kind, api, f"http://127.0.0.1:{service.registry_port}"]
        else:
            command = ["record_v2.py", "--set", recording.kind, "--web-port", str(_free_pair()), api]
        recorder = [sys.executable, str(tools / command[0]), *command[1:], str(out / recording.api)]
        subprocess.run(recorder, stdout=subprocess.DEVNULL, check=True)
        for trace in re.findall(r"^\s*Traceback.*?^\s*[\w.]*(?:Error|Exception)\b.*?$", service.log, re.MULTILINE | re.DOTALL):
            print(f"{place} {recording.api} {recording.kind}: the service logged\n{trace}", file=sys.stderr)


def _free_pair() -> int:
    """A free port whose lower neighbour is free, too: the recorder's web servers listen to both."""
    while True:
        port = free_port()
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port - 1))
            return port


@contextlib.contextmanager
def _serving(recording: Recording, place: str, database: str, folder: Path) -> Iterator[Service]:
    """An image-api, with an image-registry on the same database beside it wherever the requests ask it."""
    backends = ",".join(f"{name}:{kind}" for name, kind in recording.stores)
    default = f"enabled_backends = {backends}\n" if backends else ""
    sections = "default_backend = store1\n" if backends else ""
    for name, kind in recording.stores:
        own = (
            f"filesystem_store_datadir = {_folder(folder / name)}\n"
            if kind == "file"
            else "http_allowed_networks = 127.0.0.0/8\n"
        )
        sections += f"[{name}]\n{own}"
    sections += f"[paste_deploy]\nflavor = {recording.flavor}\n"
    service = Service(folder, database, place.startswith("remote-"), default, sections)
    service.configure()
    try:
        service.start()
        if recording.api == "v1":
            service.start_registry()
        yield service
    finally:
        service.end()


def _report(tools: Path, place: str, recorded: Path, show: int, scratch: Path) -> int:
    """Print the figures of one place; how many differences nobody has explained."""
    theirs = json.loads((tools / "accepted.json").read_text())
    ours = json.loads(OURS.read_text())
    unexplained = 0
    for api in ("v1", "v2"):
        figures = []
        for name, rules in (("as recorded", []), ("with FOLDER's accepted", theirs), ("with ours, too", theirs + ours)):
            file = scratch / "rules.json"
            file.write_text(json.dumps(rules))
            said = _compare(tools, api, recorded / api, file, show if name == "with ours, too" else 0)
            match = _EQUAL.search(said)
            assert match is not None, said
            equal, total = int(match[1]), int(match[2])
            figures.append(f"{name} {equal} of {total} ({100 * equal / total:.1f}%)")
        unexplained += total - equal
        if show:
            print(said)
        print(f"{place} {api}: {'; '.join(figures)}", flush=True)
    return unexplained


def _compare(tools: Path, api: str, recorded: Path, rules: Path, show: int) -> str:
    command = [
        sys.executable,
        str(tools / "compare.py"),
        str(tools / api),
        str(recorded),
        "--accepted",
        str(rules),
        "--show",
        str(show),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())
