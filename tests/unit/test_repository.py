"""What is promised about the repository itself: it belongs to no machine, and pins and lists what it uses."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
REQUIREMENTS = sorted((ROOT / "requirements").glob("*.txt"))
# Written so that this file does not find itself.
MACHINE_PATHS = re.compile(r"/(?:work|root|home/[a-z]+|tmp/[a-zA-Z0-9._]+)/" + r"(?=[\w.])")
INDEX_SETTINGS = re.compile(r"--(?:extra-)?index-" + r"url[ =]\S|--find-" + r"links[ =](?:https?:|/)|--trusted-" + r"host[ =]\S")


def committed_files() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("this is not a git checkout")
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    found = []
    for path in committed_files():
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    return found


def test_no_path_of_one_machine_is_committed() -> None:
    assert not lines_with(MACHINE_PATHS)


def test_no_package_index_is_named() -> None:
    assert not lines_with(INDEX_SETTINGS)


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.stem)
def test_every_requirement_is_pinned_with_hashes(path: Path) -> None:
    text = path.read_text()
    entries = re.findall(r"^[A-Za-z0-9].*(?:\n[ ]+--hash=.*)*", text, re.MULTILINE)
    assert entries
    assert not [entry.split()[0] for entry in entries if "==" not in entry or "--hash=sha256:" not in entry]


def test_one_package_has_one_version() -> None:
    """All but real Glance's list are installed into one environment."""
    pins: dict[str, set[str]] = {}
    for path in set(REQUIREMENTS) - {ROOT / "requirements/bench.txt"}:
        for name, version in re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", path.read_text(), re.MULTILINE):
            pins.setdefault(name, set()).add(version)
    assert not {name: versions for name, versions in pins.items() if len(versions) > 1}


def test_make_alone_lists_every_target() -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL")}
    listing = subprocess.run(["make"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    listed = re.findall(r"^  make (\S+) +\S", listing, re.MULTILINE)
    targets = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(" ".join(targets).split())


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_console_script_can_be_loaded(name: str) -> None:
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name=name)
    assert callable(entry.load())
