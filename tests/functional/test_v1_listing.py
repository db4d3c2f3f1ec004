"""Images API v1, contract A.10: filters, sorts and pages of the two lists."""

from __future__ import annotations

import datetime
import time
import uuid
from typing import Any
from urllib.parse import quote

import pytest

from tests.functional.service import OCTET_STREAM, Service
from tests.functional.v1 import DATA, DETAIL_KEYS, INDEX_KEYS, RAW, listed, make, meta, put

KINDS = ("images", "images/detail")

# The images that the filters choose from; their names are these letters behind a prefix that is the service's own.
STOCK: dict[str, dict[str, Any]] = {
    "a": {"size": 10, "min_ram": 1, "min_disk": 4, "disk_format": "raw", "container_format": "bare", "property_os": "deb"},
    "b": {"size": 20, "min_ram": 2, "min_disk": 3, "disk_format": "qcow2", "container_format": "bare", "is_public": "True"},
    "c": {"size": 30, "min_ram": 2, "min_disk": 2, "disk_format": "iso", "container_format": "ovf", "protected": "True"},
    "d": {"size": 40, "min_ram": 0, "min_disk": 1, "property_os": "deb", "property_arch": "x86", "is_public": "True"},
    "e": {"size": 0, "min_ram": 9, "min_disk": 0, "property_os": "Deb"},
}


@pytest.fixture(scope="module")
def prefixes() -> dict[int, str]:
    """The prefix of the stock's names, by the port of its service."""
    return {}


@pytest.fixture
def prefix(service: Service, prefixes: dict[int, str]) -> str:
    """The prefix of the names of the images in ``service``; made when it is first asked for."""
    if service.port not in prefixes:
        prefixes[service.port] = f"list-{uuid.uuid4()}-"
        for letter, fields in STOCK.items():
            make(
                service,
                name=prefixes[service.port] + letter,
                headers={"x-image-meta-property-stock": prefixes[service.port]},
                **fields,
            )
    return prefixes[service.port]


def _letters(service: Service, prefix: str, query: str, kind: str = "images") -> str:
    """The images of the stock that a query finds, as letters in their order."""
    found = listed(service, f"property-stock={prefix}&{query}", kind=kind)
    return "".join(image["name"].removeprefix(prefix) for image in found)


# query, images in their order (the newest first unless the query says otherwise)
FILTERS = [
    ("", "edcba"),
    ("name={prefix}b", "b"),
    ("name={prefix}B", ""),
    ("name={prefix}", ""),
    ("status=queued", "dcba"),
    ("status=active", "e"),
    ("status=nonsense", ""),
    ("disk_format=qcow2", "b"),
    ("container_format=bare", "ba"),
    ("container_format=bare&disk_format=raw", "a"),
    ("min_ram=2", "cb"),
    ("min_ram=0", "d"),
    ("min_disk=3", "b"),
    ("size_min=20", "dcb"),
    ("size_max=20", "eba"),
    ("size_min=20&size_max=30", "cb"),
    ("size_min=41", ""),
    ("size_min=0", "edcba"),
    ("protected=true", "c"),
    ("protected=True", "c"),
    ("protected=1", "c"),
    ("protected=false", "edba"),
    ("protected=0", "edba"),
    ("protected=none", "edcba"),
    ("is_public=true", "db"),
    ("is_public=1", "db"),
    ("is_public=True", "db"),
    ("is_public=false", "eca"),
    ("is_public=0", "eca"),
    ("is_public=none", "edcba"),
    ("is_public=None", "edcba"),
    ("property-os=deb", "da"),
    ("property-os=Deb", "e"),
    ("property-os=deb&property-arch=x86", "d"),
    ("property-os=nothing", ""),
    ("property-nothing=deb", ""),
    ("owner=nobody", "edcba"),
    ("checksum=nothing", "edcba"),
    ("deleted=true", "edcba"),
    ("id=nothing", "edcba"),
    ("nonsense=1", "edcba"),
    ("limit=2", "ed"),
    ("limit=0", ""),
    ("limit=1000000", "edcba"),
    ("name=nothing&name={prefix}c", "c"),
    ("status=killed", ""),
    ("status=deleted", ""),
    # sorts
    ("sort_key=name&sort_dir=asc", "abcde"),
    ("sort_key=name&sort_dir=desc", "edcba"),
    ("sort_key=name", "edcba"),
    ("sort_dir=asc", "abcde"),
    ("sort_key=created_at&sort_dir=asc", "abcde"),
    ("sort_key=created_at&sort_dir=desc", "edcba"),
    ("sort_key=size&sort_dir=asc", "eabcd"),
    ("sort_key=size&sort_dir=desc", "dcbae"),
    ("sort_key=disk_format&sort_dir=asc", "decba"),
    ("sort_key=disk_format&sort_dir=desc", "abced"),
    ("sort_key=container_format&sort_dir=asc", "deabc"),
    ("sort_key=container_format&sort_dir=desc", "cbaed"),
    ("sort_key=status&sort_dir=asc", "eabcd"),
    ("sort_key=status&sort_dir=desc", "dcbae"),
    # what python-glanceclient asks
    ("limit=20&sort_key=name&sort_dir=asc", "abcde"),
    ("limit=20&sort_key=name&sort_dir=asc&is_public=None", "abcde"),
]


