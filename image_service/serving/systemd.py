"""The two things that systemd and a service say to each other: states over NOTIFY_SOCKET, and sockets that are open already.

gunicorn takes the sockets (LISTEN_FDS) itself; it also says READY, but before any worker serves. So :class:`Notifier` takes the
address out of the environment, which silences gunicorn, and says what is true. Source: sd_notify(3), sd_listen_fds(3).
"""

from __future__ import annotations

import contextlib
import os
import socket
import time


class Notifier:
    """Sends states to the address in NOTIFY_SOCKET; does nothing without one."""

    def __init__(self) -> None:
        address = os.environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def send(self, *states: str) -> None:
        """Send ``states`` (``READY=1``, ...) in one message. A supervisor that is gone is no error of ours."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.connect(self._address)
            channel.send("\n".join(states).encode())

    def starting(self) -> None:
        """It takes a while (the database is not there yet): systemd's deadline moves."""
        self.send("STATUS=Starting", "EXTEND_TIMEOUT_USEC=30000000")

    def ready(self, status: str) -> None:
        """The service answers requests, as it is configured now."""
        self.send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """A reload has begun; :meth:`ready` ends it. (MONOTONIC_USEC is what Type=notify-reload wants.)"""
        self.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=Reloading")

    def stopping(self, status: str) -> None:
        """The service ends, and needs some seconds more: systemd's own deadline moves while transfers drain."""
        self.send("STOPPING=1", f"STATUS={status}", "EXTEND_TIMEOUT_USEC=30000000")
