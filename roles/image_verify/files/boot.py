"""Boots an image in QEMU without acceleration and waits for a line on its serial console.

Usage: boot.py IMAGE PATTERN SECONDS.  Exit code 0 when the pattern was seen, else 1 after printing the console.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time


def boot(image: str, pattern: str, seconds: float) -> tuple[bool, str]:
    """Whether ``pattern`` was seen on the console within ``seconds``, and all that was seen."""
    command = ["qemu-system-x86_64", "-accel", "tcg", "-m", "256", "-nographic", "-nic", "none", "-snapshot", image]
    console = b""
    deadline = time.monotonic() + seconds
    reader, writer = os.pipe()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=writer) as machine:
        os.close(writer)
        while time.monotonic() < deadline and not re.search(pattern.encode(), console):
            if not select.select([reader], [], [], 1.0)[0]:
                continue
            chunk = os.read(reader, 65536)
            if not chunk:
                break
            console += chunk
        machine.kill()
    os.close(reader)
    return re.search(pattern.encode(), console) is not None, console.decode(errors="replace")


if __name__ == "__main__":
    seen, text = boot(sys.argv[1], sys.argv[2], float(sys.argv[3]))
    if not seen:
        sys.exit(f"The image did not say {sys.argv[2]!r} within {sys.argv[3]} s:\n{text[-4000:]}")
