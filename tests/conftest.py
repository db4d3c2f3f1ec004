"""Fixtures that several folders of tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.registries import PLACES, Place, migrated
from tests.functional.service import Service
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


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Service]]:
    """Services that run for the whole session, by place and configuration."""
    found: dict[tuple[str, str], Service] = {}
    yield found
    for service in found.values():
        service.end()


def _database(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    if kind.endswith("mariadb"):
        url: str = request.getfixturevalue("mariadb").new_database()
        return migrated(url)
    return migrated(f"sqlite:///{folder}/registry.db")


def running(
    kind: str,
    name: str,
    request: pytest.FixtureRequest,
    services: dict[tuple[str, str], Service],
    factory: pytest.TempPathFactory,
    default: str = "",
    sections: str = "",
) -> Service:
    """The service of ``kind`` with the configuration called ``name``; started when it is first asked for."""
    if (kind, name) not in services:
        folder = factory.mktemp(f"service-{kind}-{name}")
        service = Service(folder, _database(kind, request, folder), kind.startswith("remote-"), default, sections)
        services[kind, name] = service
        service.configure()
        service.start()
    found = services[kind, name]
    same = found.default.strip() == default.strip() and found.sections.strip() == sections.strip()
    assert same, f"two configurations are called {name}"
    return found


@pytest.fixture(params=PLACES)
def service(
    request: pytest.FixtureRequest, services: dict[tuple[str, str], Service], tmp_path_factory: pytest.TempPathFactory
) -> Service:
    """A service where nobody is asked who he is, in each of the four places."""
    return running(request.param, "open", request, services, tmp_path_factory)


@pytest.fixture(params=PLACES)
def trusting(
    request: pytest.FixtureRequest, services: dict[tuple[str, str], Service], tmp_path_factory: pytest.TempPathFactory
) -> Service:
    """A service that believes identity headers, in each of the four places."""
    flavor = "[paste_deploy]\nflavor = trusted-auth\n"
    return running(request.param, "trusting", request, services, tmp_path_factory, sections=flavor)


@pytest.fixture
def embedded(
    services: dict[tuple[str, str], Service], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Service:
    """As ``service``, on SQLite in-process only: for what does not depend on the registry."""
    return running("sqlite", "open", request, services, tmp_path_factory)
