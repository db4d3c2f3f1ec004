"""GET /v2/images (contract C.10): every filter, operators, sorts, pages and their links."""

from __future__ import annotations

import json
import uuid
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from tests.functional.service import Service
from tests.functional.v1 import post
from tests.functional.v2 import NOBODY

_SHELVES: dict[int, str] = {}
_IDS: dict[int, dict[str, str]] = {}

# Each shelf: its images, in the order in which they were made. All carry the shelf's own tag.
IMAGES: list[dict[str, Any]] = [
    {"name": "alpha", "data": b"a" * 10, "tags": ["x"], "os_distro": "debian", "min_disk": 1},
    {"name": "beta", "data": b"b" * 20, "tags": ["x", "y"], "disk_format": "qcow2", "visibility": "public", "min_ram": 512},
    {"name": "gamma", "data": b"c" * 30, "tags": ["y z"], "container_format": "ova", "protected": True, "owner": "somebody"},
    {"name": "with, comma", "visibility": "private", "os_distro": "alma"},
    {"name": 'with "quotes"', "disk_format": "iso"},
    {"name": "ümläut ☃", "data": b"e"},
    {"name": "hidden", "os_hidden": True, "tags": ["x"]},
]
SEEN = [image["name"] for image in reversed(IMAGES[:6])]
"""What a list without filters has, newest first."""


def _shelf(service: Service) -> str:
    """The tag of this service's shelf, filled when it is first asked for."""
    if service.port not in _SHELVES:
        shelf = _SHELVES[service.port] = f"shelf-{uuid.uuid4()}"
        _IDS[service.port] = {}
        for number, image in enumerate(IMAGES):
            _IDS[service.port][image["name"]] = _put(service, number, shelf, dict(image))
    return _SHELVES[service.port]


def _put(service: Service, number: int, shelf: str, image: dict[str, Any]) -> str:
    data = image.pop("data", None)
    # Ids that grow break ties of a second in the order in which the images were made.
    own_id = f"{number + 1:08x}-{str(uuid.uuid4())[9:]}"
    made = service.image(data, id=own_id, **{**image, "tags": [*image.get("tags", ()), shelf]})
    return str(made["id"])


def _names(service: Service, query: list[tuple[str, str]]) -> list[str]:
    answer = service.ask("GET", "/v2/images?" + urlencode([("tag", _shelf(service)), *query]))
    assert answer.status == 200, answer.text
    return [image["name"] for image in answer.json["images"]]


BY_SIZE_MADE = ["ümläut ☃", "gamma", "beta", "alpha"]
"""What has a size, newest first."""

