"""Fixtures that several folders of tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.functional.registries import PLACES, Place, migrated
from tests.mariadb import MariaDB, running_mariadb


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """A MariaDB server for the whole session. Who kills it starts it again."""
    with running_mariadb(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture(scope="session")
def databases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """URL of a migrated database by kind, made when it is first asked for."""
    return {}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, databases: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Place:
    """An empty registry of each kind."""
    kind: str = request.param
    engine = kind.rpartition("-")[2]
    if engine not in databases:
        if engine == "mariadb":
            url = request.getfixturevalue("mariadb").new_database()
        else:
            url = f"sqlite:///{tmp_path_factory.mktemp('registry')}/registry.db"
        databases[engine] = migrated(url)
    found = Place(kind, databases[engine])
    found.empty()
    return found
