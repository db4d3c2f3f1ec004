"""The environment that `make` makes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_an_environment_whose_making_was_interrupted_is_made_anew(tmp_path: Path) -> None:
    """What works stays, for a service may run from it. The module of pip is there for a while before its command is."""
    script = tmp_path / "scripts" / "make-venv.sh"
    script.parent.mkdir()
    shutil.copy(ROOT / "scripts" / "make-venv.sh", script)
    pip, mark = tmp_path / ".venv" / "bin" / "pip", tmp_path / ".venv" / "mark"

    def make() -> None:
        subprocess.run([script, sys.executable], check=True)
        subprocess.run([pip, "--version"], stdout=subprocess.DEVNULL, check=True)

    make()
    mark.touch()
    make()
    assert mark.exists()
    for command in pip.parent.glob("pip*"):
        command.unlink()
    make()
    assert not mark.exists()