FILTERS: list[tuple[list[tuple[str, str]], list[str]]] = [
    ([], SEEN),
    # Equality and operators on words.
    ([("name", "beta")], ["beta"]),
    ([("name", "eq:beta")], ["beta"]),
    ([("name", "nobody")], []),
    ([("name", "in:alpha,beta")], ["beta", "alpha"]),
    ([("name", 'in:"with, comma",alpha')], ["with, comma", "alpha"]),
    ([("name", 'in:"with \\"quotes\\""')], ['with "quotes"']),
    ([("name", "ümläut ☃")], ["ümläut ☃"]),
    ([("status", "queued")], ['with "quotes"', "with, comma"]),
    ([("status", "in:active,queued")], SEEN),
    ([("disk_format", "qcow2")], ["beta"]),
    ([("disk_format", "in:qcow2,iso")], ['with "quotes"', "beta"]),
    ([("container_format", "ova")], ["gamma"]),
    ([("container_format", "in:ova")], ["gamma"]),
    ([("id", NOBODY)], []),
    # Numbers.
    ([("size_min", "20")], ["gamma", "beta"]),
    ([("size_max", "20")], ["ümläut ☃", "beta", "alpha"]),
    ([("size_min", "10"), ("size_max", "20")], ["beta", "alpha"]),
    ([("size", "30")], ["gamma"]),
    ([("size_max", "9" * 30)], BY_SIZE_MADE),
    ([("size_min", "9" * 30)], []),
    ([("size_min", "-5"), ("size_max", "20")], ["ümläut ☃", "beta", "alpha"]),
    ([("min_ram", "9" * 30)], []),
    ([("limit", "9" * 30), ("name", "beta")], ["beta"]),
    ([("min_ram", "512")], ["beta"]),
    ([("min_disk", "1")], ["alpha"]),
    # Attributes and properties.
    ([("owner", "somebody")], ["gamma"]),
    ([("checksum", "e09c80c42fda55f9d992e59ca6b3307d")], ["alpha"]),
    ([("os_hash_algo", "sha512")], ["ümläut ☃", "gamma", "beta", "alpha"]),
    ([("os_hash_value", "nope")], []),
    ([("os_distro", "debian")], ["alpha"]),
    ([("os_distro", "in:debian,alma")], []),  # properties know no operators
    ([("no_such_property", "x")], []),
    ([("is_public", "true")], []),  # a word like any other in v2
    # Tags: all of them.
    ([("tag", "x")], ["beta", "alpha"]),
    ([("tag", "x"), ("tag", "y")], ["beta"]),
    ([("tag", "y"), ("tag", "x")], ["beta"]),
    ([("tag", "y z")], ["gamma"]),
    ([("tag", "x"), ("tag", "nope")], []),
    # Flags.
    ([("protected", "true")], ["gamma"]),
    ([("protected", "false")], ["ümläut ☃", 'with "quotes"', "with, comma", "beta", "alpha"]),
    ([("os_hidden", "true")], ["hidden"]),
    ([("os_hidden", "false")], SEEN),
    ([("os_hidden", "True")], ["hidden"]),  # unlike protected
    ([("name", "hidden")], []),
    # Who sees it.
    ([("visibility", "public")], ["beta"]),
    ([("visibility", "private")], ["with, comma"]),
    ([("visibility", "shared")], ["ümläut ☃", 'with "quotes"', "gamma", "alpha"]),
    ([("visibility", "community")], []),
    ([("visibility", "all")], SEEN),
    ([("visibility", "")], []),
    *(([("member_status", status)], SEEN) for status in ("pending", "accepted", "rejected", "all")),
    # Times.
    ([("created_at", "gt:2001-01-01T00:00:00Z")], SEEN),
    ([("created_at", "gte:2001-01-01")], SEEN),
    ([("created_at", "lt:2001-01-01T00:00:00Z")], []),
    ([("created_at", "lte:2001-01-01T00:00:00")], []),
    ([("created_at", "eq:2001-01-01T00:00:00Z")], []),
    ([("created_at", "2001-01-01T00:00:00Z")], []),
    ([("created_at", "neq:2001-01-01T00:00:00Z")], SEEN),
    ([("updated_at", "gt:2001-01-01T00:00:00+02:00")], SEEN),
    ([("updated_at", "gt:2100-01-01T00:00:00Z")], []),
    # Together, and twice: the last one counts.
    ([("disk_format", "raw"), ("status", "active"), ("tag", "x")], ["alpha"]),
    ([("name", "alpha"), ("name", "beta")], ["beta"]),
    ([("deleted", "true")], SEEN),
]


@pytest.mark.parametrize(("query", "names"), FILTERS, ids=lambda value: str(value)[:50])
def test_a_filter_finds_what_it_says(service: Service, query: list[tuple[str, str]], names: list[str]) -> None:
    assert _names(service, query) == names


def test_a_community_image_is_found_by_its_name_where_nobody_authenticates(service: Service) -> None:
    """openstack and Ansible look for it so, and nobody has images of his own there."""
    name = service.image(visibility="community")["name"]
    for query in ("", "&visibility=community", "&visibility=all"):
        assert [image["name"] for image in service.ask("GET", f"/v2/images?name={name}{query}").json["images"]] == [name]
    for query in ("name=nobody", f"name={name}&visibility=public", "limit=1000"):
        assert name not in [image["name"] for image in service.ask("GET", f"/v2/images?{query}").json["images"]]


def test_a_killed_image_is_in_no_list(service: Service) -> None:
    name = f"killed-{uuid.uuid4()}"
    assert post(service, b"four", name=name, size=7).status == 400
    for query in (f"name={name}", f"name={name}&status=killed"):
        assert service.ask("GET", f"/v2/images?{query}").json["images"] == []


