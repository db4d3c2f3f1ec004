"""Every variable and every tag of the install kit is documented, and what it repeats of the service is the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from image_service.registry import wire
from scripts import role_docs

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if (path / "meta").is_dir())
PLAYBOOKS = [ROOT / "site.yml", *sorted((ROOT / "playbooks").glob("*.yml"))]
KNOWN_TO_ANSIBLE = {"always", "never"}


@pytest.fixture(scope="module")
def documents() -> str:
    return "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("install.md", "operations.md"))


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_each_variable_is_specified_and_has_a_default(role: Path) -> None:
    assert sorted(role_docs.specification(role)) == sorted(role_docs.defaults(role))


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_each_variable_is_in_the_readme(role: Path) -> None:
    page = (role / "README.md").read_text(encoding="utf-8")
    assert [name for name in role_docs.defaults(role) if f"| `{name}` |" not in page] == []


def test_the_tables_are_current() -> None:
    assert role_docs.main(["--check"]) == 0


def tags(node: Any) -> set[str]:
    """All tags below ``node`` of a YAML document."""
    if isinstance(node, list):
        return set().union(*(tags(item) for item in node))
    if not isinstance(node, dict):
        return set()
    own = node.get("tags", [])
    return set([own] if isinstance(own, str) else own).union(*(tags(value) for key, value in node.items() if key != "tags"))


def test_each_tag_is_documented(documents: str) -> None:
    files = [*PLAYBOOKS, *(ROOT / "roles").glob("*/tasks/*.yml")]
    used = set().union(*(tags(yaml.safe_load(path.read_text(encoding="utf-8"))) for path in files)) - KNOWN_TO_ANSIBLE
    assert used
    assert sorted(tag for tag in used if f"| `{tag}` |" not in documents) == []


def test_each_playbook_is_documented(documents: str) -> None:
    assert [path.name for path in PLAYBOOKS if path.name not in documents] == []


def test_each_variable_of_a_playbook_is_documented(documents: str) -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in [*PLAYBOOKS, *(ROOT / "playbooks").glob("*/*.yml")])
    names = set(re.findall(r"\bimage_(?:backup|restore|rotate|uninstall|upgrade)\w*", text))
    made = {"image_backup_path", "image_backup_store", "image_backup_parts", *re.findall(r"\bregister: (\w+)", text)}
    assert names
    assert sorted(name for name in names - made if name not in documents) == []


def test_the_proxy_asks_again_what_the_api_asks_again() -> None:
    variables = yaml.safe_load((ROOT / "roles/image_proxy/vars/main.yml").read_text(encoding="utf-8"))
    assert set(variables["image_proxy_registry_repeatable"]) == wire.REPEATABLE
