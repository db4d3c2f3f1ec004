"""Fixtures that several files of functional tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.house import House
from tests.functional.registries import migrated
from tests.functional.running import Running, running


@pytest.fixture
def house(tmp_path: Path) -> House:
    """An empty registry and an empty file store."""
    (tmp_path / "images").mkdir()
    return House(tmp_path, migrated(f"sqlite:///{tmp_path}/registry.db"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    """A running image-api."""
    with running(tmp_path) as found:
        yield found
