"""The stand-in image that `make run` uploads where CirrOS is out of reach is small, and really boots."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import IO

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
BANNER = "image-service test image: ready"
BOOT_TIMEOUT = 180  # seconds, on a busy machine without hardware virtualisation


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    installed = subprocess.run([SCRIPTS / "apt-install.sh", "qemu-system-x86", "qemu-utils"], check=False)
    if installed.returncode and not shutil.which("qemu-system-x86_64"):
        pytest.skip("qemu-system-x86 is not installed and cannot be (it needs root)")
    target = tmp_path_factory.mktemp("image") / "image.qcow2"
    subprocess.run([SCRIPTS / "bootable-image.sh", target], check=True)
    return target


def test_it_is_a_small_qcow2(image: Path) -> None:
    told = subprocess.run(["qemu-img", "info", "--output=json", image], capture_output=True, text=True, check=True)
    assert json.loads(told.stdout)["format"] == "qcow2"
    assert 5 << 20 < image.stat().st_size < 20 << 20
    assert [path.name for path in image.parent.iterdir()] == [image.name]


def read_until(wanted: str, console: IO[bytes]) -> str:
    """What the machine prints up to ``wanted``, or to its end."""
    text = b""
    while wanted.encode() not in text and (more := os.read(console.fileno(), 4096)):
        text += more
    return text.decode(errors="replace")


def test_it_boots_to_a_shell(image: Path) -> None:
    # kvm is not asked for: it hangs on some virtual machines, and emulation takes seconds.
    machine = ["qemu-system-x86_64", "-accel", "tcg", "-m", "256", "-nographic", "-net", "none"]
    drive = ["-drive", f"file={image},format=qcow2,snapshot=on"]
    with subprocess.Popen([*machine, *drive], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as qemu:
        assert qemu.stdin
        assert qemu.stdout
        deadline = threading.Timer(BOOT_TIMEOUT, qemu.kill)
        deadline.start()
        try:
            assert BANNER in read_until(BANNER, qemu.stdout)
            # The sum is the shell's work, so the console's echo of what is typed does not count.
            qemu.stdin.write(b"echo shell-$((40 + 2))\n")
            qemu.stdin.flush()
            assert "shell-42" in read_until("shell-42", qemu.stdout)
        finally:
            deadline.cancel()
            qemu.kill()