def test_ids_are_a_filter_with_operators(service: Service) -> None:
    _shelf(service)
    ids = _IDS[service.port]
    assert _names(service, [("id", ids["beta"])]) == ["beta"]
    assert _names(service, [("id", f"in:{ids['alpha']},{ids['gamma']},{NOBODY}")]) == ["gamma", "alpha"]


REFUSED = [
    ("name", "neq:x"),
    ("name", "gt:x"),
    ("status", "like:active"),
    ("name", 'in:"open'),
    ("name", 'in:a"b'),
    ("size_min", "x"),
    ("size_min", ""),
    ("size_max", "1.5"),
    ("min_ram", "x"),
    ("protected", "True"),
    ("protected", "yes"),
    ("protected", ""),
    ("os_hidden", "yes"),
    ("os_hidden", ""),
    ("visibility", "secret"),
    ("visibility", "Public"),
    ("member_status", "maybe"),
    ("created_at", "gt:yesterday"),
    ("created_at", "in:2001-01-01"),
    ("created_at", "gt:9999-12-31T23:59:59-05:00"),
    ("updated_at", ""),
    ("changes-since", "2001-01-01T00:00:00Z"),
    ("limit", "-1"),
    ("limit", "x"),
    ("limit", ""),
    ("marker", NOBODY),
    ("marker", "zz"),
    ("sort_key", "owner"),
    ("sort_key", ""),
    ("sort_dir", "up"),
    ("sort", "owner"),
    ("sort", "name:up"),
    ("sort", "name,"),
]


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_a_filter_that_makes_no_sense_is_refused_by_name(embedded: Service, name: str, value: str) -> None:
    answer = embedded.ask("GET", "/v2/images?" + urlencode({name: value}))
    assert answer.status == 400
    assert len(answer.text) > len("400 Bad Request")


@pytest.mark.parametrize(
    "query",
    ["sort=name&sort_key=name", "sort=name&sort_dir=asc", "sort_key=name&sort_key=size&sort_key=id&sort_dir=asc&sort_dir=desc"],
)
def test_two_ways_to_sort_do_not_mix(embedded: Service, query: str) -> None:
    assert embedded.ask("GET", f"/v2/images?{query}").status == 400


# -- sorting -------------------------------------------------------------------------------------------------------------------

MADE = SEEN[::-1]
BY_SIZE = ["gamma", "beta", "alpha", "ümläut ☃"]

SORTS: list[tuple[str, list[str]]] = [
    ("", SEEN),
    ("sort=created_at", SEEN),
    ("sort=created_at:asc", MADE),
    ("sort_dir=asc", MADE),
    ("sort_key=%20created_at&sort_dir=asc%20", MADE),
    ("sort_key=created_at&sort_dir=asc", MADE),
    ("sort=id:asc", MADE),
    ("sort=id", SEEN),
    ("sort=name:asc&size_min=10", ["alpha", "beta", "gamma"]),
    ("sort=name&size_min=10", ["gamma", "beta", "alpha"]),
    ("sort_key=name&size_min=10", ["gamma", "beta", "alpha"]),
    ("sort=size&status=active", BY_SIZE),
    ("sort=size:asc&status=active", BY_SIZE[::-1]),
    ("sort=status:asc,id:asc", ["alpha", "beta", "gamma", "ümläut ☃", "with, comma", 'with "quotes"']),
    ("sort=disk_format:asc,size:desc&status=active", ["beta", "gamma", "alpha", "ümläut ☃"]),
    ("sort=container_format:desc,id:asc&size_min=10", ["gamma", "alpha", "beta"]),
    ("sort_key=disk_format&sort_key=size&sort_dir=asc&sort_dir=desc&status=active", ["beta", "gamma", "alpha", "ümläut ☃"]),
    ("sort_key=status&sort_key=id&sort_dir=asc", ["alpha", "beta", "gamma", "ümläut ☃", "with, comma", 'with "quotes"']),
    ("sort=updated_at:asc,id:asc&size_min=1000", []),
]


@pytest.mark.parametrize(("query", "names"), SORTS)
def test_a_list_is_sorted_as_asked(service: Service, query: str, names: list[str]) -> None:
    assert _names(service, parse_qsl(query)) == names


