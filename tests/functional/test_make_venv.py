"""The environment that `make` makes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MADE = ".venv/.made"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """As much of a clone as an environment takes, with one."""
    tree = tmp_path / "a clone"
    (tree / "scripts").mkdir(parents=True)
    for name in ("Makefile", "scripts/make-venv.sh"):
        shutil.copy(ROOT / name, tree / name)
    make(tree)
    (tree / ".venv" / "mark").touch()
    return tree


def make(tree: Path) -> None:
    """What is asked of pip is answered from this very place."""
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL")}
    subprocess.run(["make", f"PYTHON={sys.executable}", MADE], cwd=tree, env=environment, check=True)
    answer = subprocess.run([tree / ".venv/bin/pip", "--version"], capture_output=True, text=True, check=True).stdout
    assert f" {tree}/.venv/" in answer


def is_that_of_before(tree: Path) -> bool:
    return (tree / ".venv" / "mark").exists()


def test_an_environment_that_works_stays(tree: Path) -> None:
    """A service may run from it."""
    make(tree)
    (tree / MADE).unlink()
    make(tree)
    assert is_that_of_before(tree)


def test_an_environment_whose_making_was_interrupted_is_made_anew(tree: Path) -> None:
    """The module of pip is there for a while before its command is."""
    (tree / MADE).unlink()
    for command in (tree / ".venv" / "bin").glob("pip*"):
        command.unlink()
    make(tree)
    assert not is_that_of_before(tree)


@pytest.mark.parametrize("stays", [True, False], ids=["copied", "moved"])
def test_an_environment_in_another_place_is_made_anew(tree: Path, stays: bool) -> None:
    """Its commands name the place where they were made."""
    other = tree.with_name("another")
    if stays:
        shutil.copytree(tree, other, symlinks=True)
    else:
        tree.rename(other)
    make(other)
    assert not is_that_of_before(other)
    assert is_that_of_before(tree) is stays
