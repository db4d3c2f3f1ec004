"""One worker process: an aiohttp server on the master's sockets, that ends without cutting a transfer.

What it adds to ``aiohttp.GunicornWebWorker``: it says when it serves, or why it cannot; it drains for as long as the
configuration allows and keeps its heart beating meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import sys
import time
import traceback
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

from aiohttp.worker import GunicornWebWorker
from oslo_config import cfg

from image_service import log
from image_service.errors import ImageServiceError
from image_service.serving.runner import Runner

if TYPE_CHECKING:
    from image_service.serving.application import Application

SERVING = b"+"
FAILED = b"!"
# glibc's mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


class Worker(GunicornWebWorker):
    """The heartbeat file, which the master shares, also holds what the worker says: nothing yet, ``+``, or ``!`` and why."""

    app: Application
    # The master's: whether this one is to go, and the signal that told it so while it was listening.
    retired = False
    told = 0
    _hurry = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.conf = self.app.conf
        self.born = time.monotonic()

    def report(self) -> bytes:
        """What the worker said last; for the master."""
        return os.pread(self.tmp.fileno(), 4096, 0)

    def _say(self, message: bytes) -> None:
        os.pwrite(self.tmp.fileno(), message[:4096], 0)

    def load_wsgi(self) -> None:
        """Nothing: the application is made in the event loop, by :meth:`_run`."""

    def run(self) -> None:
        """Serve until told to stop; ends the process."""
        _keep_buffers()
        log.start_writer()
        self.booted = False
        self._task = self.loop.create_task(self._run())
        try:
            self.loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        except Exception as error:  # noqa: BLE001 - the edge of the process: whatever it was, the master is told
            self.exit_code = 2 if isinstance(error, cfg.Error) else 1
            self._explain(error)
        finally:
            # The loop stays open, and so catches a second SIGTERM, which must not cut short what is still to be written.
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            log.stop_writer()
        sys.exit(self.exit_code)

    def _explain(self, error: Exception) -> None:
        expected = isinstance(error, (cfg.Error, ImageServiceError, OSError))
        if not expected:
            self.log.error("The worker failed:\n%s", "".join(traceback.format_exception(error)))
        if not self.booted:
            self._say(FAILED + (str(error) if expected else f"{type(error).__name__}: {error}").encode())

    async def _run(self) -> None:
        runner = Runner(await self.app.make_app(self.conf), self.conf, self.app.loads, self.age)
        try:
            await runner.setup()
            for sock in self.sockets:
                runner.listen(cast(Any, sock).sock)
            self.booted = True
            self._say(SERVING)
            with contextlib.suppress(asyncio.CancelledError):
                await self._serve()
            self.alive = False  # Also where the master is gone: a signal must not cut what drains.
            await runner.drain(lambda: self._hurry, self.notify)
        finally:
            await runner.cleanup()

    async def _serve(self) -> None:
        """Until a signal, or until the master is gone: then nobody would replace or stop this process."""
        while self.ppid == os.getppid():
            self.notify()
            await asyncio.sleep(1)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM: finish what runs. Whoever has not begun to serve stops at once."""
        if self.alive and self._task is not None:
            self.alive = False
            self._task.cancel()

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """SIGINT, SIGQUIT: give up what runs."""
        self._hurry = True
        self.handle_exit(sig, frame)

    def handle_usr1(self, sig: int, frame: Any) -> None:
        """Nothing: a rotated log file is noticed without a signal."""


def _keep_buffers() -> None:
    """Take buffers of up to 1 MiB from the heap, and let up to 4 MiB of it lie free.

    By default the 256 KiB that each receive takes are mapped and unmapped anew: 350,000 page faults and half a CPU second for an
    upload of 1 GiB. Does nothing where the C library has no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, (1 << 20) + 1)
        mallopt(_TRIM_THRESHOLD, 4 << 20)
