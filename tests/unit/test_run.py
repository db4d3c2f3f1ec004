"""The arguments of `make run`."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import run
from scripts.run import alone, check_port, port_of


@pytest.mark.parametrize("text", ["", "0", "-5", "65536", "abc", "80.0"])
def test_what_is_no_port_is_told_in_a_sentence(text: str) -> None:
    with pytest.raises(SystemExit, match=f"PORT={text}: give a number"):
        port_of(text)


def test_a_port_is_taken() -> None:
    assert port_of("9393") == 9393


def test_two_do_not_start_the_service_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "VAR", tmp_path)
    with alone(), pytest.raises(SystemExit, match="Another `make run`"), alone():
        pass
    with alone():
        pass


def test_who_starts_it_again_is_told_where_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clouds = tmp_path / "clouds.yaml"
    clouds.write_text(run.CLOUDS_TEXT.format(host="127.0.0.1", port=9393))
    monkeypatch.setattr(run, "CLOUDS", clouds)
    monkeypatch.setattr(run, "running_pid", lambda: 1)
    with pytest.raises(SystemExit, match=r"already, on http://127\.0\.0\.1:9393;"):
        check_port(9292)
