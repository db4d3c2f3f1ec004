"""Every client's session of docs/clients.md, with each way of saying who asks; the service is looked at after each step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.clients.cases import SESSIONS, SHORT, STEPS_OF
from tests.clients.conftest import HEADERS, Settle
from tests.clients.page import steps
from tests.clients.sessions import DATA, Workplace


class Looking:
    """Looks at the image ``debian`` of a service from the outside, with the eyes of who made it."""

    def __init__(self, workplace: Workplace, client: str, flavor: str) -> None:
        self.place = workplace
        self.client = client
        self.headers = HEADERS[flavor]
        self.owner = None if flavor == "none" else "p1"
        self.checks: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "create": self.created,
            "look": self.created,
            "same": self.created,
            "change": self.changed,
            "share": self.shared,
            "lock": self.locked,
            "unlock": self.unlocked,
            "download": self.downloaded,
        }

    def __call__(self, step: str) -> None:
        """Raise ``AssertionError`` unless the service is as the step must leave it."""
        if step in self.checks:
            (image,) = self.images()
            self.checks[step](image)
        else:
            assert self.images() == []

    def images(self) -> list[dict[str, Any]]:
        """All that are called debian, hidden or not."""
        paths = [f"/v2/images?name=debian&os_hidden={hidden}" for hidden in ("true", "false")]
        answers = [self.place.service.ask("GET", path, headers=self.headers) for path in paths]
        return [image for answer in answers for image in answer.json["images"]]

    def clear(self) -> None:
        """Remove what a session that failed has left."""
        patch = {**self.headers, "Content-Type": "application/openstack-images-v2.1-json-patch"}
        for image in self.images():
            path = f"/v2/images/{image['id']}"
            unprotect = b'[{"op": "replace", "path": "/protected", "value": false}]'
            assert self.place.service.ask("PATCH", path, unprotect, patch).status == 200
            assert self.place.service.ask("DELETE", path, headers=self.headers).status == 204

    def created(self, image: Mapping[str, Any]) -> None:
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

    def changed(self, image: Mapping[str, Any]) -> None:
        self.created(image)
        assert image["min_ram"] == 512
        assert image["os_version"] == "12"
        assert image["tags"] == ([] if self.client.endswith("v1") else ["bookworm"])

    def shared(self, image: Mapping[str, Any]) -> None:
        members = self.place.service.ask("GET", f"/v2/images/{image['id']}/members", headers=self.headers).json["members"]
        assert [(member["member_id"], member["status"]) for member in members] == [("p2", "pending")]

    def locked(self, image: Mapping[str, Any]) -> None:
        assert image["status"] == "deactivated"
        assert image["protected"] is True
        assert image["os_hidden"] is (self.client != "ansible")

    def unlocked(self, image: Mapping[str, Any]) -> None:
        self.changed(image)
        assert image["protected"] is False
        assert image["os_hidden"] is False

    def downloaded(self, image: Mapping[str, Any]) -> None:
        assert image["status"] == "active"
        assert (self.place.folder / "copy.img").read_bytes() == DATA


NAMES = [f"{client}-{flavor}" for client, _, flavor in SESSIONS]


@pytest.mark.parametrize(("client", "head", "flavor"), SESSIONS, ids=NAMES)
def test_the_session_of_the_page_works(client: str, head: list[str], flavor: str, settle: Settle) -> None:
    session = steps(client)
    assert {block.what for block in session} == STEPS_OF[client]
    if flavor != "none":
        session = [block for block in session if block.what in SHORT.get(client, STEPS_OF[client])]
    workplace = settle(flavor)
    looking = Looking(workplace, client, flavor)
    looking.clear()
    workplace.play(head, session, looking)
