"""Runs blocks of the page as one process, which waits after each step until the test has looked at the service.

folder/                 the client's current folder and HOME
  disk.img              the bytes of the image
  clouds.yaml           for openstack, openstacksdk and Ansible
  environment           variables for Ansible
  asked, answered       named pipes: the process writes the step that it has done, and waits for a line
  output                what it printed
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

from tests.clients.page import Block, blocks
from tests.functional.running import BIN
from tests.functional.service import Service

DATA = os.urandom(3 * 1024 * 1024 + 5)
STEP_PATIENCE = 120.0

_PAUSES = {
    "sh": "echo '{step}' > asked; read -r _ < answered\n",
    "python": "with open('asked', 'w') as pipe: pipe.write('{step}\\n')\nwith open('answered') as pipe: pipe.readline()\n",
    # A lookup runs in Ansible's own process: a task with a module would take half a second more.
    "yaml": """\
- name: The test looks
  ansible.builtin.debug:
    msg: "{{{{ lookup('pipe', 'cd {folder}; echo {step} > asked; read -r line < answered') }}}}"
""",
}


@dataclass
class Workplace:
    """Where a client works, and which service it talks to."""

    folder: Path
    service: Service

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "disk.img").write_bytes(DATA)

    @property
    def output(self) -> str:
        """What the process printed."""
        return (self.folder / "output").read_text(errors="replace")

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of the tester's own: no OS_ variables, no clouds.yaml, no cached schemas, no proxies."""
        return {
            "HOME": str(self.folder),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "ANSIBLE_LOCALHOST_WARNING": "0",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "0",
        }

    def write(self, name: str, text: str) -> None:
        """A file beside the client, such as clouds.yaml."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def text(self, name: str) -> str:
        """A block of the page, for this service."""
        return blocks()[name].at(self.service.port)

    def run(self, language: str, text: str) -> int:
        """Run a script in one go; the exit code."""
        with self._started(_command(language, self._script(language, text))) as process:
            return process.wait(STEP_PATIENCE)

    def play(self, head: Sequence[str], session: Sequence[Block], look: Callable[[str], None]) -> None:
        """Run the blocks ``head`` and then those of ``session``; ``look`` is called after each of these with its name."""
        language = session[0].language
        text = self._composed(language, "\n".join(map(self.text, head)), session)
        for name in ("asked", "answered"):
            os.mkfifo(self.folder / name)
        # Open for both directions: then neither side waits for the other to open it, whoever dies first.
        asked, answered = (os.open(self.folder / name, os.O_RDWR | os.O_NONBLOCK) for name in ("asked", "answered"))
        done = []
        try:
            with self._started(_command(language, self._script(language, text))) as process:
                while step := _next(asked, process):
                    look(step)
                    done.append(step)
                    os.write(answered, b"\n")
                assert process.wait(STEP_PATIENCE) == 0, f"after {done}: {self.output}"
        finally:
            os.close(asked)
            os.close(answered)
        assert done == [block.what for block in session], self.output

    def _composed(self, language: str, head: str, session: Sequence[Block]) -> str:
        pause = _PAUSES[language]
        parts = [block.at(self.service.port) + pause.format(step=block.what, folder=self.folder) for block in session]
        return head + ("\n" + indent("\n".join(parts), "    ") if language == "yaml" else "\n".join(parts))

    def _script(self, language: str, text: str) -> Path:
        script = self.folder / f"script.{language}"
        script.write_text(text)
        return script

    @contextlib.contextmanager
    def _started(self, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        with (self.folder / "output").open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _command(language: str, script: Path) -> list[str]:
    commands = {
        "sh": ["bash", "-euxo", "pipefail", str(script)],
        "python": [sys.executable, str(script)],
        # A play with variables of the environment, as somebody sets them in his shell.
        "yaml": ["bash", "-euc", '[ ! -f environment ] || . ./environment; exec ansible-playbook "$1"', "bash", str(script)],
    }
    return commands[language]


def _next(asked: int, process: subprocess.Popen[bytes]) -> str:
    """The step that the process has done; empty when it has ended instead."""
    for _ in range(int(STEP_PATIENCE / 0.05)):
        ended = process.poll() is not None
        if select.select([asked], [], [], 0.05)[0]:
            return os.read(asked, 4096).decode().strip()
        if ended:
            return ""
    raise AssertionError(f"the client did nothing for {STEP_PATIENCE} s")
