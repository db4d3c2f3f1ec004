"""What all commands have in common: how they end, and where their words go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.functional.running import BIN, PATIENCE

COMMANDS = ["image-api", "image-control", "image-manage", "image-registry", "image-scrubber"]
# Ctrl-C while it imports what it needs.
EARLY = """
import os, runpy, signal, sys

class CtrlC:
    def find_spec(self, name, *_):
        if name == "oslo_config":
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # A shell's background jobs are deaf to it.
sys.meta_path.insert(0, CtrlC())
runpy.run_path(sys.argv[1], run_name="__main__")
"""

# Whether garbage is looked for while commands are imported, and at the end.
LOOKS = """
import atexit, gc, os, sys

def look():
    os.write(1, f"{gc.isenabled()} ".encode())

class Looks:
    def find_spec(self, name, *_):
        if name == "oslo_config":
            look()

atexit.register(look)
sys.meta_path.insert(0, Looks())
"""


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "glance-api.conf"
    path.write_text(
        f"[database]\nconnection = sqlite:///{tmp_path}/registry.db\n"
        f"[oslo_middleware]\nhttp_basic_auth_user_file = {tmp_path}/htpasswd\n"
        f"[http_basic]\nidentity_file = {tmp_path}/identities.json\n"
    )
    return path


@pytest.mark.parametrize("name", COMMANDS)
def test_an_early_ctrl_c_ends_without_a_word(name: str) -> None:
    command: list[str | Path] = [sys.executable, "-c", EARLY, BIN / name, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize("name", ["image-api", "image-manage", "image-registry", "image-scrubber"])
def test_a_command_looks_for_garbage_when_it_has_imported_what_it_needs(name: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(LOOKS)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command: list[str | Path] = [BIN / name, "--config-file", tmp_path / "none.conf"]
    command += ["config", "check"] if name == "image-manage" else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, env=environment)
    assert done.returncode == 2, done.stderr
    assert done.stdout.split() == ["False", "True"]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_cannot_be_printed_is_told(conf: Path, unbuffered: str) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    command: list[str | Path] = [BIN / "image-manage", "--config-file", conf, "db", "sync"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (1, "image-manage: [Errno 28] No space left on device\n")


def test_a_name_that_the_terminal_does_not_know_is_printed_nevertheless(conf: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}

    def manage(*words: str) -> subprocess.CompletedProcess[str]:
        command: list[str | Path] = [BIN / "image-manage", "--config-file", conf, "user", *words]
        return subprocess.run(command, input="a secret\n", capture_output=True, text=True, check=False, env=environment)

    added, listed = manage("add", "jürgen"), manage("list")
    assert (added.returncode, "j\\xfcrgen was added" in added.stdout, added.stderr) == (0, True, "")
    assert (listed.returncode, listed.stdout) == (0, "j\\xfcrgen\tj\\xfcrgen\tmember\tenabled\n")


def test_a_value_that_is_not_allowed_is_named_with_its_file(conf: Path) -> None:
    conf.write_text("[DEFAULT]\nenabled_backends = fast\n" + conf.read_text())
    for name, words in (("image-manage", ["verify"]), ("image-scrubber", [])):
        command: list[str | Path] = [BIN / name, "--config-file", conf, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        sentence = f"Value for option enabled_backends in {conf} is not valid: Value should be NAME:VALUE pairs"
        assert (done.returncode, sentence in done.stderr, "Location" in done.stderr) == (2, True, False), done.stderr
