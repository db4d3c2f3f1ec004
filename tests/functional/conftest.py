"""Fixtures that several files of functional tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import running as running_service
from tests.disks import small_disk
from tests.functional.house import House
from tests.functional.registries import migrated
from tests.functional.running import Running, running
from tests.functional.service import Service


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


@pytest.fixture
def full_soon(
    request: pytest.FixtureRequest, services: dict[tuple[str, str], Service], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A service whose store has room for 1 MiB, of which 4 more are kept free."""
    service = running_service("sqlite", "small-disk", request, services, tmp_path_factory)
    with small_disk(service.images, 5):
        yield service
