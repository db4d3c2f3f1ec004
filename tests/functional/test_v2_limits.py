"""Quotas and caps (contract C.21): over is 413, and nothing is left behind."""

from __future__ import annotations

import asyncio
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from image_service.registry.database import DatabaseRegistry
from image_service.registry.engine import Database
from image_service.registry.interface import ImageChange
from tests.conftest import running
from tests.functional.registries import PLACES
from tests.functional.running import eventually
from tests.functional.service import Service
from tests.functional.v2 import ADMIN, A, B, download, patch, person, show, upload

SMALL = """image_size_cap = 100
image_property_quota = 2
image_tag_quota = 2
image_member_quota = 2
user_storage_quota = 150B
limit_param_default = 2
api_limit_max = 3
"""
NONE = """image_property_quota = -1
image_tag_quota = -1
image_member_quota = -1
"""
PROXY = "[oslo_middleware]\nenable_proxy_headers_parsing = True\n"


@pytest.fixture(params=PLACES)
def limited(
    request: pytest.FixtureRequest, services: dict[tuple[str, str], Service], tmp_path_factory: pytest.TempPathFactory
) -> Service:
    """A service with small limits that believes identity headers."""
    flavor = "[paste_deploy]\nflavor = trusted-auth\n"
    return running(request.param, "limited", request, services, tmp_path_factory, SMALL, flavor)


@pytest.fixture
def unlimited(
    request: pytest.FixtureRequest, services: dict[tuple[str, str], Service], tmp_path_factory: pytest.TempPathFactory
) -> Service:
    """A service whose quotas are switched off by negative numbers, and which believes the headers of a proxy."""
    return running("sqlite", "unlimited-behind-a-proxy", request, services, tmp_path_factory, NONE, PROXY)


def _somebody() -> dict[str, str]:
    """A project that has stored nothing yet."""
    return person(f"project-{uuid.uuid4()}")


def _refused(answer: Any, words: str) -> None:
    assert answer.status == 413
    assert words in answer.text


def test_properties_are_counted_when_an_image_is_made_and_when_it_is_changed(limited: Service) -> None:
    _refused(limited.ask("POST", "/v2/images", {"a": "1", "b": "2", "c": "3"}, A), "Attempted: 3, Maximum: 2")
    image = limited.image(headers=A, a="1", b="2")
    add, remove = {"op": "add", "path": "/c", "value": "3"}, {"op": "remove", "path": "/a"}
    _refused(patch(limited, image["id"], [add], A), "Attempted: 3, Maximum: 2")
    assert show(limited, image["id"], A) == image
    # What counts is the end.
    assert patch(limited, image["id"], [add, remove], A).status == 200


def test_what_is_over_a_lowered_quota_may_be_changed_but_not_get_more(limited: Service) -> None:
    image_id = limited.image(headers=A)["id"]

    async def fill() -> None:
        registry = DatabaseRegistry(Database(limited.database))
        await registry.update_image(image_id, ImageChange(set_properties=dict.fromkeys("abc", "1"), tags=["a", "b", "c"]))
        await registry.aclose()

    asyncio.run(fill())
    assert patch(limited, image_id, [{"op": "replace", "path": "/name", "value": "new"}], A).status == 200
    assert patch(limited, image_id, [{"op": "replace", "path": "/a", "value": "2"}], A).status == 200
    _refused(patch(limited, image_id, [{"op": "add", "path": "/d", "value": "1"}], A), "Attempted: 4, Maximum: 2")
    _refused(
        patch(limited, image_id, [{"op": "replace", "path": "/tags", "value": ["a", "b", "d"]}], A), "Attempted: 3, Maximum: 2"
    )
    assert patch(limited, image_id, [{"op": "remove", "path": "/a"}], A).status == 200


def test_tags_are_counted_wherever_they_come_from(limited: Service) -> None:
    _refused(limited.ask("POST", "/v2/images", {"tags": ["a", "b", "c"]}, A), "Attempted: 3, Maximum: 2")
    image = limited.image(headers=A, tags=["a", "b"])
    _refused(limited.ask("PUT", f"/v2/images/{image['id']}/tags/c", headers=A), "Maximum: 2")
    _refused(patch(limited, image["id"], [{"op": "replace", "path": "/tags", "value": ["a", "b", "c"]}], A), "Maximum: 2")
    assert limited.ask("PUT", f"/v2/images/{image['id']}/tags/b", headers=A).status == 204
    assert sorted(show(limited, image["id"], A)["tags"]) == ["a", "b"]


def test_members_are_counted(limited: Service) -> None:
    image = limited.image(headers=A)
    members = f"/v2/images/{image['id']}/members"
    assert [limited.ask("POST", members, {"member": name}, A).status for name in ("b", "c")] == [200, 200]
    _refused(limited.ask("POST", members, {"member": "d"}, A), "Attempted: 3, Maximum: 2")
    assert limited.ask("DELETE", f"{members}/b", headers=A).status == 204
    assert limited.ask("POST", members, {"member": "d"}, A).status == 200


@pytest.mark.parametrize("what", ["properties", "tags", "members"])
def test_what_is_added_at_the_same_time_is_counted_together(limited: Service, what: str) -> None:
    def add(address: str, number: int) -> int:
        if what == "properties":
            return patch(limited, address, [{"op": "add", "path": f"/p{number}", "value": "v"}], A).status
        if what == "tags":
            return limited.ask("PUT", f"/v2/images/{address}/tags/t{number}", headers=A).status
        return limited.ask("POST", f"/v2/images/{address}/members", {"member": f"m{number}"}, A).status

    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            image_id = limited.image(headers=A)["id"]
            answers = list(pool.map(lambda number, image_id=image_id: add(image_id, number), range(8)))
            assert sorted(answers) == [204 if what == "tags" else 200] * 2 + [413] * 6


