"""Images API v1, contract A.7 and A.13: POST, and what of it is left when it is refused."""

from __future__ import annotations

import base64
import gzip
import hashlib
import uuid
from typing import Any

import pytest

from tests.conftest import running
from tests.functional.service import OCTET_STREAM, Service
from tests.functional.v1 import DATA, MD5, RAW, files_of, head, listed, make, meta, post, state, unique

EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e"
BINARY = bytes(range(256)) * 257
TEXT = base64.encodebytes(BINARY)
ZIPPED = gzip.compress(DATA, mtime=0)
BASE64 = {"Content-Transfer-Encoding": "base64"}
NOTHING = {"disk_format": None, "container_format": None, "checksum": None}


def _chunks(data: bytes) -> Any:
    """The data as chunks of a chunked body."""
    return iter([data[at : at + 1000] for at in range(0, len(data), 1000)])


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


# what the metadata say, the body, headers beside, wanted parts of the image
MADE: list[tuple[str, dict[str, object], Any, dict[str, str], dict[str, Any]]] = [
    ("nothing", {}, None, {}, {"status": "queued", "size": 0, **NOTHING}),
    ("a declared size", {"size": 77}, None, {}, {"status": "queued", "size": 77}),
    ("formats without data", RAW, None, {}, {"status": "queued", **RAW}),
    ("one format without data", {"disk_format": "iso"}, None, {}, {"status": "queued", **NOTHING, "disk_format": "iso"}),
    ("a size of 0", {"size": 0}, None, {}, {"status": "active", "size": 0, "checksum": None, "disk_format": None}),
    ("a body of length 0", RAW, b"", {}, {"status": "queued", "size": 0, "checksum": None}),
    ("data", RAW, DATA, {}, {"status": "active", "size": 64, "checksum": MD5}),
    ("data, type with charset", RAW, DATA, {"Content-Type": "application/octet-stream; charset=x"}, {"status": "active"}),
    ("data and a type in capitals", RAW, DATA, {"Content-Type": "Application/Octet-Stream"}, {"status": "active"}),
    ("data and its size", {**RAW, "size": 64}, DATA, {}, {"status": "active", "size": 64}),
    ("data and its checksum", {**RAW, "checksum": MD5}, DATA, {}, {"status": "active", "checksum": MD5}),
    ("data and an empty checksum", {**RAW, "checksum": ""}, DATA, {}, {"status": "active", "checksum": MD5}),
    ("data and an empty size", {**RAW, "size": ""}, DATA, {}, {"status": "active", "size": 64}),
    ("data and a size of 0", {**RAW, "size": 0}, DATA, {}, {"status": "active", "size": 64}),
    ("data in chunks", RAW, _chunks, {}, {"status": "active", "size": 65792}),
    ("data in chunks and the size", {**RAW, "size": 65792}, _chunks, {}, {"status": "active", "size": 65792}),
    ("no chunks", RAW, iter, {}, {"status": "active", "size": 0, "checksum": EMPTY_MD5}),
    ("data that say they are zipped", RAW, ZIPPED, {"Content-Encoding": "gzip"}, {"checksum": _md5(ZIPPED)}),
    ("base64 without saying so", RAW, TEXT, {}, {"size": len(TEXT), "checksum": _md5(TEXT)}),
    ("base64", RAW, TEXT, BASE64, {"size": 65792, "checksum": _md5(BINARY)}),
    ("base64 in capitals", RAW, TEXT, {"content-transfer-encoding": "BASE64"}, {"size": 65792, "checksum": _md5(BINARY)}),
    ("base64 and the image's size", {**RAW, "size": 65792}, TEXT, BASE64, {"size": 65792}),
    ("base64 and the image's checksum", {**RAW, "checksum": _md5(BINARY)}, TEXT, BASE64, {"size": 65792}),
    ("binary and saying so", RAW, BINARY, {"Content-Transfer-Encoding": "binary"}, {"size": 65792, "checksum": _md5(BINARY)}),
    ("a size that only v2 knows", RAW, DATA, {"x-openstack-image-size": "7"}, {"status": "active", "size": 64}),
    ("a store by its scheme", {**RAW, "store": "file"}, DATA, {}, {"status": "active"}),
    ("a store by its old name", {**RAW, "store": "filesystem"}, DATA, {}, {"status": "active"}),
    ("a deleted image", {"deleted": "True"}, None, {}, {"status": "queued", "deleted": False}),
    ("what glanceclient sends", {**RAW, "size": 65792, "is_public": "None", "protected": "False"}, _chunks,
     {"X-Auth-Token": "x", "User-Agent": "python-glanceclient"}, {"status": "active", "is_public": False, "size": 65792}),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "body", "headers", "wanted"), [row[1:] for row in MADE], ids=[row[0] for row in MADE])
