"""`make samples`: write the table of options in docs/configuration.md from image_service/config.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from oslo_config import cfg

from image_service import config
from scripts.samples import _text

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
MARKER = "<!-- options: written by `make samples` -->\n"


def table() -> str:
    """Every option of both programs, a table for each section."""
    groups = dict.fromkeys([*config.API_GROUPS, *config.REGISTRY_GROUPS])
    return "\n".join(part for group in groups for part in _section(group))


def _section(group: str) -> Iterator[str]:
    options = config.API_GROUPS.get(group) or config.REGISTRY_GROUPS[group]
    yield f"### `[{group}]`\n\n| Option | Default | Meaning |\n| --- | --- | --- |"
    yield from (_row(group, option) for option in options)
    yield ""


def _row(group: str, option: cfg.Opt) -> str:
    default = "" if option.default is None else _text(option.default)
    old = ", ".join(f"`[{name.group or group}] {name.name or option.dest}`" for name in option.deprecated_opts)
    meaning = (option.help or "").replace("|", "\\|") + (f" Old name: {old}." if old else "")
    if group in config.REGISTRY_GROUPS and option in config.REGISTRY_GROUPS[group]:
        meaning += " *Also image-registry.*"
    return f"| `{option.dest}` | {f'`{default}`' if default else ''} | {meaning} |"


def page(text: str) -> str:
    """``text`` with everything after the marker written anew."""
    return text.partition(MARKER)[0] + MARKER + "\n" + table()


def main() -> None:
    PAGE.write_text(page(PAGE.read_text()))
    print("Wrote the options in docs/configuration.md")


if __name__ == "__main__":
    main()
