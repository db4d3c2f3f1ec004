"""Data up (contract C.6): framing, declared sizes, states, and what a failed upload leaves: nothing."""

from __future__ import annotations

import hashlib
import itertools
import socket
import threading
from dataclasses import replace
from typing import Any

import pytest

from image_service import config
from image_service.context import RequestContext
from image_service.errors import WrongStatus
from image_service.operations import images
from image_service.operations.service import Service as Operations
from tests.functional import v1
from tests.functional.house import House, Rooms
from tests.functional.running import eventually
from tests.functional.service import OCTET_STREAM, Answer, Service
from tests.functional.v2 import download, show, upload

DATA = b"0123456789abcdef" * 4
BIG = bytes(range(256)) * 16384
"""4 MiB: more than any buffer on the way."""


def _chunks(data: bytes) -> Any:
    return iter([data[:10], data[10:11], data[11:]])


ACCEPTED: list[tuple[Any, dict[str, str]]] = [
    (DATA, {}),
    (b"", {}),
    (b"x", {}),
    (_chunks, {}),
    (DATA, {"Content-Type": "application/octet-stream; charset=binary"}),
    (DATA, {"Content-Type": "Application/Octet-Stream"}),
    (DATA, {"x-openstack-image-size": "64"}),
    (DATA, {"x-openstack-image-size": " 64 "}),
    (_chunks, {"x-openstack-image-size": "64"}),
    (DATA, {"X-Image-Meta-Store": "nope"}),  # where stores have no names nobody looks
]


@pytest.mark.parametrize(("body", "headers"), ACCEPTED)
def test_data_make_an_image_active(service: Service, body: Any, headers: dict[str, str]) -> None:
    data = DATA if callable(body) else body
    image = service.image()
    answer = upload(service, image["id"], body(DATA) if callable(body) else body, headers)
    assert (answer.status, answer.body) == (204, b"")
    found = show(service, image["id"])
    assert (found["status"], found["size"]) == ("active", len(data))
    assert found["virtual_size"] == (len(data) or None)
    assert found["checksum"] == hashlib.md5(data, usedforsecurity=False).hexdigest()
    assert found["os_hash_value"] == hashlib.sha512(data).hexdigest()
    assert download(service, image["id"]).body == data
    assert (service.images / image["id"]).read_bytes() == data


@pytest.mark.parametrize(("disk", "container"), [("aki", "aki"), ("qcow2", "bare"), ("raw", "compressed"), ("raw", "docker")])
def test_only_raw_data_that_nothing_wraps_are_as_large_as_their_disk(service: Service, disk: str, container: str) -> None:
    image = service.image(b"not looked into in this release", disk_format=disk, container_format=container)
    assert (image["status"], image["virtual_size"]) == ("active", None)


REFUSED: list[tuple[Any, dict[str, str], int, str]] = [
    (DATA, {"Content-Type": "text/plain"}, 415, "application/octet-stream"),
    (DATA, {"Content-Type": "application/x-www-form-urlencoded"}, 415, "application/octet-stream"),
    (DATA, {"Content-Type": "application/json"}, 415, "application/octet-stream"),
    (DATA, {"Content-Type": ""}, 415, "application/octet-stream"),
    (DATA, {"x-openstack-image-size": "63"}, 400, "Size mismatch: expected 63 bytes, got 64 bytes"),
    (DATA, {"x-openstack-image-size": "65"}, 400, "Size mismatch: expected 65 bytes, got 64 bytes"),
    (_chunks, {"x-openstack-image-size": "65"}, 400, "Size mismatch"),
    (DATA, {"x-openstack-image-size": "0"}, 400, "Size mismatch"),
    (DATA, {"x-openstack-image-size": "many"}, 400, "Invalid or missing image size"),
    (DATA, {"x-openstack-image-size": ""}, 400, "Invalid or missing image size"),
    (DATA, {"x-openstack-image-size": "1.5"}, 400, "Invalid or missing image size"),
    (DATA, {"x-openstack-image-size": "-1"}, 400, "Invalid or missing image size"),
]