def test_post_makes(
    embedded: Service, fields: dict[str, object], body: Any, headers: dict[str, str], wanted: dict[str, Any]
) -> None:
    data = body(BINARY) if body is _chunks else body(()) if body is iter else body
    kind = OCTET_STREAM if body is not None else {}
    answer = embedded.ask("POST", "/v1/images", data, {**kind, **meta(**fields), **headers})
    assert answer.status == 201, answer.text
    image = answer.json["image"]
    assert {key: image[key] for key in wanted} == wanted
    seen = head(embedded, image["id"]).headers
    assert (seen["x-image-meta-status"], seen["x-image-meta-size"]) == (image["status"], str(image["size"]))
    if image["status"] == "active" and image["checksum"]:
        got = embedded.ask("GET", f"/v1/images/{image['id']}")
        assert _md5(got.body) == image["checksum"] == got.headers["etag"]
        assert len(got.body) == image["size"] == int(got.headers["content-length"])


def test_an_image_without_bytes_that_is_active_can_be_read(service: Service) -> None:
    answer = service.ask("GET", f"/v1/images/{make(service, size=0)['id']}")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")


# -- refusals: nothing is registered, no bytes are kept -------------------------------------------------------------------

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
HTTP = "http://127.0.0.1:9/x"

# metadata, body, headers, status, sentence
REFUSED: list[tuple[str, dict[str, object], Any, dict[str, str], int, str]] = [
    ("a form", RAW, DATA, FORM, 400, "application/octet-stream"),
    ("a form names curl's option", RAW, DATA, FORM, 400, "--data-binary @FILE"),
    ("a form with a charset", RAW, DATA, {"Content-Type": FORM["Content-Type"] + "; charset=utf-8"}, 400, "--data-binary @FILE"),
    ("a multipart form", RAW, DATA, {"Content-Type": "multipart/form-data; boundary=x"}, 400, "--data-binary @FILE"),
    ("JSON", RAW, b"{}", {"Content-Type": "application/json"}, 400, "Content-Type must be application/octet-stream"),
    ("text", RAW, DATA, {"Content-Type": "text/plain"}, 400, "Content-Type must be application/octet-stream"),
    ("an empty type", RAW, DATA, {"Content-Type": ""}, 400, "Content-Type must be application/octet-stream"),
    ("a form in chunks", RAW, _chunks, FORM, 400, "application/octet-stream"),
    ("data without formats", {"disk_format": "raw"}, DATA, {}, 400, "nvalid container format 'None' for image"),
    ("data without any format", {}, DATA, {}, 400, "nvalid disk format 'None' for image"),
    ("an empty format", {"disk_format": "", "container_format": "bare"}, DATA, {}, 400, "Invalid disk format 'None' for image"),
    ("an empty format without data", {"container_format": ""}, None, {}, 400, "Invalid container format 'None' for image"),
    ("an unknown disk format", {"disk_format": "x"}, None, {}, 400, "Invalid disk format 'x' for image."),
    (
        "an unknown container format",
        {"disk_format": "raw", "container_format": "x"},
        DATA,
        {},
        400,
        "Invalid container format 'x' for image.",
    ),
    (
        "a format in capitals",
        {"disk_format": "RAW", "container_format": "bare"},
        DATA,
        {},
        400,
        "Invalid disk format 'RAW' for image.",
    ),
    (
        "an Amazon mix",
        {"disk_format": "ami", "container_format": "bare"},
        DATA,
        {},
        400,
        "Invalid mix of disk and container formats",
    ),
    (
        "another Amazon mix",
        {"disk_format": "raw", "container_format": "aki"},
        None,
        {},
        400,
        "Invalid mix of disk and container formats",
    ),
    (
        "two Amazons",
        {"disk_format": "ari", "container_format": "aki"},
        None,
        {},
        400,
        "Invalid mix of disk and container formats",
    ),
    ("data and a location", {**RAW, "location": HTTP}, DATA, {}, 400, "It's invalid to provide multiple image sources."),
    ("data and copy-from", RAW, DATA, {"x-glance-api-copy-from": HTTP}, 400, "It's invalid to provide multiple image sources."),
    (
        "a location and copy-from",
        {"location": HTTP, "copy_from": HTTP},
        None,
        {},
        400,
        "It's invalid to provide multiple image sources.",
    ),
    ("an unknown store", {**RAW, "store": "nope"}, DATA, {}, 400, "equired store nope is invalid"),
    ("a store that cannot write", {**RAW, "store": "http"}, DATA, {}, 410, "Adding images to store is disabled"),
    ("a name too long", {**RAW, "name": "n" * 256}, DATA, {}, 400, "Image name too long: 256"),
    ("a bad header", {**RAW, "bogus": "1"}, DATA, {}, 400, "Bad header: x-image-meta-bogus"),
]


