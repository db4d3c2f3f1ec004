"""docs/compatibility.md and the differences that the conformance run accepts say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = re.sub(r"\s+", " ", (ROOT / "docs" / "compatibility.md").read_text())
RULES: list[dict[str, Any]] = json.loads((ROOT / "tests" / "conformance" / "accepted.json").read_text())
PATTERNS = {"group", "request", "note", "what", "oracle", "candidate"}


@pytest.mark.parametrize("reason", sorted({rule["reason"] for rule in RULES}))
def test_every_accepted_difference_is_on_the_page(reason: str) -> None:
    assert reason in PAGE


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule['group']} {rule['what']}")
def test_a_rule_is_narrow(rule: dict[str, Any]) -> None:
    assert set(rule) <= PATTERNS | {"reason"}
    assert {"group", "what"} <= set(rule)
    # A group and one of: which request, which of its notes, which values.
    assert set(rule) & {"request", "note", "oracle", "candidate"}
    assert rule["what"] not in ("*", "json/*")