@pytest.mark.parametrize(("body", "headers", "status", "sentence"), REFUSED)
def test_refused_data_leave_the_image_queued_and_nothing_behind(
    service: Service, body: Any, headers: dict[str, str], status: int, sentence: str
) -> None:
    image = service.image()
    answer = upload(service, image["id"], body(DATA) if callable(body) else body, headers)
    assert answer.status == status
    assert sentence in answer.text
    _still_queued(service, image)
    assert upload(service, image["id"], DATA).status == 204


def _still_queued(service: Service, image: dict[str, Any]) -> None:
    found = show(service, image["id"])
    assert {**found, "updated_at": ""} == {**image, "updated_at": ""}
    assert download(service, image["id"]).status == 204
    assert not [path for path in service.images.rglob("*") if image["id"] in path.name]


@pytest.mark.parametrize("missing", ["disk_format", "container_format"])
def test_formats_are_set_before_data(service: Service, missing: str) -> None:
    image = service.image(**{missing: None})
    answer = upload(service, image["id"], DATA)
    assert answer.status == 400
    assert f"Property {missing} must be set prior to saving data" in answer.text
    _still_queued(service, image)


def test_data_are_sent_once(service: Service) -> None:
    image = service.image(DATA)
    answer = upload(service, image["id"], b"other")
    assert answer.status == 409
    assert "Image status transition from active to saving is not allowed" in answer.text
    assert download(service, image["id"]).body == DATA


def test_a_deactivated_image_takes_no_data(service: Service) -> None:
    image = service.image(DATA)
    assert service.ask("POST", f"/v2/images/{image['id']}/actions/deactivate").status == 204
    assert upload(service, image["id"], b"other").status == 409


# -- broken off ----------------------------------------------------------------------------------------------------------------


def _begin(service: Service, image_id: str, framing: bytes, sent: bytes) -> socket.socket:
    """Send the head of an upload and the first bytes, and leave the connection open."""
    connection = socket.create_connection(("127.0.0.1", service.port), timeout=30)
    head = f"PUT /v2/images/{image_id}/file HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n".encode()
    connection.sendall(head + framing + b"\r\n\r\n" + sent)
    return connection


BROKEN = [
    (b"Content-Length: 100", b"only this"),
    (b"Transfer-Encoding: chunked", b"9\r\nonly this\r\n"),
    (b"Transfer-Encoding: chunked", b"ff\r\nonly this"),
    (b"Transfer-Encoding: chunked", b"9\r\nonly this\r\nno number\r\n"),
]


@pytest.mark.parametrize(("framing", "sent"), BROKEN)
def test_an_upload_that_breaks_off_is_none(service: Service, framing: bytes, sent: bytes) -> None:
    image = service.image()
    connection = _begin(service, image["id"], framing, sent)
    eventually(lambda: show(service, image["id"])["status"] == "saving" or b"number" in sent, "the upload has begun")
    connection.close()
    eventually(lambda: show(service, image["id"])["status"] == "queued", "the image is queued again")
    eventually(lambda: not [path for path in service.images.rglob("*") if image["id"] in path.name], "no bytes are left")
    assert upload(service, image["id"], DATA).status == 204


def test_an_image_that_is_being_saved_can_be_seen_and_takes_no_second_writer(service: Service) -> None:
    image = service.image()
    with _begin(service, image["id"], b"Content-Length: 20", b"half of it") as first:
        eventually(lambda: show(service, image["id"])["status"] == "saving", "the upload has begun")
        second = upload(service, image["id"], DATA)
        assert second.status == 409
        assert "saving" in second.text
        assert download(service, image["id"]).status == 204
        first.sendall(b"the second")
        assert first.recv(4096).startswith(b"HTTP/1.1 204")
    assert download(service, image["id"]).body == b"half of itthe second"


