"""Ports of 127.0.0.1 for servers that tests start."""

from __future__ import annotations

import random
import socket

# Below the range that the kernel takes ports from for connections, so that none of those takes a port before its server does.
_RANGE = range(20000, 30000)
_given: set[int] = set()


def free_port() -> int:
    """A TCP port that nobody listens to now, and that this function gave to nobody before."""
    for port in random.sample(_RANGE, len(_RANGE)):
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise RuntimeError(f"no port of {_RANGE} is free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
