"""Images API v1: an image may carry 128 properties, each a header of its own both ways (contract A.5, A.6)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.functional.service import Service
from tests.functional.v1 import DATA, RAW, Headers, head, listed, make, meta, put, state, unique


@pytest.fixture
def many_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own client takes 100 headers of an answer."""
    monkeypatch.setattr("http.client._MAXHEADERS", 1000)


MANY = {f"x-image-meta-property-number_{number:03}": f"value {number} " + "v" * 400 for number in range(128)}


def _properties(headers: Headers) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("x-image-meta-property-")}


@pytest.mark.usefixtures("many_headers")
@pytest.mark.parametrize("data", [None, DATA])
def test_128_properties_go_both_ways_as_headers(service: Service, data: bytes | None) -> None:
    image = make(service, data, headers=MANY)
    assert len(image["properties"]) == 128
    assert _properties(head(service, image["id"]).headers) == MANY
    changed = {name: value.replace("value", "changed") for name, value in MANY.items()}
    answer = service.ask("PUT", f"/v1/images/{image['id']}", headers=changed)
    assert answer.status == 200
    assert len(answer.json["image"]["properties"]) == 128
    assert _properties(head(service, image["id"]).headers) == changed
    if data is not None:
        answer = service.ask("GET", f"/v1/images/{image['id']}")
        assert (answer.body, _properties(answer.headers)) == (data, changed)


@pytest.mark.usefixtures("many_headers")
def test_128_properties_come_with_the_data_of_a_queued_image(service: Service) -> None:
    image = make(service)
    answer = put(service, image["id"], DATA, headers=MANY, **RAW)
    assert (answer.status, len(answer.json["image"]["properties"])) == (200, 128)
    assert state(service, image["id"]) == "active"


def test_129_properties_are_too_many(embedded: Service) -> None:
    name = unique()
    answer = embedded.ask("POST", "/v1/images", headers={**MANY, "x-image-meta-property-more": "x", **meta(name=name)})
    assert answer.status == 413
    assert "number of allowed image properties. Attempted: 129, Maximum: 128" in answer.text
    assert listed(embedded, f"name={name}&is_public=none") == []


@pytest.mark.usefixtures("many_headers")
def test_a_change_that_makes_129_properties_is_refused_whole(service: Service) -> None:
    image = make(service, headers=MANY)
    answer = put(service, image["id"], name="other", property_more="x")
    assert answer.status == 413
    headers = head(service, image["id"]).headers
    assert (len(_properties(headers)), headers["x-image-meta-name"]) == (128, image["name"])


@pytest.mark.usefixtures("many_headers")
@pytest.mark.parametrize(("count", "size"), [(1, 16_000), (128, 8_000)])
def test_long_values_go_both_ways(embedded: Service, count: int, size: int) -> None:
    sent = {f"x-image-meta-property-p{number}": f"{number} ".ljust(size, "v") for number in range(count)}
    image = make(embedded, headers=sent)
    assert _properties(head(embedded, image["id"]).headers) == sent


@pytest.mark.usefixtures("many_headers")
def test_what_api_v2_takes_and_no_header_has_room_for_is_left_out(embedded: Service) -> None:
    """A proxy would hold the service to be broken, and send nobody to it for a while."""
    large: dict[str, Any] = {f"p{number:03}": "v" * 60_000 for number in range(30)}
    image = embedded.image(DATA, **large, small="s")
    for answer in (head(embedded, image["id"]), embedded.ask("GET", f"/v1/images/{image['id']}")):
        shown = _properties(answer.headers)
        assert (answer.status, len(shown), shown["x-image-meta-property-small"]) == (200, 22, "s")


def test_a_header_that_is_too_long_is_the_clients_error(embedded: Service) -> None:
    name = unique()
    answer = embedded.ask("POST", "/v1/images", headers={**meta(name=name), "x-image-meta-property-p": "v" * 60_000})
    assert answer.status in (400, 431)
    assert listed(embedded, f"name={name}") == []