def test_the_disk_is_as_large_as_the_format_at_the_end_says(service: Service) -> None:
    image_id = service.image()["id"]
    with _begin(service, image_id, b"Content-Length: 20", b"half of it") as connection:
        eventually(lambda: show(service, image_id)["status"] == "saving", "the upload has begun")
        assert v1.put(service, image_id, disk_format="qcow2").status == 200
        connection.sendall(b"the second")
        assert connection.recv(4096).startswith(b"HTTP/1.1 204")
    found = show(service, image_id)
    assert (found["disk_format"], found["size"], found["virtual_size"]) == ("qcow2", 20, None)
    assert v1.put(service, image_id, disk_format="raw").status == 200
    assert show(service, image_id)["virtual_size"] == 20
    assert v1.put(service, image_id, container_format="ova").status == 200
    assert show(service, image_id)["virtual_size"] is None


def test_who_changes_one_format_while_another_changes_the_other_begins_anew(house: House) -> None:
    """The size of the disk follows from both."""

    async def work(rooms: Rooms) -> None:
        service = Operations(config.load("glance-api", [], []), rooms.registry, rooms.stores)
        nobody = RequestContext(is_admin=True)
        image = await rooms.active()
        seen = await images.change(service, nobody, image, replace(image, disk_format="qcow2", container_format="ova"))
        await images.change(service, nobody, seen, replace(seen, disk_format="raw"))
        with pytest.raises(WrongStatus):
            await images.change(service, nobody, seen, replace(seen, container_format="bare"))
        seen = await rooms.registry.get_image(image.id)
        changed = await images.change(service, nobody, seen, replace(seen, container_format="bare"))
        assert (changed.virtual_size, changed.size) == (image.size, image.size)

    house.run(work)


def test_of_many_writers_exactly_one_wins(service: Service) -> None:
    image = service.image()
    bodies = [bytes([letter]) * len(BIG) for letter in b"abcdef"]
    answers: dict[bytes, Answer] = {}

    def send(body: bytes) -> None:
        answers[body[:1]] = upload(service, image["id"], iter([body[: 1 << 20], body[1 << 20 :]]))

    writers = [threading.Thread(target=send, args=(body,)) for body in bodies]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(answer.status for answer in answers.values()) == [204, 409, 409, 409, 409, 409]
    winner = next(letter for letter, answer in answers.items() if answer.status == 204)
    assert download(service, image["id"]).body == winner * len(BIG)
    assert [path.name for path in service.images.rglob("*") if image["id"] in path.name] == [image["id"]]


def test_an_image_that_is_deleted_during_its_upload_leaves_no_bytes(service: Service) -> None:
    image = service.image()
    with _begin(service, image["id"], b"Content-Length: 20", b"half of it") as connection:
        eventually(lambda: show(service, image["id"])["status"] == "saving", "the upload has begun")
        assert service.ask("DELETE", f"/v2/images/{image['id']}").status == 204
        connection.sendall(b"the second")
        assert connection.recv(4096).startswith(b"HTTP/1.1 410")
    assert not [path for path in service.images.rglob("*") if image["id"] in path.name]
    assert download(service, image["id"]).status == 404


def test_large_data_go_up_and_down_unchanged(service: Service) -> None:
    image = service.image()
    blocks = itertools.repeat(BIG, 4)
    assert upload(service, image["id"], blocks).status == 204
    found = show(service, image["id"])
    assert (found["size"], found["checksum"]) == (4 * len(BIG), hashlib.md5(BIG * 4, usedforsecurity=False).hexdigest())
    assert download(service, image["id"]).body == BIG * 4


def test_an_empty_body_without_a_length_is_an_empty_image(service: Service) -> None:
    image = service.image()
    assert upload(service, image["id"], iter([]), OCTET_STREAM).status == 204
    assert (show(service, image["id"])["status"], show(service, image["id"])["size"]) == ("active", 0)
    assert download(service, image["id"]).body == b""
