"""A progress bar around a stream of bytes: a line that grows on a terminal, one line at the end elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable, Iterator

WIDTH = 40
REST = 44  # columns that a line has beside its bar


def watched(chunks: Iterable[bytes], total: int, label: str) -> Iterator[bytes]:
    """Pass ``chunks`` on and show how much of ``total`` bytes went by; 0 where the total is not known."""
    on_terminal = sys.stderr.isatty()
    done, started, shown = 0, time.monotonic(), 0.0
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        if on_terminal and time.monotonic() - shown > 0.1:
            shown = time.monotonic()
            print("\r" + _line(label, done, total, shown - started), end="", file=sys.stderr, flush=True)
    line = _line(label, done, total or done, time.monotonic() - started)
    print(f"\r{line}" if on_terminal else line, file=sys.stderr)


def _line(label: str, done: int, total: int, seconds: float) -> str:
    share = min(done / total, 1.0) if total else 0.0
    columns = shutil.get_terminal_size().columns - 1
    width = max(0, min(WIDTH, columns - REST))
    bar = ("#" * int(share * width)).ljust(width, ".")
    rate = done / max(seconds, 0.001) / 1e6
    return f"{label} [{bar}] {share:4.0%} {done / 1e6:8.1f} MB {rate:7.1f} MB/s"[:columns]