@pytest.mark.parametrize(("query", "wanted"), FILTERS)
def test_a_list_has(service: Service, prefix: str, query: str, wanted: str) -> None:
    assert _letters(service, prefix, query.format(prefix=prefix), "images/detail") == wanted


@pytest.mark.parametrize(
    "query", ["", "name={prefix}b", "size_min=20", "is_public=true", "sort_key=name&sort_dir=asc", "limit=2"]
)
def test_both_lists_have_the_same_images(service: Service, prefix: str, query: str) -> None:
    found = [_letters(service, prefix, query.format(prefix=prefix), kind) for kind in KINDS]
    assert found[0] == found[1] != ""


@pytest.mark.parametrize(("key", "field"), [("updated_at", "updated_at"), ("id", "id")])
@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_a_list_is_sorted_by(service: Service, prefix: str, key: str, field: str, direction: str) -> None:
    found = listed(service, f"property-stock={prefix}&sort_key={key}&sort_dir={direction}", kind="images/detail")
    values = [image[field] for image in found]
    assert len(values) == 5
    assert values == sorted(values, reverse=direction == "desc")


# query, sentence
BAD = [
    ("min_ram=x", "min_ram"), ("min_ram=-1", "min_ram"),
    ("size_min=x", "size_min"), ("size_min=-1", "size_min"), ("size_max=x", "size_max"), ("size_max=-1", "size_max"),
    ("is_public=maybe", "is_public"), ("is_public=", "is_public"), ("protected=maybe", "protected"),
    ("changes-since=x", "Unrecognized changes-since value"), ("changes-since=", "Unrecognized changes-since value"),
    ("changes-since=2014-13-01", "Unrecognized changes-since value"),
    ("marker=x", "Invalid marker"), ("marker=", "Invalid marker"),
    ("marker=" + str(uuid.UUID(int=7)), "Invalid marker"),
    ("limit=1_0", "limit"), ("limit=%D9%A3", "limit"), ("limit=-1", "limit"),
    ("limit=x", "limit"), ("limit=", "limit"), ("limit=1.5", "limit"),
    ("sort_key=nonsense", "sort_key"), ("sort_key=checksum", "sort_key"), ("sort_key=", "sort_key"),
    ("sort_dir=up", "sort_dir"), ("sort_dir=", "sort_dir"), ("sort_dir=ASC", "sort_dir"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "sentence"), BAD)
def test_a_query_that_makes_no_sense_is_a_400(embedded: Service, query: str, sentence: str) -> None:
    assert embedded.ask("GET", f"/v1/images?{query}").status == 400
    answer = embedded.ask("GET", f"/v1/images/detail?{query}")
    assert answer.status == 400
    assert sentence in answer.text


@pytest.mark.parametrize("number", ["x", "-1", "1.5", ""])
def test_a_min_disk_that_is_no_number_is_nobodys(embedded: Service, number: str) -> None:
    assert listed(embedded, f"min_disk={number}") == []


def test_a_filter_takes_any_text(service: Service) -> None:
    name = f"{uuid.uuid4()} ☃ & 100% = +"
    image = make(service, name=name, property_text=name)
    for query in (f"name={quote(name)}", f"property-text={quote(name)}"):
        assert [found["id"] for found in listed(service, query)] == [image["id"]]
    assert listed(service, f"name={quote(name.replace('☃', '☂'))}") == []


def test_the_two_lists_tell_their_keys(service: Service, prefix: str) -> None:
    for kind, keys in zip(KINDS, (INDEX_KEYS, DETAIL_KEYS), strict=True):
        answer = service.ask("GET", f"/v1/{kind}?property-stock={prefix}")
        assert set(answer.json) == {"images"}
        assert [set(image) for image in answer.json["images"]] == [keys] * 5
        assert answer.headers["content-type"].startswith("application/json")


def test_the_detail_has_the_properties_of_each_image(service: Service, prefix: str) -> None:
    found = listed(service, f"property-stock={prefix}", kind="images/detail")
    told = {image["name"].removeprefix(prefix): image["properties"] for image in found}
    assert told["d"] == {"stock": prefix, "os": "deb", "arch": "x86"}
    assert told["b"] == {"stock": prefix}


# -- pages -----------------------------------------------------------------------------------------------------------------

SORTS = ["", *(f"sort_key={key}&sort_dir={way}" for way in ("asc", "desc") for key in (
    "name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at"))]  # fmt: skip