@pytest.mark.parametrize("query", [query for query, _ in SORTS])
@pytest.mark.parametrize("limit", ["1", "4"])
def test_pages_together_are_the_list(service: Service, query: str, limit: str) -> None:
    whole = _names(service, parse_qsl(query))
    link, walked = "/v2/images?" + urlencode([("tag", _shelf(service)), ("limit", limit), *parse_qsl(query)]), []
    for _ in range(len(IMAGES) + 2):
        page = service.ask("GET", link).json
        walked += [image["name"] for image in page["images"]]
        # A full page always has a next one, though that may be empty.
        assert ("next" in page) == (len(page["images"]) == int(limit))
        if "next" not in page:
            break
        link = page["next"]
    assert walked == whole


# -- links ---------------------------------------------------------------------------------------------------------------------


def test_a_page_tells_its_schema_and_its_first_page(service: Service) -> None:
    shelf = _shelf(service)
    page = service.ask("GET", f"/v2/images?tag={shelf}&limit=50").json
    assert set(page) == {"images", "first", "schema"}
    assert (page["first"], page["schema"]) == (f"/v2/images?tag={shelf}&limit=50", "/v2/schemas/images")
    assert service.ask("GET", "/v2/images?limit=0").json["first"] == "/v2/images?limit=0"


def test_links_keep_every_parameter_also_a_repeated_one(service: Service) -> None:
    shelf = _shelf(service)
    query = [("tag", shelf), ("tag", "x"), ("limit", "1"), ("sort_key", "size"), ("sort_key", "name"), ("sort_dir", "asc")]
    page = service.ask("GET", "/v2/images?" + urlencode(query)).json
    assert parse_qsl(urlsplit(page["first"]).query) == query
    assert parse_qsl(urlsplit(page["next"]).query) == [*query, ("marker", page["images"][-1]["id"])]
    second = service.ask("GET", page["next"]).json
    assert [image["name"] for image in page["images"] + second["images"]] == ["alpha", "beta"]
    assert parse_qsl(urlsplit(second["first"]).query) == query


def test_links_are_percent_encoded(service: Service) -> None:
    _shelf(service)
    page = service.ask("GET", "/v2/images?limit=1&" + urlencode({"name": "ümläut ☃", "tag": "y z&w"})).json
    assert page["first"].isascii()
    assert dict(parse_qsl(urlsplit(page["first"]).query)) == {"limit": "1", "name": "ümläut ☃", "tag": "y z&w"}


# -- limits and markers --------------------------------------------------------------------------------------------------------


def test_a_page_has_25_images_unless_asked_and_never_more_than_1000(service: Service) -> None:
    shelf = f"shelf-{uuid.uuid4()}"
    for _ in range(26):
        service.image(tags=[shelf])
    first = service.ask("GET", f"/v2/images?tag={shelf}").json
    assert (len(first["images"]), "marker=" in first["next"]) == (25, True)
    assert len(service.ask("GET", first["next"]).json["images"]) == 1
    assert len(service.ask("GET", f"/v2/images?tag={shelf}&limit=26").json["images"]) == 26
    assert len(service.ask("GET", f"/v2/images?tag={shelf}&limit=100000").json["images"]) == 26
    none = service.ask("GET", f"/v2/images?tag={shelf}&limit=0").json
    assert (none["images"], "next" in none) == ([], False)


def test_a_marker_may_lie_outside_the_filter_or_be_deleted(service: Service) -> None:
    shelf = _shelf(service)
    ids = _IDS[service.port]
    assert _names(service, [("marker", ids["gamma"])]) == ["beta", "alpha"]
    assert _names(service, [("marker", ids["gamma"]), ("tag", "x")]) == ["beta", "alpha"]
    gone = service.image(tags=[shelf])["id"]
    assert service.ask("DELETE", f"/v2/images/{gone}").status == 204
    assert _names(service, [("marker", gone)]) == SEEN


def test_an_image_in_a_list_is_the_image_by_itself(service: Service) -> None:
    shelf = _shelf(service)
    for image in service.ask("GET", f"/v2/images?tag={shelf}").json["images"]:
        alone = service.ask("GET", f"/v2/images/{image['id']}").json
        assert json.dumps(image, sort_keys=True) == json.dumps(alone, sort_keys=True)
