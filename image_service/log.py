"""Log lines: one request id in each, no secrets, and no waiting for a disk in the event loop.

    2026-11-22 20:27:55.123 INFO pid=4711 logger=image_service.api request_id=req-... message=...
    {"time": "2026-11-22T20:27:55.123Z", "level": "INFO", "pid": 4711, ...}                      (use_json)

A process with an event loop calls ``start_writer``; from then on a thread writes what has come together every few milliseconds.
``stop_writer`` writes the rest. Without it, lines are written at once.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import syslog
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from queue import Empty, SimpleQueue

from oslo_config import cfg

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that the present task works for."""

Lines = list[tuple[int, str]]
"""Level and text, in the order in which they came."""

GATHER_SECONDS = 0.02
LOOK_SECONDS = 30
MOST_WAITING = 20_000

_SECRETS = (
    # What stands behind a name that promises a secret: headers, key=value, JSON, repr of a dict.
    (
        re.compile(
            r"((?:authorization|token|x-registry-secret|password|passwd|secret|secret_key)"
            r"[\"']?\s*[:=]\s*[\"']?)(?:(?:basic|bearer)\s+)?[^\s\"',;&}]+",
            re.IGNORECASE,
        ),
        r"\1***",
    ),
    # The password in a URL. Of databases up to the last @, for passwords hold @ and / when nobody encoded them; in http URLs a
    # path may follow a port.
    (re.compile(r"\b(https?://[^\s:/@\"']*):[^\s/@\"']*@"), r"\1:***@"),
    # Bounded: an address of a request has room for thousands of beginnings of such URLs.
    (re.compile(r"(?<![\w+])((?!https?:)[\w+]+://[^\s:/@\"']*):[^\s\"']{0,1024}@"), r"\1:***@"),
)


def redact(text: str) -> str:
    """``text`` without passwords, tokens and secrets."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


Target = Callable[[Lines], None]


def to_stderr(lines: Lines) -> None:
    """Standard error, which journald or a terminal reads."""
    data = _encoded(lines)
    while data:
        data = data[os.write(2, data) :]


class LogFile:
    """A file; opened anew when it was renamed or removed, so that logrotate needs no signal."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = self._open()
        self._torn = False

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def look(self) -> None:
        """Open the file of this name, if it is another one by now; where that cannot be, what is open goes on."""
        with contextlib.suppress(OSError):
            try:
                same = os.path.samestat(os.stat(self._path), os.fstat(self._fd))
            except FileNotFoundError:
                same = False
            if not same:
                old, self._fd = self._fd, self._open()
                os.close(old)
                self._torn = False

    def __call__(self, lines: Lines) -> None:
        """Append. One write for all, so that lines of several processes do not mix; a line that was cut is ended first."""
        self.look()
        data = _encoded(lines, "\n" if self._torn else "")
        while data:
            written = os.write(self._fd, data)
            self._torn = data[written - 1] != ord("\n")
            data = data[written:]

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)


def _encoded(lines: Lines, start: str = "") -> memoryview:
    return memoryview((start + "".join(f"{text}\n" for _, text in lines)).encode("utf-8", "backslashreplace"))


_PRIORITIES = {10: syslog.LOG_DEBUG, 20: syslog.LOG_INFO, 30: syslog.LOG_WARNING, 40: syslog.LOG_ERR, 50: syslog.LOG_CRIT}


def to_syslog(lines: Lines) -> None:
    """The system's log daemon."""
    for level, text in lines:
        syslog.syslog(_PRIORITIES.get(level, syslog.LOG_INFO), text.encode("utf-8", "backslashreplace").decode())


class Form:
    """How a line looks. ``fields`` come in their order, after time, level, process, logger and request id."""

    def __init__(self, use_json: bool, date_format: str) -> None:
        self._json = use_json
        self._clock = lru_cache(maxsize=2)(lambda second: time.strftime(date_format, time.localtime(second)))

    def line(self, when: float, level: str, logger: str, request: str, fields: Mapping[str, object]) -> str:
        """The text of one line. ``when`` is seconds since the epoch."""
        if self._json:
            moment = datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            head = {"time": moment, "level": level, "pid": os.getpid(), "logger": logger, "request_id": request}
            # The server keeps bytes of headers that are no UTF-8 as lone surrogates, which are no JSON: "?".
            return json.dumps({**head, **fields}, default=str, ensure_ascii=False).encode("utf-8", "replace").decode()
        words = " ".join(f"{name}={_one_word(value) if name != 'message' else value}" for name, value in fields.items())
        head_text = f"{self._clock(int(when))}.{int(when % 1 * 1000):03} {level} pid={os.getpid()} logger={logger}"
        return f"{head_text} request_id={request or '-'} {words}"


