"""No secret is where somebody else could read it."""

from __future__ import annotations

import subprocess

import pytest

from tests.install.conftest import Deployment, Server

NAMES = ["database_password", "registry_secret", "admin_password", "user_password"]
PLACES = "/etc /home /opt /root /run /srv /tmp /usr/local /var"


def found(server: Server, secret: str, command: str) -> str:
    """What ``command`` (a grep that reads its pattern from standard input) prints. The secret is in no argument."""
    done = subprocess.run(
        ["podman", "exec", "-i", server.name, "bash", "-c", command], input=secret, capture_output=True, text=True, check=False
    )
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_the_secret_is_not_to_be_seen(server: Server, deployment: Deployment, name: str) -> None:
    secret = deployment.secret(name)
    assert len(secret) >= 32
    assert found(server, secret, "read s; journalctl --no-pager | grep -F -f <(printf %s $s) | head -3") == ""
    assert found(server, secret, "read s; ps axww -o args | grep -F -f <(printf %s $s) | head -3") == ""
    readable = f"runuser -u nobody -- grep -rlsF -f - --exclude-dir=lib {PLACES}"
    assert found(server, secret, readable) == ""


@pytest.mark.parametrize("name", NAMES)
def test_the_secret_is_not_in_a_log(server: Server, deployment: Deployment, name: str) -> None:
    assert found(server, deployment.secret(name), "grep -rlsF -f - /var/log") == ""


def test_the_search_finds_what_is_there(server: Server) -> None:
    """The command of the tests above does find a text that everybody may read."""
    assert found(server, "root:x:0:0", "runuser -u nobody -- grep -rlsF -f - /etc").splitlines() != []


def test_the_folder_of_secrets_is_the_operators_alone(deployment: Deployment) -> None:
    assert oct(deployment.secrets.stat().st_mode & 0o777) == oct(0o700)
    closed = [p for p in deployment.secrets.iterdir() if p.suffix != ".pem"]
    assert [p.name for p in closed if p.stat().st_mode & 0o077] == []


@pytest.mark.on("image_database")
def test_the_database_has_one_user_from_the_hosts_that_need_it(server: Server, deployment: Deployment) -> None:
    assert server.host.run("ls ~root/.my.cnf").rc != 0
    found = server.host.check_output("mariadb -N -e \"SELECT Host FROM mysql.user WHERE User IN ('', 'glance')\"")
    clients = deployment.groups["image_registry"]
    wanted = {"127.0.0.1" if name == server.name else deployment.addresses[name] for name in clients}
    assert set(found.split()) == wanted
