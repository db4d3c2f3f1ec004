"""The master process: gunicorn's arbiter, with the changes that long transfers need.

gunicorn waits for old workers inside a reload, as long as the longest transfer takes, and is deaf meanwhile; it ends everything
when one worker cannot start again, or a new configuration is wrong. Here a generation of workers is a set, and every turn of the
loop brings what is closer to what is wanted:

    start           workers of generation 1 start; when all serve: READY
    SIGHUP          generation 2 starts beside them; when all of it serves, generation 1 drains, each worker on its own,
                    and READY; where it cannot start it goes, and generation 1 stays with the configuration that it had
    a worker dies   another takes its place; later and later, where it cannot start
    SIGTERM         everybody drains; SIGINT, SIGQUIT: everybody gives up what runs
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import resource
import signal
import time
from typing import Any, ClassVar

from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from oslo_config.cfg import ConfigOpts

from image_service import log
from image_service.config_check import require_closed_door
from image_service.serving.application import Application
from image_service.serving.systemd import Notifier
from image_service.serving.worker import FAILED, SERVING, Worker

LOG = logging.getLogger(__name__)

# What a worker may need beyond graceful_timeout to end requests that are cut off.
MARGIN = 20.0
# A worker that lived for less is not replaced before this time is over, in seconds.
SHORTEST_LIFE = 2.0
# What a new generation gets to serve, in seconds, before another reload takes its place.
PATIENCE = 10.0
# Seconds between two turns after which this process stood still, and probably its workers, too; and what they get to come back.
STOOD_STILL, COME_BACK = 10.0, 30.0
MOST_FILES = 65536
TURN = 0.05
LONGEST_PAUSE = 30.0


class Master(Arbiter):
    """Keeps as many workers serving as the configuration says. A generation is the workers that were made with one ``conf``."""

    app: Application
    WORKERS: ClassVar[dict[int, Worker]] = {}  # type: ignore[assignment]
    LISTENERS: ClassVar[list[Any]] = []

    def __init__(self, app: Application) -> None:
        self._notifier = Notifier()
        super().__init__(app)
        # The configuration with which a whole generation has served last. Not app.conf: a reload, or the start, is under way.
        self._proven: ConfigOpts | None = None
        # The ages of the workers that READY was said for.
        self._announced: set[int] = set()
        self._again = False
        # When the present generation began.
        self._begun = time.monotonic()
        self._pause = 0.0
        self._not_before = 0.0
        self._last_look = self._spared_until = time.monotonic()

    def start(self) -> None:
        """Listen. ``cfg.Error`` where nobody would be asked and strangers could come, also by sockets from systemd."""
        try:
            super().start()
        except SystemExit:  # gunicorn has logged which
            advice = "Give another bind_host or bind_port, or end what listens there."
            log.complain(self.app.name, f"Cannot listen on {', '.join(self.cfg.bind)}. {advice}")
            raise
        self._require_closed_door(self.app.conf)
        _allow_many_files()
        # What is imported stays for good: the collector need not look at it, nor touch, and so copy, its pages in every worker.
        gc.disable()
        self.app.preload(self.app.conf)
        gc.freeze()
        gc.enable()

    def _require_closed_door(self, conf: ConfigOpts) -> None:
        require_closed_door(conf, [listener.getsockname() for listener in self.LISTENERS])

    def wait_for_signals(self, timeout: float | None = 1.0) -> list[int]:
        """As gunicorn, but look more often while workers start, so that READY is said when it is true."""
        settled = {worker.age for worker in self._present()} == self._announced
        return super().wait_for_signals(timeout if settled or time.monotonic() < self._not_before else TURN)

    # ---- the workers -----------------------------------------------------------------------------------------------

    def _present(self) -> list[Worker]:
        return self._workers_of(self.app.conf)

    def _workers_of(self, conf: ConfigOpts) -> list[Worker]:
        return [worker for worker in self.WORKERS.values() if worker.conf is conf and not worker.retired]

    def _overdue(self) -> bool:
        """Has the present generation had its time to serve?"""
        return time.monotonic() - self._begun > PATIENCE

    def manage_workers(self) -> None:
        """Bring the workers closer to what is wanted; gunicorn calls it in every turn."""
        log.look()
        proven = self._proven
        if proven not in (None, self.app.conf) and self._overdue() and len(self._workers_of(proven)) < proven.workers:
            self._return_to(proven, "its workers do not serve yet, and not all of the old ones are there any more")
        missing = self.num_workers - len(self._present())
        if missing > 0 and time.monotonic() >= self._not_before:
            try:
                for _ in range(missing):
                    self.spawn_worker()
            except OSError as error:  # no more processes, memory or descriptors
                self._cannot_start(f"no worker can be made: {error}")
        for worker in sorted(self._present(), key=lambda worker: worker.age)[: max(-missing, 0)]:
            worker.retired = True
        self._announce()
        self._tell_retired(signal.SIGTERM)
        if self._again and (self._proven is self.app.conf or self._overdue()):
            self._again = False
            self.reload()

    def _announce(self) -> None:
        """When all of the present generation serve, say so; the one before it may go."""
        present = self._present()
        ages = {worker.age for worker in present}
        if len(present) != self.num_workers or any(worker.report() != SERVING for worker in present):
            if self._proven is None:
                self._notifier.wait("Starting")
        elif ages != self._announced:
            self._announced, self._proven, self._pause = ages, self.app.conf, 0.0
            for worker in self.WORKERS.values():
                worker.retired = worker.retired or worker.conf is not self.app.conf
            self._notifier.ready(f"{self.num_workers} workers serve")
            LOG.info("%s is ready: %s workers serve", self.app.name, self.num_workers)

    def _tell_retired(self, sig: int) -> None:
        """Tell those that are to go. One that is starting may not listen to signals yet, and is told again."""
        for worker in list(self.WORKERS.values()):
            if worker.retired and worker.told != sig:
                worker.told = sig if worker.report() else 0
                self.kill_worker(int(worker.pid), sig)

    def murder_workers(self) -> None:
        """Kill who has not moved for too long. Where the machine was paused that is nobody's fault: their transfers go on."""
        before, self._last_look = self._last_look, time.monotonic()
        if self._last_look - before > STOOD_STILL:
            self._spared_until = self._last_look + COME_BACK
        if self._last_look >= self._spared_until:
            super().murder_workers()

    def reap_workers(self) -> None:
        """Look after the processes that have ended."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                worker = self.WORKERS.pop(ended[0], None)
                if worker is not None:
                    self._bury(worker, os.waitstatus_to_exitcode(ended[1]))

    def _bury(self, worker: Worker, code: int) -> None:
        report = worker.report()
        worker.tmp.close()
        self.app.loads.leave(worker.age)
        if worker.retired:
            return
        if report == SERVING or worker.conf is not self.app.conf:
            LOG.error("Worker %s ended unexpectedly (exit code %s)", worker.pid, code)
            self._not_before = max(self._not_before, worker.born + SHORTEST_LIFE)
            return
        sentence = report.removeprefix(FAILED).decode(errors="replace")
        self._cannot_start(sentence or f"a worker ended while it started (exit code {code})", max(code, 1))

    def _cannot_start(self, sentence: str, code: int = 1) -> None:
        if self._proven is None:
            raise HaltServer(sentence, code)
        if self._proven is not self.app.conf:
            self._return_to(self._proven, sentence)
        else:
            self._pause = min(max(self._pause * 2, 1.0), LONGEST_PAUSE)
            self._not_before = time.monotonic() + self._pause
            LOG.error("A worker cannot start, the next try is in %g s: %s", self._pause, sentence)

    # ---- reload ----------------------------------------------------------------------------------------------------

    def reload(self) -> None:
        """Read the configuration again and start a generation of workers with it."""
        if self._proven is not self.app.conf:
            if self._proven is None or not self._overdue():
                self._again = True
                return
            self._return_to(self._proven, "its workers neither served nor failed before the next reload")
        old = self.app.conf
        self._notifier.reloading()
        try:
            conf = self.app.read_conf()
            self._require_closed_door(conf)
        except Exception as error:  # noqa: BLE001 - whatever it was, what serves goes on
            self._return_to(old, str(error))
            return
        if (conf.bind_host, conf.bind_port) != (old.bind_host, old.bind_port):
            LOG.warning("bind_host and bind_port are used after a restart, not after a reload")
        self._use(conf)

    def _use(self, conf: ConfigOpts) -> None:
        self.app.conf = conf
        self.num_workers = conf.workers
        self._not_before = 0.0
        self._begun = time.monotonic()

    def _return_to(self, old: ConfigOpts, sentence: str) -> None:
        """The new configuration is wrong, or its workers cannot start: they go, the old ones stay."""
        if self.app.conf is not old:
            for worker in self._present():
                worker.retired = True
            self._use(old)
        with contextlib.suppress(OSError):  # the log file cannot be opened anew: what is open goes on
            log.setup(old, self.app.name)
        LOG.error("The configuration was not reloaded, the old one stays in use: %s", sentence)
        self._notifier.ready("The last reload was refused, see the log")

    def handle_usr1(self) -> None:
        """Nothing: a rotated log file is noticed."""

    def handle_usr2(self) -> None:
        """gunicorn would start a second master here."""
        LOG.warning("SIGUSR2 does nothing. SIGHUP reloads the configuration; a restart takes a new release")

    # ---- the end ---------------------------------------------------------------------------------------------------

    def stop(self, graceful: bool = True) -> None:
        """End all workers: let them drain, or (SIGINT, SIGQUIT; also later) not."""
        for listener in self.LISTENERS:
            listener.close()
        self.LISTENERS.clear()
        for worker in self.WORKERS.values():
            worker.retired = True
        self._notifier.send("STOPPING=1")
        deadline = time.monotonic() + self.app.conf.graceful_timeout + MARGIN
        while self.WORKERS and time.monotonic() < deadline:
            hurried = {signal.SIGINT, signal.SIGQUIT}.intersection(super().wait_for_signals(TURN / 5))
            graceful = graceful and not hurried
            self._tell_retired(signal.SIGTERM if graceful else signal.SIGQUIT)
            self._notifier.wait(f"{len(self.WORKERS)} workers finish what runs")
            self.reap_workers()
            self.murder_workers()
        self.kill_workers(signal.SIGKILL)
        self.reap_workers()

    def halt(self, reason: str | None = None, exit_status: int = 0) -> None:
        """Stop and end the process; ``reason`` says why it could not start."""
        if reason is not None:
            log.complain(self.app.name, reason)
        super().halt(None, exit_status)


def _allow_many_files() -> None:
    """Each client is a descriptor, and the usual limit of 1024 is not ours to stay in."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
