"""The master where no further process can be made: root, as which tests run, has no limit that would show it."""

from __future__ import annotations

import errno
import os
import time
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from oslo_config import cfg

from image_service.serving.master import COME_BACK, PATIENCE, Master


class Starved(Master):
    """A master with one worker to make, and no process for it."""

    def __init__(self, conf: object, proven: object) -> None:
        self.app: Any = SimpleNamespace(conf=conf, name="image-api")
        self._num_workers = 1
        self._proven: Any = proven
        self._announced, self._again, self._pause, self._not_before, self._begun = set(), False, 0.0, 0.0, 0.0
        self._last_look = self._spared_until = 0.0
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
    master = Starved(object(), SimpleNamespace(workers=0))
    master.manage_workers()
    [sentence] = master.returned
    assert "no worker can be made" in sentence


def test_a_start_fails_with_the_reason() -> None:
    with pytest.raises(HaltServer, match="no worker can be made"):
        Starved(object(), None).manage_workers()


def test_a_reload_waits_for_the_one_before_it_but_not_for_ever() -> None:
    master = Starved(object(), proven := object())
    master._begun = time.monotonic()
    master.reload()
    assert (master._again, master.returned) == (True, [])
    master._begun -= PATIENCE + 1
    master.app.read_conf = lambda: (_ for _ in ()).throw(cfg.Error("wrong again"))
    master._notifier.reloading = lambda: None
    master.reload()
    assert ["neither served" in sentence or "wrong again" in sentence for sentence in master.returned] == [True, True]
    assert master._proven is proven


@pytest.mark.parametrize("overdue", [True, False])
def test_old_workers_that_ended_are_missed_when_the_new_ones_are_long_in_coming(overdue: bool) -> None:
    master = Starved(SimpleNamespace(workers=1), SimpleNamespace(workers=2))
    master._begun = time.monotonic() - (PATIENCE + 1 if overdue else 0)
    master.manage_workers()
    assert any("not all of the old ones" in sentence for sentence in master.returned) is overdue


def test_nobody_is_late_where_the_whole_machine_stood_still(monkeypatch: pytest.MonkeyPatch) -> None:
    now, looks = 1000.0, []
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(Arbiter, "murder_workers", lambda _: looks.append(now))
    master = Starved(object(), None)
    master._last_look = now - 1
    for turn in (1, 600, *[1] * 40):
        now += turn
        master.murder_workers()
    assert looks == [1001, *range(1601 + int(COME_BACK), 1642)]
