"""The crash table: whatever dies or goes away at whichever step of an upload or a delete, afterwards

- no image is active without all its bytes,
- none stays saving beyond the sweep,
- there are no bytes without an owner.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from image_service import faults
from image_service.model import Image, Status
from image_service.registry.database import DatabaseRegistry
from image_service.registry.engine import Database
from image_service.registry.interface import ImageQuery
from tests.disks import small_disk
from tests.functional.registries import migrated
from tests.functional.running import eventually
from tests.functional.service import Service, running_service
from tests.functional.uploading import Uploading
from tests.functional.v1 import RAW, meta, web_server
from tests.mariadb import MariaDB

DATA = os.urandom((5 << 20) + 12345)
HALF = len(DATA) // 2
VERSIONS = ("v1", "v2")
KINDS = [(version, chunked) for version in VERSIONS for chunked in (False, True)]
LEASE = "upload_lease = 2\n"
KINDS_OF_UPLOAD = pytest.mark.parametrize(
    ("version", "chunked"), KINDS, ids=[f"{v}-{'chunked' if c else 'length'}" for v, c in KINDS]
)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service that is configured and not started."""
    database = migrated(f"sqlite:///{tmp_path}/registry.db")
    with running_service(tmp_path, database, default=LEASE, start=False) as found:
        yield found


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A running service for the tests that kill nothing."""
    folder = tmp_path_factory.mktemp("crash")
    with running_service(folder, migrated(f"sqlite:///{folder}/registry.db"), default=LEASE) as found:
        yield found


def images(service: Service) -> dict[str, Image]:
    """Everything the registry knows, deleted ones too."""

    async def look() -> list[Image]:
        registry = DatabaseRegistry(Database(service.database))
        try:
            return await registry.list_images(ImageQuery(deleted=None))
        finally:
            await registry.aclose()

    return {image.id: image for image in asyncio.run(look())}


def settled(service: Service) -> dict[str, Image]:
    """Wait until the sweep is through, and hold what is left to the three promises."""

    def look() -> dict[str, Image] | None:
        found = images(service)
        busy = [i for i in found.values() if i.status is Status.SAVING or (i.status is Status.DELETED and not i.deleted)]
        owned = {i.id for i in found.values() if i.locations}
        return None if busy or set(os.listdir(service.images)) != owned else found

    found = eventually(look, "the sweep has put everything right")
    for image in found.values():
        if image.status is Status.ACTIVE:
            assert image.size == len(DATA)
            assert (service.images / image.id).read_bytes() == DATA
        else:
            assert image.locations == []
    return found


def restarted_without_faults(service: Service) -> None:
    service.kill()
    service.environment = {}
    service.start()


# -- kill -9 of image-api at each step -------------------------------------------------------------------------

# What an image is afterwards: v1, v2.
OUTCOMES = {
    "upload.before-lease": (Status.QUEUED, Status.QUEUED),
    "upload.after-lease": (Status.KILLED, Status.QUEUED),
    "upload.first-chunk": (Status.KILLED, Status.QUEUED),
    "upload.before-fsync": (Status.KILLED, Status.QUEUED),
    "upload.before-rename": (Status.KILLED, Status.QUEUED),
    "upload.after-rename": (Status.KILLED, Status.QUEUED),
    "upload.before-active": (Status.KILLED, Status.QUEUED),
    "upload.after-active": (Status.ACTIVE, Status.ACTIVE),
}


DELETING = ["delete.after-status", "delete.after-bytes"]


def test_the_table_is_complete() -> None:
    sources = (path.read_text() for path in Path(faults.__file__).parent.rglob("*.py"))
    assert {name for text in sources for name in re.findall(r'faults\.point\("(.+?)"\)', text)} == {*OUTCOMES, *DELETING}


@pytest.mark.parametrize("point", OUTCOMES)
def test_api_killed_during_uploads(service: Service, point: str) -> None:
    service.environment = {"IMAGE_SERVICE_FAULT": point}
    service.start()
    wanted = {}
    for version, chunked in KINDS:
        upload = Uploading.begin(service, version, chunked=chunked, size=len(DATA))
        upload.send(DATA)
        assert upload.finish() is None, f"{version} {chunked}: the process should have died"
        wanted[upload.image_id] = OUTCOMES[point][VERSIONS.index(version)]
    restarted_without_faults(service)
    assert {image.id: image.status for image in settled(service).values()} == wanted
    for image_id, status in wanted.items():
        if status is Status.QUEUED:
            again = Uploading.begin(service, "v2", chunked=True, size=len(DATA), image_id=image_id)
            again.send(DATA)
            assert again.finish() == 204
    settled(service)


@pytest.mark.parametrize("point", DELETING)
@pytest.mark.parametrize("version", VERSIONS)
def test_api_killed_during_a_delete(service: Service, point: str, version: str) -> None:
    service.environment = {"IMAGE_SERVICE_FAULT": point}
    service.start()
    spared, doomed = (service.image(DATA)["id"] for _ in range(2))
    with pytest.raises(ConnectionError):
        service.ask("DELETE", f"/{version}/images/{doomed}")
    restarted_without_faults(service)
    found = settled(service)
    assert (found[spared].status, found[spared].deleted) == (Status.ACTIVE, False)
    assert (found[doomed].status, found[doomed].deleted) == (Status.DELETED, True)


def test_everything_killed_between_two_pieces(service: Service) -> None:
    """The master and all workers at once, as when the machine loses its power."""
    service.start()
    uploads = [Uploading.begin(service, version, chunked=chunked, size=len(DATA)) for version, chunked in KINDS]
    for upload in uploads:
        upload.send(DATA[:HALF])
    eventually(lambda: len(os.listdir(service.images)) == len(KINDS), "all four uploads write")
    restarted_without_faults(service)
    for upload in uploads:
        upload.hang_up()
    statuses = sorted(image.status for image in settled(service).values())
    assert statuses == [Status.KILLED, Status.KILLED, Status.QUEUED, Status.QUEUED]


def test_everything_killed_during_a_copy(service: Service) -> None:
    """``copy-from`` goes on after its answer; nobody but the sweep will ever tell that it died."""
    service.start()
    with web_server() as web:
        headers = {**meta(name="copy", **RAW), "x-glance-api-copy-from": web.url("/wait")}
        answer = service.ask("POST", "/v1/images", headers=headers)
        assert answer.status == 201
        image_id = answer.json["image"]["id"]
        eventually(lambda: images(service)[image_id].status is Status.SAVING, "the copy runs")
        restarted_without_faults(service)
    assert settled(service)[image_id].status is Status.KILLED


# -- the registry and the database -----------------------------------------------------------------------------


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Service]:
    database = migrated(f"sqlite:///{tmp_path}/registry.db")
    short = LEASE + "registry_client_timeout = 3\n"
    with running_service(tmp_path, database, remote=True, default=short) as found:
        yield found


@KINDS_OF_UPLOAD
def test_registry_killed_during_an_upload(remote: Service, version: str, chunked: bool) -> None:
    upload = Uploading.begin(remote, version, chunked=chunked, size=len(DATA))
    upload.send(DATA[:HALF])
    eventually(lambda: os.listdir(remote.images), "the upload writes")
    remote.kill("image-registry")
    upload.send(DATA[HALF:])
    assert upload.finish() == 503
    remote.start_registry()
    assert settled(remote)[upload.image_id].status is (Status.KILLED if version == "v1" else Status.QUEUED)


def test_registry_restarted_while_an_upload_ends(remote: Service) -> None:
    upload = Uploading.begin(remote, "v2", chunked=True, size=len(DATA))
    upload.send(DATA[:HALF])
    eventually(lambda: os.listdir(remote.images), "the upload writes")
    remote.kill("image-registry")
    again = threading.Timer(1.0, remote.start_registry)
    again.start()
    upload.send(DATA[HALF:])
    assert upload.finish() == 204
    again.join()
    assert settled(remote)[upload.image_id].status is Status.ACTIVE


def test_database_killed_during_an_upload(mariadb: MariaDB, tmp_path: Path) -> None:
    database = migrated(mariadb.new_database())
    with running_service(tmp_path, database, default=LEASE) as service:
        uploads = [Uploading.begin(service, version, chunked=True, size=len(DATA)) for version in VERSIONS]
        for upload in uploads:
            upload.send(DATA[:HALF])
        eventually(lambda: len(os.listdir(service.images)) == len(uploads), "the uploads write")
        mariadb.kill()
        try:
            for upload in uploads:
                upload.send(DATA[HALF:])
                assert upload.finish() == 503
        finally:
            mariadb.start()
        assert {image.status for image in settled(service).values()} == {Status.KILLED, Status.QUEUED}


# -- clients that go away --------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [0, 1, HALF, len(DATA) - 1, len(DATA)])
@KINDS_OF_UPLOAD
def test_client_goes_away(running: Service, version: str, chunked: bool, sent: int) -> None:
    """``sent`` bytes and then nobody: with a length, all bytes are the whole image; in chunks, the end is missing."""
    uploads = []
    for reset in (False, True):
        upload = Uploading.begin(running, version, chunked=chunked, size=len(DATA))
        if sent:
            upload.send(DATA[:sent])
        if sent > 1 << 20:
            eventually(lambda: upload.image_id in " ".join(os.listdir(running.images)), "the upload writes")  # noqa: B023
        upload.hang_up(reset=reset)
        uploads.append(upload.image_id)
    allowed = {Status.KILLED, Status.QUEUED} if version == "v1" else {Status.QUEUED}
    if sent == len(DATA) and not chunked:
        allowed.add(Status.ACTIVE)

    def ended() -> bool:
        found = images(running)
        return {found[image_id].status for image_id in uploads if image_id in found} <= allowed

    eventually(ended, f"none but {allowed}")
    settled(running)


@pytest.mark.parametrize("rest", [b"", b"1000", b"1000\r\n", b"1000\r\nhalf a chunk", b"nonsense\r\n", b"-1\r\n\r\n", b"0\r\n"])
@pytest.mark.parametrize("version", VERSIONS)
def test_chunked_bodies_that_break(running: Service, version: str, rest: bytes) -> None:
    upload = Uploading.begin(running, version, chunked=True, size=len(DATA))
    upload.send(DATA[:HALF])
    upload.send_raw(rest)
    upload.hang_up()
    broken = Status.KILLED if version == "v1" else Status.QUEUED

    def broke() -> bool:
        found = images(running).get(upload.image_id)
        return found is not None and found.status is broken and upload.image_id not in " ".join(os.listdir(running.images))

    eventually(broke, f"{broken}, and nothing is left")


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("text", [b"", b"!", b"QQ==QQ=="], ids=["cut", "foreign", "padding"])
def test_base64_that_breaks(running: Service, chunked: bool, text: bytes) -> None:
    """Cut off by the client, or broken in the middle: no half of an image is kept."""
    encoded = base64.encodebytes(DATA)
    upload = Uploading.begin(running, "v1", chunked=chunked, size=len(encoded), headers={"Content-Transfer-Encoding": "base64"})
    upload.send(encoded[: len(encoded) // 2])
    eventually(lambda: upload.image_id in " ".join(os.listdir(running.images)), "the upload writes")
    if text:
        upload.send(text + encoded[len(encoded) // 2 + len(text) :])
        assert upload.finish() == 400
    else:
        upload.hang_up()
    assert settled(running)[upload.image_id].status is Status.KILLED


def test_after_all_those_clients(running: Service) -> None:
    """Nothing that began late and broke off either."""
    settled(running)
    assert {image.status for image in images(running).values()} <= {Status.KILLED, Status.QUEUED, Status.ACTIVE}


@KINDS_OF_UPLOAD
def test_deleted_and_then_killed(service: Service, version: str, chunked: bool) -> None:
    """Nobody is left who would remove the bytes, and the image is gone: the lease leads the sweep to them."""
    service.start()
    upload = Uploading.begin(service, version, chunked=chunked, size=len(DATA))
    upload.send(DATA[:HALF])
    eventually(lambda: os.listdir(service.images), "the upload writes")
    assert service.ask("DELETE", f"/{version}/images/{upload.image_id}").status in (200, 204)
    restarted_without_faults(service)
    upload.hang_up()
    assert settled(service)[upload.image_id].deleted


# -- a full disk, two writers, a delete in the middle ----------------------------------------------------------


@pytest.fixture
def small(service: Service) -> Iterator[Service]:
    """A service whose store is a disk of 12 MiB."""
    with small_disk(service.images, 12):
        service.start()
        yield service
        service.end()


def test_full_disk(small: Service) -> None:
    big = DATA * 4
    wanted = {}
    for version, chunked in KINDS:
        upload = Uploading.begin(small, version, chunked=chunked, size=len(big))
        upload.send(big)
        assert upload.finish() in (413, None)  # None: it was still sending when the server had answered
        wanted[upload.image_id] = Status.KILLED if version == "v1" else Status.QUEUED
    assert {image.id: image.status for image in settled(small).values()} == wanted
    assert small.image(DATA)["status"] == "active"
    settled(small)


@pytest.fixture
def crowded(tmp_path: Path) -> Iterator[Service]:
    """A service whose store and whose database share a disk of 16 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, 16), running_service(disk, migrated(f"sqlite:///{disk}/registry.db"), default=LEASE) as found:
        yield found


