"""The progress bar of `make run`."""

from __future__ import annotations

import pytest

from scripts.progress import watched


@pytest.mark.parametrize("columns", [200, 80, 40])
def test_a_line_fits_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    # One that is wrapped is not written over by the next.
    monkeypatch.setenv("COLUMNS", str(columns))
    assert list(watched([b"12345678"], 8, "Downloading")) == [b"12345678"]
    line = capsys.readouterr().err.rstrip("\n")
    assert "100%" in line or columns < 80
    assert len(line) < columns
