"""Who asks. Made by ``api.middleware`` for every request, read by ``operations.policy``; holds no rule itself."""

from __future__ import annotations

from dataclasses import dataclass


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
