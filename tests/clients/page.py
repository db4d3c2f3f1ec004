"""The blocks of docs/clients.md that have a name: a comment ``<!-- test: CLIENT/WHAT -->`` on the line above.

WHAT is a step of a session (:data:`STEPS`), the name of a configuration, or whatever else a test asks for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
ADDRESS = "127.0.0.1:9292"
STEPS = ("create", "two steps", "look", "same", "change", "share", "lock", "unlock", "download", "delete")

_NAMED = re.compile(
    r"^<!-- test: (?P<client>[^/\n]+)/(?P<what>[^\n]+) -->\n```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """A named block as it stands on the page."""

    client: str
    what: str
    language: str
    text: str

    @property
    def name(self) -> str:
        """As the comment on the page has it."""
        return f"{self.client}/{self.what}"

    def at(self, port: int) -> str:
        """The text, with the address of a service in the place of the page's."""
        return self.text.replace(ADDRESS, f"127.0.0.1:{port}")


@cache
def blocks() -> dict[str, Block]:
    """Every named block by its name, in the page's order."""
    found = [Block(**match.groupdict()) for match in _NAMED.finditer(PAGE.read_text())]
    names = [block.name for block in found]
    assert len(names) == len(set(names)), f"two blocks of {PAGE.name} have one name: {sorted(names)}"
    return {block.name: block for block in found}


def steps(client: str) -> list[Block]:
    """The session of ``client``."""
    return [block for block in blocks().values() if block.client == client and block.what in STEPS]
