"""The two things that systemd and a service say to each other: states over NOTIFY_SOCKET, and sockets that are open already.

gunicorn takes the sockets (LISTEN_FDS) itself; it also says READY, but before any worker serves. So :class:`Notifier` takes the
address out of the environment, which silences gunicorn, and says what is true. Source: sd_notify(3), sd_listen_fds(3).
"""

from __future__ import annotations

import contextlib
import os
import socket
import time

# Seconds between two words to systemd while something takes long; each moves its deadline by three times as much.
WORD_EVERY = 10


class Notifier:
    """Sends states to the address in NOTIFY_SOCKET; does nothing without one."""

    def __init__(self) -> None:
        address = os.environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._next_word = time.monotonic() + WORD_EVERY

    def send(self, *states: str) -> None:
        """Send ``states`` (``READY=1``, ...) in one message. A supervisor that is gone is no error of ours."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.connect(self._address)
            channel.send("\n".join(states).encode())

    def ready(self, status: str) -> None:
        """The service answers requests, as it is configured now."""
        self.send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """A reload has begun; :meth:`ready` ends it. (MONOTONIC_USEC is what Type=notify-reload wants.)"""
        self.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=Reloading")

    def wait(self, status: str) -> None:
        """It takes a while (a database that is not there yet, transfers that drain). Call it as often as you like."""
        if time.monotonic() >= self._next_word:
            self._next_word = time.monotonic() + WORD_EVERY
            self.send(f"STATUS={status}", f"EXTEND_TIMEOUT_USEC={3 * WORD_EVERY}000000")
