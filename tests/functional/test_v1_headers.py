"""Images API v1, contract A.3 to A.6: an image as JSON and as headers, and the headers of a request."""

from __future__ import annotations

import contextlib
import http.client
import re
from typing import Any

import pytest

from tests.functional.running import PATIENCE
from tests.functional.service import OCTET_STREAM, Service
from tests.functional.v1 import (
    DATA,
    DETAIL_KEYS,
    INDEX_KEYS,
    MD5,
    RAW,
    Headers,
    head,
    listed,
    make,
    meta,
    post,
    put,
    unique,
)

MICROSECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}")
TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("id", "name", "status", "disk_format", "container_format", "checksum", "created_at", "updated_at"), str),
    **dict.fromkeys(("size", "min_disk", "min_ram"), int),
    **dict.fromkeys(("is_public", "protected", "deleted"), bool),
    **dict.fromkeys(("owner", "virtual_size", "deleted_at"), type(None)),
    "properties": dict,
}


# -- JSON ------------------------------------------------------------------------


def test_an_image_has_its_keys_and_types_wherever_it_is_json(service: Service) -> None:
    name = unique()
    created = post(service, DATA, name=name, property_os="deb")
    image_id = created.json["image"]["id"]
    updated = put(service, image_id, min_ram=0)
    for image in (created.json["image"], updated.json["image"], listed(service, f"name={name}", kind="images/detail")[0]):
        assert set(image) == DETAIL_KEYS
        assert {key for key, kind in TYPES.items() if type(image[key]) is not kind} == set()
        assert image["properties"] == {"os": "deb"}
        assert image["status"] == "active"
    assert created.headers["content-type"].startswith("application/json")
    assert updated.headers["content-type"].startswith("application/json")
    brief = listed(service, f"name={name}")
    assert brief == [{"id": image_id, "name": name, "size": 64, **RAW, "checksum": MD5}]
    assert set(brief[0]) == INDEX_KEYS


def test_an_image_without_data_has_size_0_and_nulls(service: Service) -> None:
    image = post(service).json["image"]
    nulls = {key for key, value in image.items() if value is None}
    assert nulls == {"name", "disk_format", "container_format", "checksum", "owner", "virtual_size", "deleted_at"}
    assert (image["size"], image["min_disk"], image["min_ram"], image["properties"]) == (0, 0, 0, {})


def test_times_are_naive_utc_with_six_decimals_everywhere(service: Service) -> None:
    image = make(service, DATA)
    headers = head(service, image["id"]).headers
    for key in ("created_at", "updated_at"):
        assert MICROSECONDS.fullmatch(image[key])
        assert headers[f"x-image-meta-{key}"] == image[key]


def test_an_id_is_a_uuid_in_lower_case(service: Service) -> None:
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", make(service)["id"])


# -- headers of an answer ------------------------------------------------------------------------


def test_head_tells_everything_that_is_not_null(service: Service) -> None:
    image = make(service, DATA, property_os_distro="deb", property_empty="", protected="no", min_ram=7)
    answer = head(service, image["id"])
    assert answer.status == 200
    assert (answer.headers["content-type"], answer.headers["content-length"], answer.body) == (
        "text/html; charset=UTF-8",
        "0",
        b"",
    )
    assert answer.headers["etag"] == MD5
    told = {
        name.removeprefix("x-image-meta-"): value for name, value in answer.headers.items() if name.startswith("x-image-meta-")
    }
    assert told == {
        "id": image["id"], "name": image["name"], "size": "64", "status": "active", "checksum": MD5, "disk_format": "raw",
        "container_format": "bare", "min_disk": "0", "min_ram": "7", "is_public": "False", "protected": "False",
        "deleted": "False", "created_at": image["created_at"], "updated_at": image["updated_at"], "property-os_distro": "deb",
    }  # fmt: skip


