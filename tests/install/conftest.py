"""The hosts of a molecule scenario, as testinfra sees them. Run by `molecule verify`, which names the inventory."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import testinfra
import yaml  # type: ignore[import-untyped]

INVENTORY = os.environ.get("MOLECULE_INVENTORY_FILE", "")
GROUPS = ("image_database", "image_registry", "image_api", "image_proxy")

collect_ignore_glob = [] if INVENTORY else ["test_*.py"]


@dataclass(frozen=True)
class Deployment:
    """What the inventory says: the groups of each host, and the folder of the secrets."""

    groups: dict[str, list[str]]
    addresses: dict[str, str]
    secrets: Path

    def secret(self, name: str) -> str:
        return (self.secrets / name).read_text(encoding="utf-8").strip()

    def is_alone(self, name: str) -> bool:
        """Whether host ``name`` is the only API host and the only proxy, so that nobody else talks to its API."""
        return self.groups["image_proxy"] == [name] and self.groups["image_api"] == [name]

    @property
    def users(self) -> tuple[str, str]:
        """The administrator's name and password."""
        return "admin", self.secret("admin_password")


def read_deployment() -> Deployment:
    """Read molecule's inventory. Its hosts are containers of the same names."""
    inventory = Path(INVENTORY)
    inventory = inventory / "ansible_inventory.yml" if inventory.is_dir() else inventory
    document = yaml.safe_load(inventory.read_text(encoding="utf-8"))
    members = {name: list((group or {}).get("hosts") or {}) for name, group in document.items() if name in GROUPS}
    hosts = sorted({host for group in members.values() for host in group})
    addresses = {host: testinfra.get_host(f"podman://{host}").check_output("hostname -I").split()[0] for host in hosts}
    return Deployment({group: members.get(group, []) for group in GROUPS}, addresses, inventory.parent / "secrets")


DEPLOYMENT = read_deployment() if INVENTORY else None


@pytest.fixture(scope="session")
def deployment() -> Deployment:
    assert DEPLOYMENT is not None
    return DEPLOYMENT


@dataclass(frozen=True)
class Server:
    """One host: its name, its groups, and testinfra's view of it."""

    name: str
    groups: frozenset[str]

    @cached_property
    def host(self) -> Any:
        return testinfra.get_host(f"podman://{self.name}")

    def write(self, path: str, text: str) -> None:
        """Write a file that only root may read; the text is in no argument of a process."""
        command = ["podman", "exec", "-i", self.name, "sh", "-c", f"umask 077; cat > {path}"]
        subprocess.run(command, input=text, text=True, check=True)


def servers(*groups: str) -> list[Server]:
    """The hosts that are in one of ``groups``."""
    if DEPLOYMENT is None:
        return []
    names = {name for group in groups for name in DEPLOYMENT.groups[group]}
    return [Server(name, frozenset(g for g in GROUPS if name in DEPLOYMENT.groups[g])) for name in sorted(names)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for ``server`` runs on each host of the groups that its ``on`` mark names."""
    if "server" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("on")
        found = servers(*(mark.args if mark else GROUPS))
        metafunc.parametrize("server", found, ids=[server.name for server in found])


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "on(*groups): run the test on each host of these groups")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Print the end of the journal of every host under a failed check."""
    report: Any = yield
    if report.when == "call" and report.failed:
        for server in servers(*GROUPS):
            journal = server.host.run("journalctl --no-pager -n 15 -u 'image-*' -u nginx -u mariadb")
            report.sections.append((f"journal of {server.name}", journal.stdout))
            logs = server.host.run("tail -n 5 /var/log/glance/*.log")
            report.sections.append((f"logs of {server.name}", logs.stdout))
    return report  # type: ignore[no-any-return]
