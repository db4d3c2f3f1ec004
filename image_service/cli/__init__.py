"""Commands: parse, call, print. No rule of the domain lives here."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from importlib import import_module

# Ctrl-C ends a command without a word, also while it imports what it needs. The process then ends as of the signal itself.
sys.excepthook = lambda kind, *error: None if kind is KeyboardInterrupt else sys.__excepthook__(kind, *error)


def _command(module: str) -> Callable[[], None]:
    def main() -> None:
        # What is imported stays, and to look there for garbage takes a tenth of the start. command.run begins to look.
        gc.disable()
        import_module(f"image_service.cli.{module}").main()

    return main


image_api, image_registry, image_manage, image_control, image_scrubber = map(
    _command, ("api", "registry", "manage", "control", "scrubber")
)