def test_get_tells_the_same_and_sends_the_bytes(service: Service) -> None:
    image = make(service, DATA, property_a="b")
    answer = service.ask("GET", f"/v1/images/{image['id']}")
    assert answer.body == DATA
    assert (answer.headers["content-type"], answer.headers["content-length"]) == ("application/octet-stream", "64")
    told = [
        {k: v for k, v in a.headers.items() if k.startswith(("x-image", "etag"))} for a in (answer, head(service, image["id"]))
    ]
    assert told[0] == told[1]


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "bytes=0-3"},
        {"If-None-Match": MD5},
        {"If-None-Match": f'"{MD5}"'},
        {"Accept-Encoding": "gzip"},
        {"Accept": "text/plain"},
    ],
)
def test_get_sends_everything_whatever_else_is_asked(embedded: Service, headers: Headers) -> None:
    image = make(embedded, DATA)
    answer = embedded.ask("GET", f"/v1/images/{image['id']}", headers=headers)
    assert (answer.status, answer.body) == (200, DATA)


def test_a_queued_image_has_no_etag_and_size_0(service: Service) -> None:
    created = post(service)
    answer = head(service, created.json["image"]["id"])
    assert "etag" not in created.headers
    assert "etag" not in answer.headers
    assert "x-image-meta-checksum" not in answer.headers
    assert (answer.headers["x-image-meta-size"], answer.headers["x-image-meta-status"]) == ("0", "queued")


def test_post_and_put_send_the_etag_and_post_where_the_image_is(service: Service) -> None:
    created = post(service, DATA)
    image_id = created.json["image"]["id"]
    assert created.headers["location"] == f"http://127.0.0.1:{service.port}/v1/images/{image_id}"
    assert created.headers["etag"] == MD5
    assert put(service, image_id, name="x").headers["etag"] == MD5


def test_the_location_has_the_host_that_was_asked(embedded: Service) -> None:
    created = post(embedded, headers={"Host": "images.example.org"})
    assert created.headers["location"] == f"http://images.example.org/v1/images/{created.json['image']['id']}"


def test_a_delete_is_empty_html(service: Service) -> None:
    answer = service.ask("DELETE", f"/v1/images/{make(service)['id']}")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")
    assert answer.headers["content-type"] == "text/html; charset=UTF-8"


def test_header_names_are_capitalised_as_scripts_know_them(embedded: Service) -> None:
    image = make(embedded, DATA, property_os_distro="deb")
    names = {name for name, _ in _raw(embedded, "HEAD", f"/v1/images/{image['id']}", [])[1]}
    assert {
        "X-Image-Meta-Is_public",
        "X-Image-Meta-Property-Os_distro",
        "X-Image-Meta-Id",
        "Etag",
        "X-Openstack-Request-Id",
    } <= names


# -- headers of a request ------------------------------------------------------------------------

# headers sent, key of the image, wanted value
TAKEN: list[tuple[dict[str, str], str, Any]] = [
    ({"x-image-meta-disk_format": "qcow2"}, "disk_format", "qcow2"),
    ({"x-image-meta-disk-format": "qcow2"}, "disk_format", "qcow2"),
    ({"X-Image-Meta-Disk-Format": "qcow2"}, "disk_format", "qcow2"),
    ({"X-IMAGE-META-CONTAINER_FORMAT": "ovf"}, "container_format", "ovf"),
    ({"x_image_meta_disk_format": "qcow2"}, "disk_format", "qcow2"),
    ({"x_image_meta_property_os_distro": "deb"}, "properties", {"os_distro": "deb"}),
    # The same to the server of Glance: given twice.
    ({"x-image-meta-property-os-distro": "deb", "x-image-meta-property-os_distro": "12"}, "properties", {"os_distro": "deb,12"}),
    ({"x-image-meta-name": "two words"}, "name", "two words"),
    ({"x-image-meta-name": "Zürich 東京 🖼"}, "name", "Zürich 東京 🖼"),
    ({"x-image-meta-name": "a%20b"}, "name", "a%20b"),
    ({"x-image-meta-name": ""}, "name", None),
    ({"x-image-meta-name": "n" * 255}, "name", "n" * 255),
    ({"x-image-meta-min_ram": "512"}, "min_ram", 512),
    ({"x-image-meta-min-disk": "20"}, "min_disk", 20),
    ({"x-image-meta-min_disk": "2147483647"}, "min_disk", 2147483647),
    ({"x-image-meta-size": "77"}, "size", 77),
    ({"x-image-meta-owner": "somebody"}, "owner", "somebody"),
    ({"x-image-meta-checksum": "a" * 32}, "checksum", "a" * 32),
    ({"x-image-meta-id": "2f1b6f4a-3c6e-4f6e-9a44-000000000001"}, "id", "2f1b6f4a-3c6e-4f6e-9a44-000000000001"),
    ({"x-image-meta-status": "active"}, "status", "queued"),
    ({"x-image-meta-uri": "http://example.org/"}, "status", "queued"),
    ({"x-image-meta-updated_at": "2001-01-01T00:00:00"}, "status", "queued"),
    ({"x-image-meta-created_at": "2001-01-01T00:00:00"}, "status", "queued"),
    ({"x-image-meta-store": "file"}, "status", "queued"),
    ({"x-image-meta-is_public": "yes"}, "is_public", True),
    ({"x-image-meta-protected": "on"}, "protected", True),
    ({"x-image-meta-property-os-distro": "deb"}, "properties", {"os_distro": "deb"}),
    ({"X-Image-Meta-Property-OS_Distro": "deb"}, "properties", {"os_distro": "deb"}),
    ({"x-image-meta-property-city": "Zürich"}, "properties", {"city": "Zürich"}),
    ({"x-image-meta-property-empty": ""}, "properties", {"empty": None}),
    ({"x-image-meta-property-equals": "a=b; c, d"}, "properties", {"equals": "a=b; c, d"}),
    ({"x-image-meta-property-long": "v" * 8000}, "properties", {"long": "v" * 8000}),
    ({"x-image-meta-property-" + "p" * 255: "x"}, "properties", {"p" * 255: "x"}),
]