def _one_word(value: object) -> object:
    """So that a user's name does not look like further fields."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) and " " in value else value


class Output(logging.Handler):
    """Makes lines of what is logged, and brings them to ``targets``: at once, or by a thread."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[Target] = [to_stderr]
        self.form = Form(False, "%Y-%m-%d %H:%M:%S")
        # None: the thread is to end.
        self._waiting: SimpleQueue[tuple[int, str] | None] = SimpleQueue()
        self._lost = 0
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Format here, where the request id is known, and hand over.

        Further lines stand in from the edge, so that nobody's input looks like a line of its own.
        """
        try:
            text = redact(self.format(record)).replace("\r", "\\r").replace("\n", "\n    ")
            line = self.form.line(record.created, record.levelname, record.name, request_id.get(), {"message": text})
            self.put(record.levelno, line)
        except Exception:  # noqa: BLE001 - logging is the edge; a bad log call must not fail a request
            self.handleError(record)

    def put(self, level: int, text: str) -> None:
        """Write one line, now or very soon.

        Lines beyond ``MOST_WAITING`` are counted, not kept: a stuck disk must not eat the memory.
        """
        if self._thread is None:
            self._write([(level, text)])
        elif self._waiting.qsize() >= MOST_WAITING:
            self._lost += 1
        else:
            self._waiting.put((level, text))

    def start(self) -> None:
        """Write by a thread from now on. Call it in the process that has the event loop: threads do not survive a fork."""
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write the rest (for at most some seconds, where a disk is stuck), then at once again."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join(5.0)
            stuck, self._thread = self._thread.is_alive(), None
            while not stuck and (late := self._next()) is not None:
                self._write([late])

    def _next(self) -> tuple[int, str] | None:
        return None if self._waiting.empty() else self._waiting.get()

    def _run(self) -> None:
        going_on = True
        while going_on:
            try:
                first = self._waiting.get(timeout=LOOK_SECONDS)
            except Empty:
                self.look()
                continue
            time.sleep(GATHER_SECONDS)
            found = [first, *(self._waiting.get() for _ in range(self._waiting.qsize()))]
            lines = [line for line in found if line is not None]
            going_on = len(lines) == len(found)
            self._write(lines)

    def look(self) -> None:
        """Notice a rotated log file. A process that seldom logs would keep the old one, and its disk full."""
        for target in self.targets:
            if isinstance(target, LogFile):
                target.look()

    def _write(self, lines: Lines) -> None:
        lost, new = self._lost, len(lines)
        if lost:
            sentence = f"{lost} log lines were lost: the log could not be written, or not fast enough"
            lines = [*lines, (logging.ERROR, self.form.line(time.time(), "ERROR", __name__, "", {"message": sentence}))]
        written = [self._reaches(target, lines) for target in self.targets]
        self._lost += -lost if any(written) else new

    def _reaches(self, target: Target, lines: Lines) -> bool:
        try:
            target(lines)
        except OSError:
            return False
        return True


_OUTPUT = Output()
look, start_writer, stop_writer = _OUTPUT.look, _OUTPUT.start, _OUTPUT.stop


def setup(conf: cfg.ConfigOpts, program: str) -> None:
    """Send everything that is logged to the places that ``conf`` names. May be called again, with a new configuration.

    Raises ``OSError`` when the log file cannot be opened.
    """
    path = log_path(conf)
    targets: list[Target] = [LogFile(path)] if path else []
    if not path or conf.use_stderr:
        targets.append(to_stderr)
    if conf.use_syslog:
        facility: int = getattr(syslog, "LOG_" + conf.syslog_log_facility.upper().removeprefix("LOG_"))
        syslog.openlog(program, syslog.LOG_PID, facility)
        targets.append(to_syslog)
    before, _OUTPUT.targets, _OUTPUT.form = _OUTPUT.targets, targets, Form(conf.use_json, conf.log_date_format)
    for target in before:
        if isinstance(target, LogFile):
            target.close()
    root = logging.getLogger()
    root.handlers = [_OUTPUT]
    root.setLevel(logging.DEBUG if conf.debug else logging.INFO if conf.verbose else logging.WARNING)
    for noisy in ("asyncio", "sqlalchemy", "alembic", "stevedore", "oslo_config"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def log_path(conf: cfg.ConfigOpts) -> str | None:
    """The file to log to, or None."""
    if not (conf.log_file or conf.log_dir):
        return None
    return os.path.join(conf.log_dir or "", conf.log_file or f"{conf.prog}.log")


def event(logger: str, request: str, fields: Mapping[str, object]) -> None:
    """One INFO line of ``fields``, past Python's logging: for the access log, whose microseconds every request pays."""
    _OUTPUT.put(logging.INFO, _OUTPUT.form.line(time.time(), "INFO", logger, request, fields))


class _Sentence(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(record.getMessage())


def leave_out_traces() -> None:
    """For commands that never call ``setup``: what is logged nevertheless is a line on standard error, without its trace."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Sentence())


def complain(program: str, sentence: str) -> None:
    """Say why the program ends: in the log, where there is one already, and to whoever started it."""
    logged = bool(logging.getLogger().handlers)
    if logged:
        logging.getLogger(program).critical("%s", sentence)
    if not logged or to_stderr not in _OUTPUT.targets:
        print(f"{program}: {redact(sentence)}", file=sys.stderr)  # noqa: T201 - the last words of a command
