"""Images API v1, contract A.9 and A.12: uploads that are disturbed by the client, a delete or another upload."""

from __future__ import annotations

import socket
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.functional.running import PATIENCE, eventually
from tests.functional.service import OCTET_STREAM, Service
from tests.functional.slow_clients import SlowUpload
from tests.functional.v1 import DATA, RAW, files_of, make, meta, put, state, status_becomes

PART = b"p" * 70_000


def _slow(service: Service, image_id: str, length: int | None, headers: dict[str, str] | None = None) -> SlowUpload:
    return SlowUpload(service.port, "PUT", f"/v1/images/{image_id}", length, headers or {})


def _is_killed_without_bytes(service: Service, image_id: str) -> None:
    status_becomes(service, image_id, "killed")
    eventually(lambda: files_of(service, image_id) == [], "no bytes are left")


@pytest.mark.parametrize("length", [200_000, None])
def test_while_bytes_arrive_the_image_is_saving_and_then_active(service: Service, length: int | None) -> None:
    image = make(service, **RAW)
    size = length or 3 * len(PART)
    with _slow(service, image["id"], length) as upload:
        upload.send(PART)
        status_becomes(service, image["id"], "saving")
        assert service.ask("GET", f"/v1/images/{image['id']}").status == 404
        upload.send(b"q" * (size - len(PART)))
        status, _ = upload.finish()
    assert status == 200
    assert service.ask("GET", f"/v1/images/{image['id']}").body == PART + b"q" * (size - len(PART))


@pytest.mark.parametrize("length", [200_000, None])
@pytest.mark.parametrize("headers", [{}, {"Content-Transfer-Encoding": "base64"}])
def test_a_client_that_goes_away_kills_the_image(service: Service, length: int | None, headers: dict[str, str]) -> None:
    image = make(service, **RAW)
    with _slow(service, image["id"], length, headers) as upload:
        upload.send(PART)
        status_becomes(service, image["id"], "saving")
    _is_killed_without_bytes(service, image["id"])


@pytest.mark.parametrize("raw", [b"nonsense\r\n", b"-5\r\nabc\r\n", b"3\r\nabcdef\r\n", b"ffffffffffffffffffff\r\n"])
def test_broken_chunks_kill_the_image(embedded: Service, raw: bytes) -> None:
    image = make(embedded, **RAW)
    with _slow(embedded, image["id"], None) as upload:
        upload.send(PART)
        status_becomes(embedded, image["id"], "saving")
        upload.send_raw(raw)
        status, text = upload.answer()
        assert (status, "broke off" in text) == (400, True)
        _is_killed_without_bytes(embedded, image["id"])


def test_a_client_that_goes_away_during_its_headers_leaves_nothing(embedded: Service) -> None:
    image_id = str(uuid.uuid4())
    with socket.create_connection(("127.0.0.1", embedded.port), timeout=PATIENCE) as connection:
        connection.sendall(b"POST /v1/images HTTP/1.1\r\nHost: x\r\nX-Image-Meta-Id: " + image_id.encode() + b"\r\n")
    assert state(embedded, image_id) == "absent"


@pytest.mark.parametrize("length", [200_000, None])
def test_a_delete_during_the_upload_wins(service: Service, length: int | None) -> None:
    image = make(service, **RAW)
    with _slow(service, image["id"], length) as upload:
        upload.send(PART)
        status_becomes(service, image["id"], "saving")
        assert service.ask("DELETE", f"/v1/images/{image['id']}").status == 200
        upload.send(b"q" * (200_000 - len(PART)))
        status, text = upload.finish()
    assert status == 412, text
    assert state(service, image["id"]) == "deleted"
    eventually(lambda: files_of(service, image["id"]) == [], "no bytes are left")


def test_a_second_upload_is_a_409_and_does_not_disturb_the_first(service: Service) -> None:
    image = make(service, **RAW)
    with _slow(service, image["id"], None) as upload:
        upload.send(PART)
        status_becomes(service, image["id"], "saving")
        second = put(service, image["id"], DATA)
        upload.send(PART)
        status, _ = upload.finish()
    assert (second.status, status) == (409, 200)
    assert service.ask("GET", f"/v1/images/{image['id']}").body == PART * 2
    assert len(files_of(service, image["id"])) == 1


def test_of_many_uploads_at_once_one_wins(service: Service) -> None:
    image = make(service, **RAW)
    bodies = [bytes([65 + number]) * 50_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: put(service, image["id"], body), bodies))
    assert sorted(answer.status for answer in answers) == [200] + [409] * 7
    winner = next(number for number, answer in enumerate(answers) if answer.status == 200)
    assert service.ask("GET", f"/v1/images/{image['id']}").body == bodies[winner]
    assert len(files_of(service, image["id"])) == 1


def test_of_many_posts_with_one_id_one_wins(service: Service) -> None:
    image_id = str(uuid.uuid4())
    headers = {**OCTET_STREAM, **meta(id=image_id, **RAW)}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: service.ask("POST", "/v1/images", bytes([number]) * 9, headers), range(8)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 7
    winner = next(number for number, answer in enumerate(answers) if answer.status == 201)
    assert service.ask("GET", f"/v1/images/{image_id}").body == bytes([winner]) * 9


def test_metadata_can_be_changed_during_an_upload(service: Service) -> None:
    image = make(service, **RAW)
    with _slow(service, image["id"], None) as upload:
        upload.send(PART)
        status_becomes(service, image["id"], "saving")
        assert put(service, image["id"], name="meanwhile", property_a="1").status == 200
        assert put(service, image["id"], status="active").status == 403
        status, text = upload.finish()
    assert status == 200, text
    found = service.ask("GET", f"/v1/images/{image['id']}")
    assert (found.headers["x-image-meta-name"], found.headers["x-image-meta-property-a"], found.body) == ("meanwhile", "1", PART)
