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

import gc
import logging
import os
import resource
import signal
import socket
import time
from typing import Any, ClassVar

from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from oslo_config import cfg

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
MOST_FILES = 65536
TURN = 0.05
LONGEST_PAUSE = 30.0
# Seconds between two words to systemd while something takes long.
WORD_EVERY = 10.0


class Master(Arbiter):
    """Keeps as many workers serving as the configuration says."""

    app: Application
    WORKERS: ClassVar[dict[int, Worker]] = {}  # type: ignore[assignment]
    LISTENERS: ClassVar[list[Any]] = []

    def __init__(self, app: Application) -> None:
        self._notifier = Notifier()
        super().__init__(app)
        # Workers whose age is above it belong to the present generation.
        self._first_age = 0
        self._before: tuple[int, cfg.ConfigOpts] | None = None
        self._settled = False
        self._ever_settled = False
        self._stopping = False
        self._again = False
        self._pause = 0.0
        self._not_before = 0.0
        self._next_word = time.monotonic() + WORD_EVERY

    def start(self) -> None:
        """Listen. Raises ``cfg.Error`` where nobody would be asked and strangers could come (sockets from systemd are looked at,
        too).
        """
        super().start()
        require_closed_door(self.app.conf, [listener.getsockname() for listener in self.LISTENERS])
        for listener in self.LISTENERS:
            if listener.sock.family != socket.AF_UNIX:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, self.app.conf.tcp_keepidle)
        _allow_many_files()
        self.app.preload(self.app.conf)
        # What was imported stays for good: the collector need not touch, and so copy, these pages in every worker.
        gc.collect()
        gc.freeze()

    def wait_for_signals(self, timeout: float | None = 1.0) -> list[int]:
        """As gunicorn, but look more often while workers start, so that READY is said when it is true."""
        hurry = not self._settled and time.monotonic() >= self._not_before
        return super().wait_for_signals(TURN if hurry else timeout)

    # ---- the workers -----------------------------------------------------------------------------------------------

    def _present(self) -> list[Worker]:
        return [w for w in self.WORKERS.values() if w.age > self._first_age and not w.retired]

    def manage_workers(self) -> None:
        """Bring the workers closer to what is wanted; gunicorn calls it in every turn."""
        present = self._present()
        missing = self.num_workers - len(present)
        if missing > 0 and time.monotonic() >= self._not_before:
            for _ in range(missing):
                self.spawn_worker()
            self._settled = False
        for worker in sorted(present, key=lambda w: w.age)[: max(-missing, 0)]:
            self._retire(worker)
        if not self._settled and self._all_serve():
            self._settle()
        elif not self._ever_settled and time.monotonic() >= self._next_word:
            self._notifier.starting()
            self._next_word = time.monotonic() + WORD_EVERY

    def _all_serve(self) -> bool:
        present = self._present()
        return len(present) == self.num_workers and all(w.report() == SERVING for w in present)

    def _settle(self) -> None:
        """The present generation serves; the one before it may go."""
        self._settled = self._ever_settled = True
        self._before, self._pause = None, 0.0
        for worker in self.WORKERS.values():
            if worker.age <= self._first_age:
                self._retire(worker)
        self._notifier.ready(f"{self.num_workers} workers serve")
        LOG.info("%s is ready: %s workers serve", self.app.name, self.num_workers)
        if self._again:
            self._again = False
            self.reload()

    def _retire(self, worker: Worker) -> None:
        """Tell a worker to drain. One that is starting may not listen to signals yet, and is told again."""
        if not worker.retired or worker.report() != SERVING:
            worker.retired = True
            self.kill_worker(int(worker.pid), signal.SIGTERM)

    def reap_workers(self) -> None:
        """Look after the processes that have ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            worker = self.WORKERS.pop(pid, None)
            if worker is not None:
                self._bury(worker, os.waitstatus_to_exitcode(status))

    def _bury(self, worker: Worker, code: int) -> None:
        report = worker.report()
        worker.tmp.close()
        self.app.loads.leave(worker.age)
        if self._stopping or worker.retired:
            return
        if report == SERVING or worker.age <= self._first_age:
            LOG.error("Worker %s ended unexpectedly (exit code %s)", worker.pid, code)
            self._settled = False
            self._not_before = max(self._not_before, worker.born + SHORTEST_LIFE)
            return
        sentence = report.removeprefix(FAILED).decode(errors="replace") or f"a worker ended while it started (exit code {code})"
        self._start_failed(sentence)

    def _start_failed(self, sentence: str) -> None:
        if self._before is not None:
            self._return_to_old(sentence)
        elif self._ever_settled:
            self._pause = min(max(self._pause * 2, 1.0), LONGEST_PAUSE)
            self._not_before = time.monotonic() + self._pause
            LOG.error("A worker cannot start, the next try is in %g s: %s", self._pause, sentence)
        else:
            raise HaltServer(sentence, 1)

    # ---- reload ----------------------------------------------------------------------------------------------------

    def reload(self) -> None:
        """Read the configuration again and start a generation of workers with it."""
        if self._before is not None or not self._ever_settled:
            self._again = True
            return
        self._notifier.reloading()
        old = self.app.conf
        try:
            conf = self.app.read_conf()
        except (cfg.Error, OSError) as error:
            log.setup(old, self.app.name)
            self._refuse_reload(str(error))
            return
        if (conf.bind_host, conf.bind_port) != (old.bind_host, old.bind_port):
            LOG.warning("bind_host and bind_port are used after a restart, not after a reload")
        self._before = self._first_age, old
        self._first_age = self.worker_age
        self._use(conf)

    def _use(self, conf: cfg.ConfigOpts) -> None:
        self.app.conf = conf
        self._settled, self._not_before = False, 0.0
        self.num_workers = conf.workers

    def _return_to_old(self, sentence: str) -> None:
        """The new generation cannot start: it goes, the old one stays."""
        if self._before is None:
            return
        for worker in self._present():
            self._retire(worker)
        (self._first_age, old), self._before = self._before, None
        self._use(old)
        log.setup(old, self.app.name)
        self._refuse_reload(sentence)

    def _refuse_reload(self, sentence: str) -> None:
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
        self._stopping = True
        for listener in self.LISTENERS:
            listener.close()
        self.LISTENERS.clear()
        deadline = time.monotonic() + self.app.conf.graceful_timeout + MARGIN
        told: dict[int, int] = {}
        self._next_word = 0.0
        while self.WORKERS and time.monotonic() < deadline:
            graceful = graceful and not self._hurried()
            self._tell_to_end(signal.SIGTERM if graceful else signal.SIGQUIT, told)
            if time.monotonic() >= self._next_word:
                self._notifier.stopping(f"{len(self.WORKERS)} workers finish what runs")
                self._next_word = time.monotonic() + WORD_EVERY
            self.reap_workers()
            self.murder_workers()
            time.sleep(TURN / 5)
        self.kill_workers(signal.SIGKILL)
        self.reap_workers()

    def _hurried(self) -> bool:
        return any(sig in (signal.SIGINT, signal.SIGQUIT) for sig in super().wait_for_signals(0.001))

    def _tell_to_end(self, sig: int, told: dict[int, int]) -> None:
        """Each worker once; one that was starting when it was told may have missed it."""
        for pid, worker in list(self.WORKERS.items()):
            if told.get(pid) != sig or worker.report() == b"":
                told[pid] = sig
                self.kill_worker(pid, sig)

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
