"""What docs/clients.md says beside the sessions: further configurations, what is refused, and how a shared image is accepted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.clients.cases import CONFIGURATIONS, FAILURES
from tests.clients.conftest import HEADERS, Find, Settle
from tests.clients.page import blocks
from tests.clients.sessions import DATA

CURL_OF_QEMU = "block-curl.so"


@pytest.mark.parametrize(("name", "command", "flavor"), CONFIGURATIONS)
def test_a_further_configuration_lists_images(name: str, command: str, flavor: str, settle: Settle) -> None:
    workplace = settle(flavor)
    image = workplace.service.image(headers=HEADERS[flavor])
    assert workplace.run(blocks()[name].language, workplace.text(name) + command) == 0, workplace.output
    assert image["name"] in workplace.output


@pytest.mark.parametrize(("name", "flavor"), FAILURES.items())
def test_the_page_tells_what_the_client_answers(name: str, flavor: str, settle: Settle) -> None:
    workplace = settle(flavor)
    text = workplace.text(name)
    expected = text.splitlines()[-1].removeprefix("# ")
    assert workplace.run(blocks()[name].language, text) != 0, workplace.output
    assert expected in workplace.output


@pytest.mark.skipif(
    not (shutil.which("qemu-img") and list(Path("/usr/lib").glob(f"*/qemu/{CURL_OF_QEMU}"))),
    reason="qemu-block-extra is not installed",
)
@pytest.mark.parametrize("flavor", ["none", "http_basic"])
def test_qemu_reads_an_image_where_it_is(flavor: str, settle: Settle) -> None:
    workplace = settle(flavor)
    data = DATA[: len(DATA) // 512 * 512]
    image = workplace.service.image(data, HEADERS[flavor])
    text = workplace.text("qemu/read")
    if flavor == "http_basic":
        text = text.replace("http://", "http://alice:alices-secret@")
    assert workplace.run("sh", f"ID={image['id']}\n{text}") == 0, workplace.output
    for name in ("copy.qcow2", "overlay.qcow2"):
        assert workplace.run("sh", f"qemu-img convert -m 1 -O raw {name} read.img") == 0, workplace.output
        assert (workplace.folder / "read.img").read_bytes() == data, name


def test_another_project_accepts_a_shared_image(settle: Settle) -> None:
    workplace = settle("http_basic")
    service, alice = workplace.service, HEADERS["http_basic"]
    image = service.image(b"shared", alice)
    members = f"/v2/images/{image['id']}/members"
    assert service.ask("POST", members, {"member": "p2"}, alice).status == 200
    bob = workplace.text("openstack/http_basic by variables").replace("alice", "bob")
    accept = workplace.text("openstack/accept")
    assert workplace.run("sh", f"{bob}ID={image['id']}\n{accept}") == 0, workplace.output
    assert image["name"] in workplace.output
    assert service.ask("GET", f"{members}/p2", headers=alice).json["status"] == "accepted"


def test_ansible_without_the_pages_file_says_what_the_page_says(settle: Settle) -> None:
    workplace = settle("none")
    (workplace.folder / "environment").unlink()
    assert workplace.run("yaml", workplace.text("ansible/play") + "    - openstack.cloud.image_info: {cloud: images}\n") != 0
    assert "module 'openstack' has no attribute 'version'" in workplace.output


def test_images_move_from_one_service_to_another(find_service: Find, settle: Settle) -> None:
    old, workplace = find_service("http_basic"), settle("none")
    made = old.image(DATA, HEADERS["http_basic"], visibility="community", tags=["x"], hw_disk_bus="scsi", odd='ä "')
    clouds = blocks()["clouds/http_basic"].at(old.port).replace("images:", "glance:").removeprefix("clouds:\n")
    workplace.write("clouds.yaml", workplace.text("clouds/none") + clouds)
    begun = ("id", "name", "visibility", "tags", "owner", "disk_format", "container_format", "hw_disk_bus", "odd")
    workplace.service.image(**{name: made[name] for name in begun})  # An interrupted run leaves this.
    later = old.image(b"later", HEADERS["http_basic"])["id"]
    for _ in range(2):
        assert workplace.run("python", workplace.text("openstacksdk/move")) == 0, workplace.output
        assert workplace.service.ask("GET", f"/v2/images/{later}/file").body == b"later"
    moved = workplace.service.ask("GET", f"/v2/images/{made['id']}").json
    shown = old.ask("GET", f"/v2/images/{made['id']}", headers=HEADERS["http_basic"]).json
    assert moved.pop("stores") == "disk"
    assert {**moved, "created_at": 0, "updated_at": 0} == {**shown, "created_at": 0, "updated_at": 0}
    assert workplace.service.ask("GET", f"/v2/images/{made['id']}/file").body == DATA
