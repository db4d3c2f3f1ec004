"""Every client's session of docs/clients.md, with each way of saying who asks; the service is looked at after each step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.clients.conftest import HEADERS, Settle
from tests.clients.page import Block, steps
from tests.clients.sessions import DATA, Workplace

# Client, what is run before its session, flavor of the service.
SESSIONS = [
    ("curl", ["curl/none"], "none"),
    ("curl", ["curl/http_basic"], "http_basic"),
    ("curl", ["curl/trusted-auth"], "trusted-auth"),
    ("curl v1", ["curl/none"], "none"),
    ("curl v1", ["curl/http_basic"], "http_basic"),
    ("curl v1", ["curl/trusted-auth"], "trusted-auth"),
    ("glance", ["glance/none"], "none"),
    ("glance", ["glance/http_basic"], "http_basic"),
    ("glance v1", ["glance/none", "glance v1/version"], "none"),
    ("glance v1", ["glance/http_basic by netrc", "glance v1/version"], "http_basic"),
    ("glanceclient", ["glanceclient/none"], "none"),
    ("glanceclient", ["glanceclient/http_basic"], "http_basic"),
    ("glanceclient v1", ["glanceclient v1/none"], "none"),
    ("openstack", ["openstack/clouds"], "none"),
    ("openstack", ["openstack/clouds"], "http_basic"),
    ("openstacksdk", ["openstacksdk/clouds"], "none"),
    ("openstacksdk", ["openstacksdk/clouds"], "http_basic"),
    ("ansible", ["ansible/play"], "none"),
    ("ansible", ["ansible/play"], "http_basic"),
]

ALL = {"create", "look", "change", "share", "lock", "unlock", "download", "delete"}
# API v1 knows nothing of hidden images, tags and deactivation; Ansible's module has neither members nor a download.
STEPS_OF = {
    "curl": ALL,
    "curl v1": ALL - {"lock", "unlock"},
    "glance": ALL | {"two steps"},
    "glance v1": ALL - {"lock", "unlock"},
    "glanceclient": ALL,
    "glanceclient v1": ALL - {"lock", "unlock"},
    "openstack": ALL,
    "openstacksdk": ALL,
    "ansible": ALL - {"share", "download"} | {"same"},
}


class Looking:
    """Looks at the image ``debian`` of a service from the outside, with the eyes of who made it."""

    def __init__(self, workplace: Workplace, client: str, flavor: str) -> None:
        self.place = workplace
        self.client = client
        self.headers = HEADERS[flavor]
        self.owner = None if flavor == "none" else "p1"

    def __call__(self, step: str) -> None:
        """Raise ``AssertionError`` unless the service is as the step must leave it."""
        check: Callable[[Mapping[str, Any]], None] = getattr(self, step.replace(" ", "_"))
        if step in ("delete", "two steps"):
            assert self._images() == []
            return
        (image,) = self._images()
        check(image)

    def _images(self) -> list[dict[str, Any]]:
        lists = [
            self.place.service.ask("GET", f"/v2/images?os_hidden={hidden}", headers=self.headers) for hidden in ("true", "false")
        ]
        found: list[dict[str, Any]] = [image for answer in lists for image in answer.json["images"]]
        return found

    def create(self, image: Mapping[str, Any]) -> None:
        wanted = {
            "name": "debian",
            "status": "active",
            "disk_format": "raw",
            "container_format": "bare",
            "size": len(DATA),
            "os_hash_value": hashlib.sha512(DATA).hexdigest(),
            "owner": self.owner,
            "visibility": "shared",
            "os_distro": "debian",
        }
        assert {name: image.get(name) for name in wanted} == wanted

    look = same = create

    def change(self, image: Mapping[str, Any]) -> None:
        self.create(image)
        assert image["min_ram"] == 512
        assert image["os_version"] == "12"
        assert image["tags"] == ([] if self.client.endswith("v1") else ["bookworm"])

    def share(self, image: Mapping[str, Any]) -> None:
        members = self.place.service.ask("GET", f"/v2/images/{image['id']}/members", headers=self.headers).json["members"]
        assert [(member["member_id"], member["status"]) for member in members] == [("p2", "pending")]

    def lock(self, image: Mapping[str, Any]) -> None:
        assert image["status"] == "deactivated"
        assert image["protected"] is True
        assert image["os_hidden"] is (self.client != "ansible")

    def unlock(self, image: Mapping[str, Any]) -> None:
        self.change(image)
        assert image["protected"] is False
        assert image["os_hidden"] is False

    def download(self, image: Mapping[str, Any]) -> None:
        copy = self.place.folder / "copy.img"
        assert copy.read_bytes() == DATA
        copy.unlink()

    def delete(self, image: Mapping[str, Any]) -> None:
        """Never called: nothing is left to look at."""

    two_steps = delete


def prepare(workplace: Workplace, client: str, flavor: str) -> None:
    """The files that the page says to put there."""
    if client in ("openstack", "openstacksdk", "ansible"):
        workplace.write("clouds.yaml", workplace.text(f"clouds/{flavor}"))
    if client == "ansible":
        workplace.write("load-openstack-version/sitecustomize.py", workplace.text("ansible/sitecustomize.py"))
        workplace.write("environment", workplace.text("ansible/environment"))


@pytest.mark.parametrize(("client", "head", "flavor"), SESSIONS, ids=lambda value: value if isinstance(value, str) else "")
def test_the_session_of_the_page_works(client: str, head: list[str], flavor: str, settle: Settle) -> None:
    workplace = settle(flavor)
    prepare(workplace, client, flavor)
    session: list[Block] = steps(client)
    assert {block.what for block in session} == STEPS_OF[client]
    workplace.play(head, session, Looking(workplace, client, flavor))
