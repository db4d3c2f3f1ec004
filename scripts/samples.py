"""`make samples`: write etc/*.conf.sample from the options in image_service/config.py. Every line is a comment."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from oslo_config import cfg

from image_service import config

FOLDER = Path(__file__).resolve().parent.parent / "etc"


def sample(program: str) -> str:
    """The sample file of glance-api or glance-registry: each option with its help, limits, old names and default."""
    head = f"# {program}.conf: every option with its default. Generated from image_service/config.py by `make samples`."
    sections = [f"[{group}]\n\n" + "\n".join(map(_entry, options)) for group, options in config.GROUPS[program].items()]
    return "\n\n".join([head, *sections])


def _entry(option: cfg.Opt) -> str:
    lines = textwrap.wrap(option.help or "", 100) + list(_limits(option)) + list(_old_names(option))
    return "\n".join([*(f"# {line}" for line in lines), *_assignment(option), ""])


def _limits(option: cfg.Opt) -> Iterator[str]:
    kind = option.type
    for word, limit in (("At least", getattr(kind, "min", None)), ("At most", getattr(kind, "max", None))):
        if limit is not None and not isinstance(option, cfg.PortOpt):
            yield f"{word} {limit}."
    if choices := getattr(kind, "choices", None):
        yield f"One of: {', '.join(map(str, choices))}."


def _old_names(option: cfg.Opt) -> Iterator[str]:
    names = [f"[{old.group or 'same section'}] {old.name or option.dest}" for old in option.deprecated_opts]
    if names:
        yield f"Old names: {', '.join(names)}."


def _assignment(option: cfg.Opt) -> list[str]:
    if option.default is None:
        return [f"#{option.dest} = <not set>"]
    return [f"#{option.dest} = {_text(option.default)}".rstrip()]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for program in config.GROUPS:
        (FOLDER / f"{program}.conf.sample").write_text(sample(program))
        print(f"Wrote etc/{program}.conf.sample")


if __name__ == "__main__":
    main()
