"""Log lines: one request id in each, no secrets, and no waiting for a disk in the event loop.

    2026-11-22 20:27:55.123 INFO pid=4711 logger=image_service.api request_id=req-... message=...
    {"time": "2026-11-22T20:27:55.123Z", "level": "INFO", "pid": 4711, ...}                      (use_json)

A process with an event loop calls :func:`start_writer`; from then on a thread writes what has come together every few
milliseconds. :func:`stop_writer` writes the rest. Without it, lines are written at once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import syslog
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache

import orjson
from oslo_config import cfg

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that the present task works for."""

Lines = list[tuple[int, str]]
"""Level and text, in the order in which they came."""

GATHER_SECONDS = 0.02
MOST_WAITING = 20_000

_SECRETS = (
    # What stands behind a name that promises a secret: headers, key=value, JSON, repr of a dict.
    (
        re.compile(
            r"((?:authorization|x-auth-token|x-service-token|x-registry-secret|password|passwd|secret|secret_key)"
            r"[\"']?\s*[:=]\s*[\"']?)(?:(?:basic|bearer)\s+)?[^\s\"',;&}]+",
            re.IGNORECASE,
        ),
        r"\1***",
    ),
    # The password in a URL. Of databases up to the last @, for passwords hold @ and / when nobody encoded them; in http URLs a
    # path may follow a port.
    (re.compile(r"\b(https?://[^\s:/@\"']*):[^\s/@\"']*@"), r"\1:***@"),
    (re.compile(r"\b((?!https?:)[\w+]+://[^\s:/@\"']*):[^\s\"']*@"), r"\1:***@"),
)


def redact(text: str) -> str:
    """``text`` without passwords, tokens and secrets."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


class Output:
    """Where lines go: to ``targets``, at once or by a thread."""

    def __init__(self, targets: list[Callable[[Lines], None]]) -> None:
        self._targets = targets
        self._waiting: deque[tuple[int, str]] = deque()
        self._lost = 0
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._end = False

    def put(self, level: int, text: str) -> None:
        """Write one line, now or very soon.

        Lines beyond ``MOST_WAITING`` are counted, not kept: a stuck disk must not eat the memory.
        """
        if self._thread is None:
            self._write([(level, text)])
        elif len(self._waiting) >= MOST_WAITING:
            self._lost += 1
        else:
            self._waiting.append((level, text))
            if not self._wake.is_set():
                self._wake.set()

    def start(self) -> None:
        """Write by a thread from now on."""
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write the rest (for at most some seconds, where a disk is stuck), then at once again."""
        thread, self._end = self._thread, True
        self._wake.set()
        if thread is not None:
            thread.join(5.0)
        self._thread, self._end = None, False
        if thread is None or not thread.is_alive():
            self._flush()

    def _run(self) -> None:
        while not self._end:
            self._wake.wait()
            if not self._end:
                time.sleep(GATHER_SECONDS)
            self._wake.clear()
            self._flush()

    def _flush(self) -> None:
        lines: Lines = []
        with contextlib.suppress(IndexError):
            while True:
                lines.append(self._waiting.popleft())
        if self._lost:
            lines.append((logging.ERROR, f"{self._lost} log lines were lost: the log cannot be written fast enough"))
            self._lost = 0
        if lines:
            self._write(lines)

    def _write(self, lines: Lines) -> None:
        for target in self._targets:
            with contextlib.suppress(OSError):
                target(lines)


def _write_all(fd: int, lines: Lines) -> None:
    data = memoryview("".join(f"{text}\n" for _, text in lines).encode("utf-8", "backslashreplace"))
    while data:
        data = data[os.write(fd, data) :]


def to_stderr(lines: Lines) -> None:
    """Standard error, which journald or a terminal reads."""
    _write_all(2, lines)


class LogFile:
    """A file; opened anew when it was renamed or removed, so that logrotate needs no signal."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._open()

    def _open(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def __call__(self, lines: Lines) -> None:
        """Append. One write for all, so that lines of several processes do not mix."""
        try:
            there, ours = os.stat(self._path), os.fstat(self._fd)
            rotated = (there.st_ino, there.st_dev) != (ours.st_ino, ours.st_dev)
        except FileNotFoundError:
            rotated = True
        if rotated:
            self._open()
        _write_all(self._fd, lines)


_PRIORITIES = {
    10: syslog.LOG_DEBUG,
    20: syslog.LOG_INFO,
    30: syslog.LOG_WARNING,
    40: syslog.LOG_ERR,
    50: syslog.LOG_CRIT,
}


def to_syslog(lines: Lines) -> None:
    """The system's log daemon."""
    for level, text in lines:
        syslog.syslog(_PRIORITIES.get(level, syslog.LOG_INFO), text)


