"""Who asks. Made by ``api.middleware`` for every request, read by ``operations.policy``; holds no rule itself."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass


def new_request_id() -> str:
    """A request id in OpenStack's form: ``req-`` and a UUID.

    It need not be secret, so it does not ask the kernel: that was a twentieth of a show's time.
    """
    return f"req-{uuid.UUID(int=random.getrandbits(128), version=4)}"


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The identity behind a request.

    ``project`` owns what the request creates; None where nobody authenticates. ``roles`` are lower case.
    ``is_admin`` sees and changes everything. ``read_only`` marks an anonymous request that may only look.
    """

    user: str | None = None
    project: str | None = None
    roles: frozenset[str] = frozenset()
    is_admin: bool = False
    read_only: bool = False
    authenticated: bool = False
    request_id: str = ""