@pytest.mark.parametrize("left", [0, 88 << 10, 104 << 10, 256 << 10])
def test_an_upload_that_fills_the_disk_leaves_the_database_room(crowded: Service, left: int) -> None:
    data = os.urandom(shutil.disk_usage(crowded.folder).free - left)
    upload = Uploading.begin(crowded, "v2", chunked=True, size=len(data))
    upload.send(data)
    assert upload.finish() in (413, 503, None)  # 503: the database was the first that had no room
    assert settled(crowded)[upload.image_id].status is Status.QUEUED
    assert crowded.ask("DELETE", f"/v2/images/{upload.image_id}").status == 204


@pytest.mark.parametrize("version", VERSIONS)
def test_two_writers(running: Service, version: str) -> None:
    """Of eight at once, on two workers, exactly one wins."""
    image_id = running.image()["id"]
    pieces = [bytes([number]) * len(DATA) for number in range(8)]

    def write(data: bytes) -> int | None:
        upload = Uploading.begin(running, version, chunked=True, size=len(data), image_id=image_id)
        upload.send(data)
        return upload.finish()

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(write, pieces))
    won = [number for number, status in enumerate(answers) if status in (200, 204)]
    assert len(won) == 1, answers
    assert {status for status in answers if status not in (200, 204)} <= {409, None}
    assert (running.images / image_id).read_bytes() == pieces[won[0]]
    assert [name for name in os.listdir(running.images) if image_id in name] == [image_id]
    assert running.ask("DELETE", f"/v2/images/{image_id}").status == 204