def test_pages_are_limited(limited: Service) -> None:
    tag = f"t{uuid.uuid4()}"
    for _ in range(4):
        limited.image(headers=A, tags=[tag])
    sizes = [
        len(limited.ask("GET", f"/v2/images?tag={tag}{more}", headers=A).json["images"]) for more in ("", "&limit=3", "&limit=4")
    ]
    assert sizes == [2, 3, 3]


# body, further headers
TOO_LARGE: list[tuple[Any, dict[str, str]]] = [
    (b"x" * 101, {}),
    (lambda: iter([b"x" * 60, b"x" * 60]), {}),
    (b"x", {"x-openstack-image-size": "101"}),
    (lambda: iter([b"x"]), {"x-openstack-image-size": "101"}),
    (lambda: iter([b"x" * 200_000] * 10), {"x-openstack-image-size": "50"}),
]


@pytest.mark.parametrize(("body", "headers"), TOO_LARGE)
def test_an_image_over_the_cap_is_refused_and_leaves_nothing(limited: Service, body: Any, headers: dict[str, str]) -> None:
    who = _somebody()
    image = limited.image(headers=who)
    answer = upload(limited, image["id"], body() if callable(body) else body, {**who, **headers})
    _refused(answer, "100")
    assert (show(limited, image["id"], who)["status"], download(limited, image["id"], who).status) == ("queued", 204)
    assert not [path for path in limited.images.rglob("*") if image["id"] in path.name]


def test_an_image_of_exactly_the_cap_is_taken(limited: Service) -> None:
    assert limited.image(b"x" * 100, _somebody())["size"] == 100


def test_an_owner_stores_as_much_as_his_quota_and_gets_it_back(limited: Service) -> None:
    who = _somebody()
    first = limited.image(b"x" * 100, who)
    second = limited.image(headers=who)
    _refused(upload(limited, second["id"], b"x" * 51, who), "150")
    _refused(upload(limited, second["id"], iter([b"x" * 30, b"x" * 30]), who), "")
    assert show(limited, second["id"], who)["status"] == "queued"
    assert upload(limited, second["id"], b"x" * 50, who).status == 204
    third = limited.image(headers=who)
    _refused(upload(limited, third["id"], b"x", who), "150")
    assert limited.image(b"x" * 100, B)["status"] == "active"  # another's quota is another one
    assert limited.ask("DELETE", f"/v2/images/{first['id']}", headers=who).status == 204
    assert upload(limited, third["id"], b"x" * 100, who).status == 204


def test_the_quota_is_the_owners_whoever_sends_the_data(limited: Service) -> None:
    who = _somebody()
    limited.image(b"x" * 100, who)
    image = limited.image(headers=who)
    _refused(upload(limited, image["id"], b"x" * 51, ADMIN), "150")


# -- a disk that is full, or does not take anything ------------------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True])
def test_a_full_disk_is_a_413_and_the_image_can_be_tried_again(full_soon: Service, chunked: bool) -> None:
    image, data = full_soon.image(), b"x" * (2 << 20)
    _refused(upload(full_soon, image["id"], iter([data]) if chunked else data), "")
    assert (show(full_soon, image["id"])["status"], download(full_soon, image["id"]).status) == ("queued", 204)
    assert not [path for path in full_soon.images.rglob("*") if image["id"] in path.name]
    assert upload(full_soon, image["id"], b"x" * 100_000).status == 204


def test_a_store_that_refuses_is_a_503_for_data_and_a_403_for_a_delete(full_soon: Service) -> None:
    queued, active = full_soon.image(), full_soon.image(b"data")
    subprocess.run(["mount", "-o", "remount,ro", str(full_soon.images)], check=True)
    assert upload(full_soon, queued["id"], b"data").status == 503
    assert show(full_soon, queued["id"])["status"] == "queued"
    for path in ("/v1/images", "/v2/images"):
        assert full_soon.ask("DELETE", f"{path}/{active['id']}").status == 403
    found = show(full_soon, active["id"])
    assert {**found, "updated_at": ""} == {**active, "updated_at": ""}
    assert download(full_soon, active["id"]).body == b"data"
    subprocess.run(["mount", "-o", "remount,rw", str(full_soon.images)], check=True)
    assert upload(full_soon, queued["id"], b"data").status == 204
    assert full_soon.ask("DELETE", f"/v2/images/{active['id']}").status == 204


def test_negative_quotas_are_none(unlimited: Service) -> None:
    words = [f"w{n}" for n in range(300)]
    attributes: dict[str, Any] = {"tags": words, **dict.fromkeys(words, "v")}
    image = unlimited.image(**attributes)
    assert len(image["tags"]) == 300
    for n in range(130):
        assert unlimited.ask("POST", f"/v2/images/{image['id']}/members", {"member": f"m{n}"}).status == 200


def test_the_headers_of_a_proxy_are_believed_where_the_configuration_says_so(unlimited: Service) -> None:
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "images.example"}
    versions = unlimited.ask("GET", "/versions", headers=headers).json["versions"]
    assert versions[0]["links"][0]["href"] == "https://images.example/v2/"
    made = unlimited.ask("POST", "/v2/images", {"name": "x"}, headers={**headers, "X-Forwarded-Prefix": "/images/"})
    assert made.headers["location"] == f"https://images.example/images/v2/images/{made.json['id']}"
    unlimited.ask("GET", "/v2/images", headers={"X-Forwarded-For": "198.51.100.1, 192.0.2.9"})
    eventually(lambda: "client=192.0.2.9" in unlimited.log, "the log says who asked the proxy")
