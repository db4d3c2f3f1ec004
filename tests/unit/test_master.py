"""The master where no further process can be made: root, as which tests run, has no limit that would show it."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.errors import HaltServer

from image_service.serving.master import Master


class Starved(Master):
    """A master with one worker to make, and no process for it."""

    def __init__(self, conf: object, proven: object) -> None:
        self.app: Any = SimpleNamespace(conf=conf, name="image-api")
        self._num_workers = 1
        self._proven: Any = proven
        self._announced, self._again, self._pause, self._not_before = set(), False, 0.0, 0.0
        self._notifier: Any = SimpleNamespace(wait=lambda _: None, ready=lambda _: None)
        self.returned: list[str] = []

    def spawn_worker(self) -> int:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def _return_to(self, old: Any, sentence: str) -> None:
        self.returned.append(sentence)


def test_a_worker_that_died_is_replaced_later() -> None:
    conf = object()
    master = Starved(conf, conf)
    master.manage_workers()
    assert master._not_before > 0
    master.manage_workers()  # not again at once
    assert master._pause == 1.0


def test_a_reload_is_refused() -> None:
    master = Starved(object(), object())
    master.manage_workers()
    [sentence] = master.returned
    assert "no worker can be made" in sentence


def test_a_start_fails_with_the_reason() -> None:
    with pytest.raises(HaltServer, match="no worker can be made"):
        Starved(object(), None).manage_workers()