@pytest.mark.parametrize(
    ("fields", "body", "headers", "status", "sentence"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_post_refuses_and_leaves_nothing(
    embedded: Service, fields: dict[str, object], body: Any, headers: dict[str, str], status: int, sentence: str
) -> None:
    image_id = str(uuid.uuid4())
    data = body(BINARY) if body is _chunks else body
    kind = OCTET_STREAM if body is not None else {}
    answer = embedded.ask("POST", "/v1/images", data, {**kind, **meta(**{"id": image_id, **fields}), **headers})
    assert answer.status == status, answer.text
    assert sentence in answer.text
    assert state(embedded, image_id) == "absent"
    assert files_of(embedded, image_id) == []


# metadata, body, headers, sentence
KILLED: list[tuple[str, dict[str, object], bytes, dict[str, str], str]] = [
    ("another size", {"size": 7}, DATA[:4], {}, "upplied size (7) and size generated from uploaded image (4) did not match"),
    (
        "another checksum",
        {"checksum": "a" * 32},
        DATA,
        {},
        f"({'a' * 32}) and checksum generated from uploaded image ({MD5}) did not match",
    ),
    ("a checksum in capitals", {"checksum": MD5.upper()}, DATA, {}, "did not match"),
    ("base64 of another size", {"size": 5}, b"QUJD", BASE64, "upplied size (5)"),
    ("foreign characters", {}, b"QUJ!", BASE64, "not base64 as announced: at byte 3"),
    ("a group cut off", {}, b"QUJDRE", BASE64, "cut off"),
    ("data behind the padding", {}, b"QQ==QUJD", BASE64, "padding"),
    ("bytes instead of base64", {}, BINARY, BASE64, "not base64"),
    ("much base64, then not", {}, TEXT * 30 + b"*", BASE64, "not base64"),
]


@pytest.mark.parametrize(("fields", "body", "headers", "sentence"), [row[1:] for row in KILLED], ids=[row[0] for row in KILLED])
def test_data_that_are_not_what_was_said_kill_the_image(
    service: Service, fields: dict[str, object], body: bytes, headers: dict[str, str], sentence: str
) -> None:
    image_id, name = str(uuid.uuid4()), unique()
    answer = post(service, body, headers, id=image_id, name=name, **fields)
    assert answer.status == 400
    assert sentence in answer.text
    assert state(service, image_id) == "killed"
    assert files_of(service, image_id) == []
    assert service.ask("GET", f"/v1/images/{image_id}").status == 404
    assert listed(service, f"name={name}&is_public=none") == []
    assert service.ask("DELETE", f"/v1/images/{image_id}").status == 200


# -- ids -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delete_first", [False, True])
@pytest.mark.parametrize("data", [None, DATA])
def test_an_id_is_never_used_twice(service: Service, delete_first: bool, data: bytes | None) -> None:
    image_id = make(service, data)["id"]
    if delete_first:
        assert service.ask("DELETE", f"/v1/images/{image_id}").status == 200
    files = files_of(service, image_id)
    answer = post(service, BINARY, id=image_id)
    assert answer.status == 409
    assert image_id in answer.text
    assert state(service, image_id) == ("deleted" if delete_first else "active" if data else "queued")
    assert files_of(service, image_id) == files


@pytest.mark.parametrize(
    "image_id",
    ["not-a-uuid", "1", "g" * 32, "2f1b6f4a-3c6e-4f6e-9a44", "../../../etc/passwd", "{%s}" % ("a" * 32), "----" + "a" * 32],
)
def test_an_id_is_a_uuid(embedded: Service, image_id: str) -> None:
    answer = post(embedded, DATA, id=image_id)
    assert answer.status == 400
    assert "Invalid image id format" in answer.text


# -- formats ---------------------------------------------------------------------------------------------------------------

DISKS = ("ami", "ari", "aki", "vhd", "vmdk", "raw", "qcow2", "vdi", "iso")
CONTAINERS = ("ami", "ari", "aki", "bare", "ovf", "ova")


@pytest.mark.parametrize("disk", DISKS)
def test_every_disk_format_is_taken(embedded: Service, disk: str) -> None:
    container = disk if disk.startswith("a") else "bare"
    image = make(embedded, DATA, disk_format=disk, container_format=container)
    assert (image["disk_format"], image["container_format"], image["status"]) == (disk, container, "active")


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_format_is_taken(embedded: Service, container: str) -> None:
    disk = container if container.startswith("a") else "qcow2"
    image = make(embedded, DATA, disk_format=disk, container_format=container)
    assert (image["disk_format"], image["container_format"], image["status"]) == (disk, container, "active")


@pytest.mark.parametrize("given", ["disk_format", "container_format"])
@pytest.mark.parametrize("kind", ["ami", "ari", "aki"])
def test_of_amazon_formats_one_says_the_other(embedded: Service, given: str, kind: str) -> None:
    answer = embedded.ask("POST", "/v1/images", DATA, {**OCTET_STREAM, **meta(**{given: kind})})
    assert answer.status == 201
    assert (answer.json["image"]["disk_format"], answer.json["image"]["container_format"]) == (kind, kind)


def test_the_formats_are_options(
    request: pytest.FixtureRequest, services: dict[tuple[str, str], Service], tmp_path_factory: pytest.TempPathFactory
) -> None:
    formats = "[image_format]\ndisk_formats = raw,tape\ncontainer_formats = bare,crate\n"
    service = running("sqlite", "formats", request, services, tmp_path_factory, sections=formats)
    assert post(service, disk_format="tape", container_format="crate").status == 201
    assert post(service, disk_format="qcow2", container_format="bare").status == 400
    assert post(service, disk_format="raw", container_format="ovf").status == 400
