"""The arguments of `make run`."""

from __future__ import annotations

import pytest

from scripts.run import port_of


@pytest.mark.parametrize("text", ["", "0", "-5", "65536", "abc", "80.0"])
def test_what_is_no_port_is_told_in_a_sentence(text: str) -> None:
    with pytest.raises(SystemExit, match=f"PORT={text}: give a number"):
        port_of(text)


def test_a_port_is_taken() -> None:
    assert port_of("9393") == 9393
