"""docs/clients.md itself: nothing on it is untested."""

from __future__ import annotations

import re

from tests.clients.cases import CONFIGURATIONS, FAILURES, OTHERS, SESSIONS
from tests.clients.page import ADDRESS, PAGE, blocks, steps


def test_every_block_has_a_name() -> None:
    fences = re.findall(r"^```\w+$", PAGE.read_text(), re.M)
    assert len(fences) == len(blocks())


def test_every_block_is_run_by_a_test() -> None:
    used = {name for _, head, _ in SESSIONS for name in head}
    used |= {block.name for client, _, _ in SESSIONS for block in steps(client)}
    used |= {name for name, _, _ in CONFIGURATIONS} | FAILURES.keys() | OTHERS
    assert set(blocks()) == used


def test_every_address_is_the_one_that_tests_replace() -> None:
    addresses = set(re.findall(r"https?://(?:\S+@)?(\S+?:\d+)", PAGE.read_text()))
    assert addresses == {ADDRESS}
