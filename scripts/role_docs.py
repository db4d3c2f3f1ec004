"""Writes the table of variables into each role's README, from meta/argument_specs.yml and defaults/main.yml.

Usage: role_docs.py [--check]      With --check nothing is written; exit code 1 names the pages that are not current.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

ROLES = Path(__file__).resolve().parent.parent / "roles"
MARK = "<!-- made by scripts/role_docs.py -->\n"


def specification(role: Path) -> dict[str, Any]:
    """name -> type, description and choices of each variable that the role takes."""
    document = yaml.safe_load((role / "meta/argument_specs.yml").read_text(encoding="utf-8"))
    options: dict[str, Any] = document["argument_specs"]["main"]["options"]
    return options


def defaults(role: Path) -> dict[str, Any]:
    """name -> default of each variable, an expression as it is written."""
    document: dict[str, Any] = yaml.safe_load((role / "defaults/main.yml").read_text(encoding="utf-8"))
    return document


def shown(value: Any) -> str:
    """A default, short enough for a table."""
    if value is None or value in ("", [], {}):
        return "none"
    text = " ".join(str(value).split()) if not isinstance(value, bool) else str(value).lower()
    return "computed" if "{%" in text or len(text) > 60 else f"`{text}`"


def table(role: Path) -> str:
    """The variables as a table in Markdown."""
    known = defaults(role)
    lines = ["| Variable | Default | What it is |", "| --- | --- | --- |"]
    for name, option in specification(role).items():
        text = " ".join(option["description"].split())
        choices = f" One of {', '.join(option['choices'])}." if "choices" in option else ""
        lines.append(f"| `{name}` | {shown(known.get(name))} | {text}{choices} |".replace("||", "\\|\\|"))
    return "\n".join(lines) + "\n"


def page(role: Path) -> str:
    """The README as it has to be."""
    head, mark, _ = (role / "README.md").read_text(encoding="utf-8").partition(MARK)
    return f"{head}{mark}\n{table(role)}"


def main(arguments: list[str]) -> int:
    """Write the pages, or with --check say which are not current; the exit code."""
    stale = []
    for role in sorted(path for path in ROLES.iterdir() if (path / "meta").is_dir()):
        readme = role / "README.md"
        if readme.read_text(encoding="utf-8") == page(role):
            continue
        stale.append(readme.relative_to(ROLES.parent))
        if "--check" not in arguments:
            readme.write_text(page(role), encoding="utf-8")
    if stale and "--check" in arguments:
        print("not current, run scripts/role_docs.py:", *stale)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