@KINDS_OF_UPLOAD
@pytest.mark.parametrize("deleted_by", VERSIONS)
def test_delete_during_an_upload(running: Service, version: str, chunked: bool, deleted_by: str) -> None:
    upload = Uploading.begin(running, version, chunked=chunked, size=len(DATA))
    upload.send(DATA[:HALF])
    eventually(lambda: upload.image_id in " ".join(os.listdir(running.images)), "the upload writes")
    assert running.ask("DELETE", f"/{deleted_by}/images/{upload.image_id}").status in (200, 204)
    upload.send(DATA[HALF:])
    assert upload.finish() in (410, 412)
    found = settled(running)[upload.image_id]
    assert (found.status, found.deleted) == (Status.DELETED, True)
    assert upload.image_id not in " ".join(os.listdir(running.images))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_delete_ends_an_upload_that_stands_still(running: Service, version: str) -> None:
    """The renewal of its lease finds out; nobody waits for a client that sends nothing."""
    upload = Uploading.begin(running, version, chunked=False, size=len(DATA))
    upload.send(DATA[:HALF])
    eventually(lambda: upload.image_id in " ".join(os.listdir(running.images)), "the upload writes")
    assert running.ask("DELETE", f"/v2/images/{upload.image_id}").status == 204
    assert upload.finish() == (412 if version == "v1" else 410)
    assert settled(running)[upload.image_id].deleted
    assert upload.image_id not in " ".join(os.listdir(running.images))
