"""Who listens where, and what the proxy speaks."""

from __future__ import annotations

import socket
import ssl

import pytest

from tests.install.conftest import Deployment, Server

LOOPBACK = {"127.0.0.1", "[::1]"}


def listeners(server: Server, port: int) -> set[str]:
    """The addresses on which ``server`` listens at ``port``."""
    lines = server.host.check_output("ss --no-header --tcp --listening --numeric").splitlines()
    pairs = [line.split()[3].rsplit(":", 1) for line in lines]
    return {address for address, number in pairs if int(number) == port}


@pytest.mark.on("image_registry")
def test_the_registry_is_not_public(server: Server, deployment: Deployment) -> None:
    shared = set(deployment.groups["image_api"]) - set(deployment.groups["image_registry"])
    wanted = {deployment.addresses[server.name]} if shared else {"127.0.0.1"}
    assert listeners(server, 9191) == wanted


@pytest.mark.on("image_registry")
@pytest.mark.parametrize("claims", ["", "-H 'X-Identity-Status: Confirmed' -H 'X-User-Id: x' -H 'X-Roles: admin'"])
def test_an_account_of_the_host_is_nobody_to_the_registry(server: Server, claims: str) -> None:
    (address,) = listeners(server, 9191)
    command = f"curl -s -o /dev/null -w '%{{http_code}}' {claims} 'http://{address}:9191/images/detail?is_public=none'"
    assert server.host.check_output(command) == "401"


@pytest.mark.on("image_database")
def test_the_database_is_not_public(server: Server, deployment: Deployment) -> None:
    clients = set(deployment.groups["image_registry"])
    own = {"127.0.0.1"} if server.name in clients else set()
    assert listeners(server, 3306) == own | ({deployment.addresses[server.name]} if clients - {server.name} else set())


@pytest.mark.on("image_api")
def test_the_api_listens_for_the_proxy_alone(server: Server, deployment: Deployment) -> None:
    alone = deployment.is_alone(server.name)
    assert listeners(server, 9292) == ({"127.0.0.1"} if alone else {deployment.addresses[server.name]})


@pytest.mark.on("image_proxy")
@pytest.mark.parametrize("port", [80, 443])
def test_the_proxy_listens_for_every_kind_of_address_that_its_host_has(server: Server, port: int) -> None:
    ipv6 = server.host.check_output("ip -6 -oneline address show lo")
    assert listeners(server, port) - {"[::]"} == {"0.0.0.0"}  # noqa: S104
    assert ("[::]" in listeners(server, port)) == bool(ipv6)


def handshake(address: str, version: ssl.TLSVersion) -> str | None:
    """The version that the proxy agrees to when only ``version`` is offered."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with socket.create_connection((address, 443), timeout=10) as raw, context.wrap_socket(raw) as secured:
        return secured.version()


@pytest.mark.on("image_proxy")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_new_tls_is_spoken(server: Server, deployment: Deployment, version: ssl.TLSVersion) -> None:
    assert handshake(deployment.addresses[server.name], version) is not None


@pytest.mark.on("image_proxy")
@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_tls_is_refused(server: Server, deployment: Deployment, version: str) -> None:
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        handshake(deployment.addresses[server.name], getattr(ssl.TLSVersion, version))


@pytest.mark.on("image_proxy")
def test_the_certificate_is_signed_by_the_authority_that_was_made(server: Server, deployment: Deployment) -> None:
    context = ssl.create_default_context(cafile=str(deployment.secrets / "ca.pem"))
    address = deployment.addresses[server.name]
    with socket.create_connection((address, 443), timeout=10) as raw, context.wrap_socket(raw, server_hostname=address):
        pass


@pytest.mark.on("image_proxy")
def test_http_becomes_https(server: Server, deployment: Deployment) -> None:
    address = deployment.addresses[server.name]
    answer = server.host.check_output(f"curl -s -o /dev/null -w '%{{http_code}} %{{redirect_url}}' http://{address}/v2/images")
    assert answer == f"308 https://{address}/v2/images"