@pytest.mark.parametrize("sort", SORTS)
def test_pages_by_marker_have_every_image_once(service: Service, prefix: str, sort: str) -> None:
    query = f"property-stock={prefix}&{sort}"
    wanted = [image["id"] for image in listed(service, query)]
    found: list[str] = []
    while page := listed(service, f"{query}&limit=2" + (f"&marker={found[-1]}" if found else "")):
        assert len(page) <= 2
        found += [image["id"] for image in page]
    assert found == wanted
    assert len(set(found)) == 5


def test_a_page_has_25_images_unless_the_client_says_otherwise(embedded: Service) -> None:
    name = str(uuid.uuid4())
    for _ in range(26):
        make(embedded, name=name)
    assert len(listed(embedded, f"name={name}")) == 25
    assert len(listed(embedded, f"name={name}&limit=30")) == 26


def test_there_is_no_next_link(service: Service, prefix: str) -> None:
    assert set(service.ask("GET", f"/v1/images?property-stock={prefix}&limit=1").json) == {"images"}


@pytest.mark.parametrize("deleted", [False, True])
def test_a_marker_need_not_be_in_the_list_itself(service: Service, deleted: bool) -> None:
    name = f"marker-{uuid.uuid4()}"
    first, marker = make(service, name=name), make(service)
    if deleted:
        assert service.ask("DELETE", f"/v1/images/{marker['id']}").status == 200
    make(service, name=name)
    assert [image["id"] for image in listed(service, f"name={name}&marker={marker['id']}")] == [first["id"]]


# -- changes-since ---------------------------------------------------------------------------------------------------------


def _before_and_after(service: Service) -> tuple[str, str, list[str]]:
    """A property that four images share, a time after two of them changed last, and the ids of the others."""
    mark = uuid.uuid4().hex
    name = f"since-{mark}"
    old, changed = make(service, name=name), make(service, name=name)
    last = max(old["updated_at"], changed["updated_at"])
    while (moment := datetime.datetime.now(datetime.UTC).replace(tzinfo=None).isoformat(timespec="microseconds")) <= last:
        time.sleep(0.001)
    put(service, changed["id"], min_ram=1)
    gone = make(service, name=name)
    service.ask("DELETE", f"/v1/images/{gone['id']}")
    killed = str(uuid.uuid4())
    service.ask("POST", "/v1/images", DATA, {**OCTET_STREAM, **meta(id=killed, name=name, size=3, **RAW)})
    return name, moment, [changed["id"], gone["id"], killed]


def test_changes_since_has_what_changed_later_also_deleted_and_killed_images(service: Service) -> None:
    name, moment, wanted = _before_and_after(service)
    found = listed(service, f"name={name}&changes-since={moment}", kind="images/detail")
    assert {image["id"] for image in found} == set(wanted)
    assert sorted((image["status"], image["deleted"]) for image in found) == [
        ("deleted", True),
        ("killed", False),
        ("queued", False),
    ]
    assert all(image["updated_at"] > moment for image in found)
    assert "deleted" not in {image["status"] for image in listed(service, f"name={name}", kind="images/detail")}


def test_changes_since_is_strictly_later(service: Service) -> None:
    image = make(service)
    assert listed(service, f"name={image['name']}&changes-since={image['updated_at']}") == []


# times that lie before, and behind, everything
@pytest.mark.parametrize("text", ["2001-01-01", "2001-01-01T00:00:00", "2001-01-01T00:00:00Z", "2001-01-01T00:00:00.5+02:00",
                                  "2001-01-01T00:00:00-0500", "2001-01-01 00:00:00"])  # fmt: skip
@pytest.mark.parametrize("encoded", [False, True])
def test_changes_since_takes_times_as_people_write_them(embedded: Service, text: str, encoded: bool) -> None:
    image = make(embedded)
    since = quote(text) if encoded else text.replace(" ", "%20")
    assert len(listed(embedded, f"name={image['name']}&changes-since={since}")) == 1
    later = since.replace("2001-01-01", "2999-01-01")
    assert listed(embedded, f"name={image['name']}&changes-since={later}") == []


def test_the_offset_of_a_time_counts(embedded: Service) -> None:
    image = make(embedded)
    made = datetime.datetime.fromisoformat(image["updated_at"])
    for hours, wanted in ((-1, 1), (1, 0)):
        there = (made + datetime.timedelta(hours=5, seconds=hours * 60)).isoformat() + "+05:00"
        assert len(listed(embedded, f"name={image['name']}&changes-since={quote(there)}")) == wanted


@pytest.mark.parametrize("path", ["images", "images/detail", "images/{id}/members", "shared-images/nobody"])
def test_lists_say_their_charset(embedded: Service, path: str) -> None:
    answer = embedded.ask("GET", f"/v1/{path.format(id=make(embedded)['id'])}")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json; charset=UTF-8")
    assert put(embedded, make(embedded)["id"], name="x").headers["content-type"] == "application/json"
