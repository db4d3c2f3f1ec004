"""A service for each way of being asked who one is, and folders for clients."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.clients.page import blocks
from tests.clients.sessions import Workplace
from tests.functional.registries import migrated
from tests.functional.service import Service, running_service

# Who looks at a service from the outside.
HEADERS = {
    "none": {},
    "http_basic": {"Authorization": "Basic " + base64.b64encode(b"alice:alices-secret").decode()},
    "trusted-auth": {
        "X-Identity-Status": "Confirmed",
        "X-User-Id": "alice",
        "X-Project-Id": "p1",
        "X-Roles": "member",
    },
}

Find = Callable[[str], Service]
Settle = Callable[[str], Workplace]


def _add_users(service: Service) -> None:
    """Alice as the page has her, and bob in project p2."""
    administrator = Workplace(service.folder / "administrator", service)
    (administrator.folder / ".glance").mkdir()
    (administrator.folder / ".glance" / "glance-api.conf").symlink_to(service.folder / "glance-api.conf")
    alice = administrator.text("users/http_basic")
    bob = alice.replace("alice", "bob").replace("p1", "p2")
    assert administrator.run("sh", alice + bob) == 0, administrator.output


@pytest.fixture(scope="session")
def find_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Find]:
    """The service of a flavor, started when it is first asked for."""
    found: dict[str, Service] = {}
    with ExitStack() as stack:

        def find(flavor: str) -> Service:
            if flavor not in found:
                folder = tmp_path_factory.mktemp(f"clients-{flavor}")
                found[flavor] = stack.enter_context(_running(folder, flavor))
            return found[flavor]

        yield find


@contextmanager
def _running(folder: Path, flavor: str) -> Iterator[Service]:
    # The stores of one of them have names: images then have an attribute more, which openstacksdk takes for a property.
    named = flavor == "none"
    sections = f"""
default_backend = disk
[disk]
filesystem_store_datadir = {folder}/images
[paste_deploy]
flavor = {"" if flavor == "none" else flavor}
[oslo_middleware]
http_basic_auth_user_file = {folder}/htpasswd
[http_basic]
identity_file = {folder}/identities.json
[trusted_auth]
trusted_addresses = 127.0.0.1
"""
    database, default = migrated(f"sqlite:///{folder}/registry.db"), "enabled_backends = disk:file" if named else ""
    with running_service(folder, database, default=default, sections=sections, start=False) as service:
        if flavor == "http_basic":
            _add_users(service)
        service.start()
        yield service


@pytest.fixture
def settle(find_service: Find, tmp_path: Path) -> Settle:
    """A folder for a client of the service of a flavor, with the files that the page says to put there."""

    def settled(flavor: str) -> Workplace:
        workplace = Workplace(tmp_path / "home", find_service(flavor))
        if f"clouds/{flavor}" in blocks():
            workplace.write("clouds.yaml", workplace.text(f"clouds/{flavor}"))
        workplace.write("load-openstack-version/sitecustomize.py", workplace.text("ansible/sitecustomize.py"))
        workplace.write("environment", workplace.text("ansible/environment"))
        return workplace

    return settled
