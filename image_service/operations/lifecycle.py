"""The statuses of an image and the moves between them: one table (contract C.19, A.12).

``saving`` is entered by taking an upload's lease and left by ending it; every other move is a compare-and-set in the registry.
"""

from __future__ import annotations

from image_service.errors import WrongStatus
from image_service.model import Status

MOVES: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.SAVING, Status.UPLOADING, Status.IMPORTING, Status.ACTIVE, Status.KILLED, Status.DELETED}),
    Status.SAVING: frozenset({Status.ACTIVE, Status.KILLED, Status.QUEUED, Status.DELETED}),
    Status.UPLOADING: frozenset({Status.IMPORTING, Status.QUEUED, Status.DELETED}),
    Status.IMPORTING: frozenset({Status.ACTIVE, Status.QUEUED, Status.DELETED}),
    Status.ACTIVE: frozenset({Status.DEACTIVATED, Status.PENDING_DELETE, Status.DELETED}),
    Status.DEACTIVATED: frozenset({Status.ACTIVE, Status.PENDING_DELETE, Status.DELETED}),
    Status.PENDING_DELETE: frozenset({Status.DELETED, Status.ACTIVE}),
    Status.KILLED: frozenset({Status.DELETED}),
    Status.DELETED: frozenset(),
}

# What lists leave out, but for those of what has changed, and of the registry.
UNLISTED = (Status.KILLED, Status.DELETED, Status.PENDING_DELETE)
READABLE = frozenset({Status.ACTIVE, Status.DEACTIVATED})
# In which anything may be changed. Once a delete has begun nobody can protect the image any more; and when the store refuses, the
# delete puts back what it finds as it left it.
CHANGEABLE = frozenset(Status) - {Status.DELETED}


def require(status: Status, target: Status) -> None:
    """Raise ``WrongStatus`` unless an image may go from ``status`` to ``target``."""
    if target not in MOVES[status]:
        raise WrongStatus(f"Image status transition from {status} to {target} is not allowed.")
