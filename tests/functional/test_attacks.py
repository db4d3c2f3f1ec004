"""Requests that a client sends who wants the service to fall: a 4xx with a sentence, soon, and nothing left behind."""

from __future__ import annotations

import pytest

from tests.functional.service import Answer, Service


def _refused(answer: Answer, words: str) -> None:
    assert answer.status == 400, answer.text
    assert words in answer.text


@pytest.mark.parametrize("path", ["/v2/images?", "/v1/images?", "/v1/images/detail?"])
def test_a_list_takes_only_as_many_filters_as_a_database_does(service: Service, path: str) -> None:
    prefix = "" if path.startswith("/v2") else "property-"
    assert service.ask("GET", path + "&".join(f"{prefix}p{n}=x" for n in range(128))).status == 200
    _refused(service.ask("GET", path + "&".join(f"{prefix}p{n}=x" for n in range(500))), "at most 128 properties and tags")


def test_tags_are_counted_among_the_filters_of_a_list(service: Service) -> None:
    filters = "&".join([*(f"tag={n}" for n in range(100)), *(f"p{n}=x" for n in range(29))])
    _refused(service.ask("GET", f"/v2/images?{filters}"), "at most 128 properties and tags")


@pytest.mark.parametrize(
    "body",
    [b"[" + b"[]," * 1_000_000 + b"[]]", b"{" + b",".join(b'"p%d":""' % n for n in range(1_000_000)) + b"}"],
    ids=["lists", "names"],
)
def test_json_of_a_million_parts_is_not_even_read(embedded: Service, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    _refused(embedded.ask("POST", "/v2/images", body, headers), "more than 100000 lists, objects and names")
