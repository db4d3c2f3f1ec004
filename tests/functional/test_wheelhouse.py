"""The wheelhouse of a release serves inventories whose hosts have different versions of Python."""

from __future__ import annotations

import re
import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tree with little to install: one wheel that is built for each Python, and what builds the tree's own."""
    tree = tmp_path / "source"
    (tree / "image_service").mkdir(parents=True)
    (tree / "image_service" / "__init__.py").touch()
    (tree / "requirements").mkdir()
    wanted = re.findall(
        r"^(?:frozenlist|setuptools)==.*(?:\n    --hash.*)+", (ROOT / "requirements/runtime.txt").read_text(), re.M
    )
    assert len(wanted) == 2
    (tree / "requirements" / "runtime.txt").write_text("\n".join(wanted) + "\n")
    project = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
    (tree / "pyproject.toml").write_text(f'{project}[project]\nname = "image-service"\nversion = "1.0"\n')
    for name in ("README.md", "LICENSE"):
        (tree / name).write_text("A tree of the tests.\n")
    return tree


def building(source: Path, python: str) -> subprocess.Popen[str]:
    command = [f"{ROOT}/scripts/wheelhouse.sh", "--source", f"{source}", "--python", python]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_inventories_can_build_it_at_once_and_neither_takes_the_others_wheels(source: Path) -> None:
    said = [process.communicate()[0].split()[0] for process in [building(source, "3.11"), building(source, "3.13")]]
    assert said == ["built", "built"]
    (archive,) = (source / "build" / "wheelhouse").glob("*.tar.gz")
    with tarfile.open(archive) as content:
        names = " ".join(content.getnames())
    assert "-cp311-" in names
    assert "-cp313-" in names
    for python in ("3.11", "3.13"):
        assert building(source, python).communicate()[0].startswith("present")
