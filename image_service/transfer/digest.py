"""The hashes of an image: MD5 (``checksum``) and ``hashing_algorithm`` (``os_hash_value``), each in a thread
of its own.

hashlib gives the interpreter's lock back while it works, so both run beside each other and beside receiving
and writing.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor

_THREADS = ThreadPoolExecutor(max(2, os.cpu_count() or 1), thread_name_prefix="digest")
_AT_ONCE = 16 << 10  # so little is hashed sooner than a thread is woken


class Digests:
    """Both hashes of one stream. ``ValueError`` for an algorithm that hashlib does not have."""

    def __init__(self, algorithm: str) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._other = hashlib.new(algorithm, usedforsecurity=False)

    def updates(self, data: bytes | bytearray | memoryview) -> list[Awaitable[None]]:
        """Start to add ``data``; what is returned must be awaited before the next call. ``data`` must not
        change until then."""
        if len(data) <= _AT_ONCE:
            self._md5.update(data)
            self._other.update(data)
            return []
        loop = asyncio.get_running_loop()
        return [loop.run_in_executor(_THREADS, hash_.update, data) for hash_ in (self._md5, self._other)]

    @property
    def checksum(self) -> str:
        """MD5 in hex."""
        return self._md5.hexdigest()

    @property
    def hash_value(self) -> str:
        """The other hash in hex."""
        return self._other.hexdigest()