@pytest.mark.parametrize(("sent", "key", "wanted"), TAKEN)
def test_a_header_is_taken(service: Service, sent: dict[str, str], key: str, wanted: Any) -> None:
    created = service.ask("POST", "/v1/images", headers=sent)
    assert created.status == 201, created.text
    image = created.json["image"]
    assert image[key] == wanted
    headers = head(service, image["id"]).headers
    if key == "properties":
        told = {name.removeprefix("x-image-meta-property-"): value for name, value in headers.items() if "-property-" in name}
        assert told == {name: value for name, value in wanted.items() if value is not None}
    else:
        assert headers.get(f"x-image-meta-{key}") == (None if wanted is None else str(wanted))
    put(service, image["id"], protected="False")
    assert service.ask("DELETE", f"/v1/images/{image['id']}").status == 200


@pytest.mark.parametrize("flag", ["is_public", "protected"])
@pytest.mark.parametrize(
    "word", ["1", "t", "true", "on", "y", "yes", "True", "YES", "0", "false", "None", "no", "", "maybe", "2"]
)
def test_a_few_words_are_true_and_all_others_false(embedded: Service, flag: str, word: str) -> None:
    assert make(embedded, None, None, **{flag: word})[flag] is (word.lower() in ("1", "t", "true", "on", "y", "yes"))


# header, value, sentence of the 400
REFUSED = [
    ("x-image-meta-bogus", "1", "Bad header: x-image-meta-bogus"),
    ("X-Image-Meta-Virtual_Size", "1", "Bad header: x-image-meta-virtual-size"),
    ("x-image-meta-", "1", "Bad header: x-image-meta-"),
    ("x-image-meta-properties", "1", "Bad header: x-image-meta-properties"),
    ("x-image-meta-size", "x", "Cannot convert image size 'x' to an integer."),
    ("x-image-meta-size", "1_000", "Cannot convert image size '1_000' to an integer."),
    ("x-image-meta-size", "٣", "Cannot convert image size '٣' to an integer."),
    ("x-image-meta-size", "-1", "Image size must be >= 0 ('-1' specified)."),
    ("x-image-meta-min_ram", "x", "Cannot convert image min_ram 'x' to an integer."),
    ("x-image-meta-min_ram", "-1", "Image min_ram must be >= 0 ('-1' specified)."),
    ("x-image-meta-min_disk", "1.5", "Cannot convert image min_disk '1.5' to an integer."),
    ("x-image-meta-min-disk", "-7", "Image min_disk must be >= 0 ('-7' specified)."),
    ("x-image-meta-min_disk", "2147483648", "min_disk"),
    ("x-image-meta-size", "9223372036854775808", "size"),
    ("x-image-meta-name", "n" * 256, "Image name too long: 256"),
    ("x-image-meta-id", "not-a-uuid", "Invalid image id format"),
    ("x-image-meta-store", "nope", "equired store nope is invalid"),
    ("x-image-meta-disk_format", "x", "Invalid disk format 'x' for image."),
    ("x-image-meta-container_format", "x", "Invalid container format 'x' for image."),
    ("x-image-meta-property-" + "p" * 256, "x", "255"),
    ("x-image-meta-property-", "x", "A property needs a name."),
    ("x-image-meta-property_", "x", "A property needs a name."),
    ("x-image-meta-checksum", "a" * 33, "checksum"),
    ("x-image-meta-owner", "o" * 256, "owner"),
    ("x-image-meta-location", "", "location"),
    ("x-glance-api-copy-from", "", "copy_from"),
]


