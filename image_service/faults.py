"""Named points where a test can make the process die or fail, as if by accident.

``IMAGE_SERVICE_FAULTS="upload.after-rename=kill,registry.before-commit=fail"`` arms them; without that variable, :func:`point`
does nothing but one look-up. Every name that exists stands in :data:`POINTS`, so that a misspelt one is an error, not a test
that proves nothing.
"""

from __future__ import annotations

import os
import signal

POINTS = frozenset(
    {
        "upload.before-lease",  # the image is registered, nobody uploads yet
        "upload.after-lease",  # the image is saving, no byte was written
        "upload.first-chunk",  # some bytes are in the temporary file
        "upload.before-fsync",
        "upload.before-rename",
        "upload.after-rename",  # the file has its final name, the registry still says saving
        "upload.before-active",
        "upload.after-active",  # the registry says active, the client has no answer
        "delete.after-status",  # the registry says deleted, the bytes are there
        "delete.after-bytes",  # the bytes are gone, the row is not soft-deleted
    }
)

_VARIABLE = "IMAGE_SERVICE_FAULTS"


class InjectedFault(RuntimeError):
    """Raised at a point that is armed with ``fail``."""


def _armed() -> dict[str, str]:
    pairs = [item.partition("=") for item in os.environ.get(_VARIABLE, "").split(",") if item]
    unknown = {name for name, _, _ in pairs} - POINTS
    if unknown:
        raise ValueError(f"{_VARIABLE} names unknown fault points: {', '.join(sorted(unknown))}")
    return {name: action or "kill" for name, _, action in pairs}


ARMED = _armed()


def point(name: str) -> None:
    """Die here with SIGKILL (``kill``), or raise :class:`InjectedFault` (``fail``), when a test armed this point."""
    action = ARMED.get(name)
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action is not None:
        raise InjectedFault(name)
