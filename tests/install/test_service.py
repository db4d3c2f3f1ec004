"""The deployed service answers: the post's curl session, through the proxy with TLS and directly."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openstack
import pytest

from tests.install.conftest import Deployment, Server

SIZE = 3_000_001
NETRC = "/run/netrc-of-a-test"


@dataclass(frozen=True)
class Curl:
    """curl on a host, as the administrator, against one of the service's addresses."""

    server: Server
    url: str

    def __call__(self, arguments: str, path: str) -> str:
        trust = f"--cacert {NETRC}.ca " if self.url.startswith("https") else ""
        command = f"curl -sS --netrc-file {NETRC} {trust}{arguments} {shlex.quote(self.url + path)}"
        return str(self.server.host.check_output(command))

    def json(self, arguments: str, path: str) -> Any:
        return json.loads(self(arguments, path))


def addresses(server: Server, deployment: Deployment) -> list[str]:
    """The service through the proxy, and the API itself as this host reaches it."""
    alone = deployment.is_alone(server.name)
    direct = "127.0.0.1" if alone else deployment.addresses[server.name]
    proxies = [f"https://{deployment.addresses[name]}" for name in deployment.groups["image_proxy"]]
    return [*proxies, f"http://{direct}:9292"]


@pytest.fixture
def curls(server: Server, deployment: Deployment) -> Iterator[list[Curl]]:
    user, password = deployment.users
    machines = ["127.0.0.1", *deployment.addresses.values()]
    netrc = "".join(f"machine {name} login {user} password {password}\n" for name in machines)
    server.write(NETRC, netrc)
    server.write(f"{NETRC}.ca", (deployment.secrets / "ca.pem").read_text(encoding="utf-8"))
    yield [Curl(server, url) for url in addresses(server, deployment)]
    server.host.run(f"rm -f {NETRC} {NETRC}.ca /run/post-image*")


@pytest.mark.on("image_api")
def test_the_posts_session(server: Server, curls: list[Curl]) -> None:
    """Create with base64, list, HEAD, download, delete, by API v1 as the post did it."""
    server.host.check_output(f"head -c {SIZE} /dev/urandom > /run/post-image; base64 /run/post-image > /run/post-image.base64")
    for curl in curls:
        made = curl.json(
            "-X POST -H 'Content-Type: application/octet-stream' -H 'Content-Transfer-Encoding: base64'"
            " -H 'x-image-meta-name: post' -H 'x-image-meta-is_public: True'"
            " -H 'x-image-meta-disk_format: qcow2' -H 'x-image-meta-container_format: bare'"
            " --data-binary @/run/post-image.base64",
            "/v1/images",
        )["image"]
        assert (made["status"], made["size"], made["is_public"]) == ("active", SIZE, True)
        listed = curl.json("", "/v1/images/detail")["images"]
        assert made["id"] in [image["id"] for image in listed]
        assert f"x-image-meta-size: {SIZE}" in curl("-I", f"/v1/images/{made['id']}").lower()
        for path in (f"/v1/images/{made['id']}", f"/v2/images/{made['id']}/file"):
            curl("-o /run/post-image.out", path)
            server.host.check_output("cmp /run/post-image /run/post-image.out")
        part = curl("-r 1000-1999 -o /run/post-image.out -w '%{http_code} %{size_download}'", f"/v2/images/{made['id']}/file")
        assert part == "206 1000"
        server.host.check_output("cmp -n 1000 /run/post-image /run/post-image.out 1000 0")
        curl("-X DELETE", f"/v1/images/{made['id']}")


@pytest.mark.on("image_api")
def test_the_log_says_who_asked_the_proxy(server: Server, deployment: Deployment, curls: list[Curl]) -> None:
    """And not which address the proxy has."""
    if not deployment.is_alone(server.name):
        pytest.skip("others reach the API, too")
    request_id = f"req-{uuid.uuid4()}"
    for curl in curls:
        curl(f"-H 'X-Openstack-Request-Id: {request_id}'", "/v2/images?limit=1")
    found = server.host.check_output(f"sleep 1; grep -h {request_id} /var/log/glance/api.log")
    assert {word for word in found.split() if word.startswith("client=")} == {
        "client=127.0.0.1",
        f"client={deployment.addresses[server.name]}",
    }


@pytest.mark.on("image_api")
def test_an_image_with_128_properties_passes(server: Server, curls: list[Curl]) -> None:
    """Each is a header of its own, both ways."""
    names = [f"property_number_{number}" for number in range(128)]
    headers = " ".join(f"-H 'x-image-meta-property-{name}: {name * 10}'" for name in names)
    for curl in curls:
        made = curl.json(f"-X POST -H 'x-image-meta-name: many' {headers}", "/v1/images")["image"]
        shown = curl("-I", f"/v1/images/{made['id']}").lower()
        assert [name for name in names if f"x-image-meta-property-{name}: {name * 10}" not in shown] == []
        curl("-X DELETE", f"/v1/images/{made['id']}")


@pytest.mark.on("image_api")
def test_users_of_the_inventory_are_there(server: Server) -> None:
    """``image_api_users``; the scenario that names one keeps its password in its folder."""
    password = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "builder_password")
    if not password.exists():
        pytest.skip("this scenario names none")
    server.write(NETRC, f"machine 127.0.0.1 login builder password {password.read_text(encoding='utf-8').strip()}\n")
    curl = Curl(server, "http://127.0.0.1:9292")
    made = curl.json("-X POST -H 'Content-Type: application/json' -d '{\"name\": \"built\"}'", "/v2/images")
    assert made["owner"] == "builds"
    curl("-X DELETE", f"/v2/images/{made['id']}")
    server.host.run(f"rm -f {NETRC}")


@pytest.mark.on("image_api")
def test_nobody_is_let_in_without_a_password(server: Server, curls: list[Curl]) -> None:
    for curl in curls:
        for path in ("/v1/images", "/v2/images"):
            command = f"curl -s -o /dev/null -w '%{{http_code}}' --cacert {NETRC}.ca {curl.url}{path}"
            assert server.host.check_output(command) == "401"


@pytest.mark.on("image_api")
def test_a_client_cannot_say_who_it_is(server: Server, curls: list[Curl]) -> None:
    headers = "-H 'X-Identity-Status: Confirmed' -H 'X-Roles: admin' -H 'X-User-Id: u' -H 'X-Project-Id: p'"
    for curl in curls:
        command = f"curl -s -o /dev/null -w '%{{http_code}}' --cacert {NETRC}.ca {headers} {curl.url}/v2/images"
        assert server.host.check_output(command) == "401"


# The library warns of its own future.
@pytest.mark.filterwarnings("ignore")
def test_clients_work_with_the_clouds_yaml_that_was_written(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the controller, through the proxy: the first user sends an image, the administrator's ``openstack`` sees it."""
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(deployment.secrets / "clouds.yaml"))
    (tmp_path / "sent").write_bytes(os.urandom(SIZE))
    user: Any = openstack.connect(cloud="image")
    image = user.create_image("from the controller", filename=str(tmp_path / "sent"), disk_format="raw", wait=True)
    try:
        user.image.download_image(image.id, output=str(tmp_path / "received"))
        assert (tmp_path / "received").read_bytes() == (tmp_path / "sent").read_bytes()
        command = [str(Path(sys.executable).with_name("openstack")), "--os-cloud", "image-admin", "image", "show", image.id]
        shown = json.loads(subprocess.check_output([*command, "--format", "json"], text=True))
        assert (shown["status"], shown["size"], shown["owner"]) == ("active", SIZE, "project")
    finally:
        user.delete_image(image.id)