@pytest.mark.parametrize(("header", "value", "sentence"), REFUSED)
def test_a_bad_header_is_a_400_that_says_why_and_leaves_nothing(
    embedded: Service, header: str, value: str, sentence: str
) -> None:
    name = unique()
    answer = embedded.ask("POST", "/v1/images", headers={**meta(name=name), header: value})
    assert answer.status == 400, answer.text
    assert sentence in answer.text
    assert listed(embedded, f"name={name}&changes-since=2001-01-01&is_public=none") == []


@pytest.mark.parametrize(
    ("header", "value", "sentence"), [row for row in REFUSED if "-id" not in row[0] and "-store" not in row[0]]
)
def test_a_bad_header_changes_nothing(embedded: Service, header: str, value: str, sentence: str) -> None:
    image = make(embedded)
    answer = put(embedded, image["id"], headers={header: value}, property_new="x")
    assert answer.status == 400, answer.text
    assert sentence in answer.text
    assert listed(embedded, f"name={image['name']}", kind="images/detail") == [image]


def _raw(service: Service, method: str, path: str, headers: list[tuple[str, bytes]]) -> tuple[int, list[tuple[str, str]], bytes]:
    """A request whose header values are any bytes, and the headers of its answer as they are written."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.putrequest(method, path)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()


@pytest.mark.parametrize("header", ["x-image-meta-name", "x-image-meta-property-city", "x-image-meta-owner"])
def test_text_that_is_not_utf8_is_a_400(embedded: Service, header: str) -> None:
    status, _, body = _raw(embedded, "POST", "/v1/images", [(header, "Zürich".encode("latin-1")), ("Content-Length", b"0")])
    assert (status, b"UTF-8" in body) == (400, True)


def test_text_comes_back_as_utf8_bytes(embedded: Service) -> None:
    image = make(embedded, DATA, name="Zürich")
    _, headers, _ = _raw(embedded, "GET", f"/v1/images/{image['id']}", [])
    value = next(value for name, value in headers if name.lower() == "x-image-meta-name")
    assert value.encode("latin-1") == "Zürich".encode()


def test_a_data_request_with_a_bad_header_leaves_no_bytes(embedded: Service) -> None:
    before = sorted(embedded.images.rglob("*"))
    answer = embedded.ask("POST", "/v1/images", DATA, {**OCTET_STREAM, **meta(**RAW, bogus="1")})
    assert answer.status == 400
    assert sorted(embedded.images.rglob("*")) == before


# API v2 takes any text; what cannot stand in a header must not become two headers, or an error of the service.
ODD = [
    {"lines": "a\r\nX-Evil: 1"},
    {"tab": "a\tb"},
    {"two words": "x"},
    {"a:b": "x"},
    {"Zürich": "x"},
    {"nul": "a\x01b"},
    {" ": "x"},
]


@pytest.mark.parametrize("attributes", ODD)
def test_what_v2_takes_and_a_header_cannot_say_does_no_harm(service: Service, attributes: dict[str, str]) -> None:
    made = service.ask(
        "POST", "/v2/images", {"name": "odd\nname", "disk_format": "raw", "container_format": "bare", **attributes}
    )
    if made.status == 400:
        return
    image_id = made.json["id"]
    for answer in (head(service, image_id), service.ask("GET", f"/v1/images/{image_id}")):
        assert answer.status in (200, 404)
        assert "x-evil" not in answer.headers
    assert head(service, image_id).headers["x-image-meta-id"] == image_id
