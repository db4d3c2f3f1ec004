"""The sample configuration files are current, whole, and say what an empty file means."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from image_service import config
from scripts.samples import FOLDER, sample

PROGRAMS = list(config.GROUPS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_committed_sample_is_current(program: str) -> None:
    assert (FOLDER / f"{program}.conf.sample").read_text() == sample(program), "run `make samples`"


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_samples_values_are_the_defaults(program: str, tmp_path: Path) -> None:
    """Every assignment without its comment sign, read back, changes nothing."""
    assignments = re.sub(r"^#(\w+ =)(?! <not set>)", r"\1", sample(program), flags=re.MULTILINE)
    assert assignments.count("\n#") < sample(program).count("\n#")
    file = tmp_path / f"{program}.conf"
    file.write_text(assignments)
    empty = tmp_path / "empty.conf"
    empty.write_text("")
    told, default = config.load(program, [str(file)], []), config.load(program, [str(empty)], [])
    for group, options in config.GROUPS[program].items():
        for option in options:
            name = str(option.dest)
            found = told[name] if group == "DEFAULT" else told[group][name]
            assert found == (default[name] if group == "DEFAULT" else default[group][name]), f"[{group}] {name}"


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_option_has_a_help(program: str) -> None:
    options = [option for group in config.GROUPS[program].values() for option in group]
    assert not [option.dest for option in options if not option.help]