class Form:
    """How a line looks. ``fields`` come in their order, after time, level, process, logger and request id."""

    def __init__(self, use_json: bool, date_format: str) -> None:
        self._json = use_json
        self._clock = lru_cache(maxsize=2)(lambda second: time.strftime(date_format, time.localtime(second)))

    def line(self, when: float, level: str, logger: str, request: str, fields: Mapping[str, object]) -> str:
        """The text of one line. ``when`` is seconds since the epoch."""
        if self._json:
            moment = datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            head = {
                "time": moment,
                "level": level,
                "pid": os.getpid(),
                "logger": logger,
                "request_id": request,
            }
            return orjson.dumps({**head, **fields}, default=str).decode()
        words = " ".join(f"{name}={value}" for name, value in fields.items())
        head_text = f"{self._clock(int(when))}.{int(when % 1 * 1000):03} {level} pid={os.getpid()} logger={logger}"
        return f"{head_text} request_id={request or '-'} {words}"


class _Handler(logging.Handler):
    """Turns records of Python's logging into lines."""

    def __init__(self, output: Output, form: Form) -> None:
        super().__init__()
        self._output = output
        self._form = form

    def emit(self, record: logging.LogRecord) -> None:
        """Format here, where the request id is known, and hand over."""
        try:
            text = redact(record.getMessage() + _trace(record))
            line = self._form.line(record.created, record.levelname, record.name, request_id.get(), {"message": _indent(text)})
            self._output.put(record.levelno, line)
        except Exception:  # noqa: BLE001 - logging is the edge; a bad log call must not fail a request
            self.handleError(record)


def _trace(record: logging.LogRecord) -> str:
    error = record.exc_info[1] if record.exc_info else None
    return "\n" + "".join(traceback.format_exception(error)).rstrip() if error is not None else ""


def _indent(text: str) -> str:
    """Further lines stand in from the edge, so that nobody's input looks like a line of its own."""
    return text.replace("\r", "\\r").replace("\n", "\n    ")


class _State:
    """What :func:`setup` made; one for a process."""

    output = Output([to_stderr])
    form = Form(False, "%Y-%m-%d %H:%M:%S")


def setup(conf: cfg.ConfigOpts, program: str) -> None:
    """Send everything that is logged to the places that ``conf`` names. May be called again, with a new configuration.

    Raises ``OSError`` when the log file cannot be opened.
    """
    path = log_path(conf)
    targets: list[Callable[[Lines], None]] = [LogFile(path)] if path else []
    if not path or conf.use_stderr:
        targets.append(to_stderr)
    if conf.use_syslog:
        syslog.openlog(program, syslog.LOG_PID, getattr(syslog, conf.syslog_log_facility.upper(), syslog.LOG_USER))
        targets.append(to_syslog)
    _State.output, _State.form = Output(targets), Form(conf.use_json, conf.log_date_format)
    root = logging.getLogger()
    root.handlers = [_Handler(_State.output, _State.form)]
    root.setLevel(logging.DEBUG if conf.debug else logging.INFO if conf.verbose else logging.WARNING)
    for noisy in ("asyncio", "sqlalchemy", "alembic", "stevedore", "oslo_config"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def log_path(conf: cfg.ConfigOpts) -> str | None:
    """The file to log to, or None."""
    if not conf.log_file:
        return None
    return os.path.join(conf.log_dir or "", conf.log_file)


def start_writer() -> None:
    """Write by a thread from now on. Call it in the process that has the event loop: threads do not survive a fork."""
    _State.output.start()


def stop_writer() -> None:
    """Write what is left."""
    _State.output.stop()


def event(logger: str, request: str, fields: Mapping[str, object]) -> None:
    """One INFO line made of ``fields``, past Python's logging: for the access log, where each microsecond is paid by every
    request.
    """
    _State.output.put(logging.INFO, _State.form.line(time.time(), "INFO", logger, request, fields))


def to_terminal() -> bool:
    """Whether lines go to standard error, so that a sentence need not be printed beside."""
    return to_stderr in _State.output._targets


def complain(program: str, sentence: str) -> None:
    """Say why the program ends: in the log, and to whoever started it."""
    logging.getLogger(program).critical("%s", sentence)
    if not to_terminal():
        print(f"{program}: {redact(sentence)}", file=sys.stderr)  # noqa: T201 - the last words of a command
