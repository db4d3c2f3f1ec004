"""What the documents point at is there: links between pages, and the files that they name as evidence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
NAMED = re.compile(r"`((?:tests|image_service|scripts|roles|playbooks|docs|molecule)/[\w./-]+)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_or_names_exists(page: Path) -> None:
    text = page.read_text()
    linked = {target for target in LINK.findall(text) if not (page.parent / target).exists()}
    named = {target for target in NAMED.findall(text) if not (ROOT / target).exists()}
    assert not linked | named


def test_every_decision_is_in_the_list_of_decisions() -> None:
    folder = ROOT / "docs/decisions"
    listed = set(LINK.findall((folder / "README.md").read_text()))
    assert listed == {page.name for page in folder.glob("[0-9]*.md")}
