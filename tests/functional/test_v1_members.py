"""Images API v1, contract A.11: members of an image and images shared with a member, where everybody is administrator."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.functional.service import Answer, Service
from tests.functional.v1 import DATA, listed, make, put


def _members(service: Service, image_id: str) -> dict[str, bool]:
    answer = service.ask("GET", f"/v1/images/{image_id}/members")
    assert answer.status == 200
    assert set(answer.json) == {"members"}
    assert all(set(member) == {"member_id", "can_share"} for member in answer.json["members"])
    return {member["member_id"]: member["can_share"] for member in answer.json["members"]}


def _replace(service: Service, image_id: str, *memberships: Any) -> Answer:
    return service.ask("PUT", f"/v1/images/{image_id}/members", {"memberships": list(memberships)})


def _project() -> str:
    return f"project-{uuid.uuid4()}"


def test_an_image_has_no_members_at_first(service: Service) -> None:
    assert _members(service, make(service)["id"]) == {}


# body of the PUT, can_share of a new member, can_share of one that could share before
SHARES: list[tuple[Any, bool, bool]] = [
    (None, False, True),
    (b"", False, True),
    ({}, False, True),
    ({"member": {}}, False, True),
    ({"member": {"can_share": True}}, True, True),
    ({"member": {"can_share": False}}, False, False),
    ({"member": {"can_share": 1}}, True, True),
    ({"member": {"can_share": 0}}, False, False),
    ({"member": {"can_share": "yes"}}, True, True),
    ({"member": {"can_share": None}}, False, True),
    ({"member": {"nonsense": 1}}, False, True),
]


@pytest.mark.parametrize(("body", "new", "old"), SHARES)
def test_a_member_is_added_or_changed(service: Service, body: Any, new: bool, old: bool) -> None:
    image_id = make(service)["id"]
    assert _replace(service, image_id, {"member_id": "old", "can_share": True}).status == 204
    for member in ("old", "new"):
        answer = service.ask("PUT", f"/v1/images/{image_id}/members/{member}", body)
        assert (answer.status, answer.body) == (204, b"")
    assert _members(service, image_id) == {"old": old, "new": new}


def test_who_adds_a_member_together_with_others_has_added_it(service: Service) -> None:
    path = f"/v1/images/{make(service)['id']}/members"
    with ThreadPoolExecutor() as threads:
        paths = [f"{path}/m{number}" for number in range(5) for _ in range(4)]
        assert {answer.status for answer in threads.map(lambda each: service.ask("PUT", each), paths)} == {204}


def test_a_put_of_all_replaces_them(service: Service) -> None:
    image_id = make(service)["id"]
    assert _replace(service, image_id, {"member_id": "a", "can_share": True}, {"member_id": "b"}).status == 204
    assert _members(service, image_id) == {"a": True, "b": False}
    assert _replace(service, image_id, {"member_id": "a"}, {"member_id": "c", "can_share": True}).status == 204
    assert _members(service, image_id) == {"a": True, "c": True}
    assert _replace(service, image_id, {"member_id": "a", "can_share": False}).status == 204
    assert _members(service, image_id) == {"a": False}
    assert _replace(service, image_id).status == 204
    assert _members(service, image_id) == {}


def test_a_member_that_is_named_twice_is_one(service: Service) -> None:
    image_id = make(service)["id"]
    assert _replace(service, image_id, {"member_id": "a"}, {"member_id": "a", "can_share": True}).status == 204
    assert list(_members(service, image_id)) == ["a"]


def test_a_member_is_removed_and_may_come_back(service: Service) -> None:
    image_id = make(service)["id"]
    member = f"/v1/images/{image_id}/members/a"
    statuses = [service.ask(method, member).status for method in ("PUT", "DELETE", "DELETE", "PUT", "PUT")]
    assert statuses == [204, 204, 404, 204, 204]
    assert _members(service, image_id) == {"a": False}
    assert "Membership could not be found." in service.ask("DELETE", f"/v1/images/{image_id}/members/b").text


@pytest.mark.parametrize("member", ["Zürich", "a b", "a/b", "m" * 255])
def test_a_member_may_have_any_name(service: Service, member: str) -> None:
    image_id = make(service)["id"]
    path = "".join(f"%{byte:02x}" for byte in member.encode())
    assert service.ask("PUT", f"/v1/images/{image_id}/members/{path}").status == 204
    assert _members(service, image_id) == {member: False}
    shared = service.ask("GET", f"/v1/shared-images/{path}").json["shared_images"]
    assert {"image_id": image_id, "can_share": False} in shared
    assert service.ask("DELETE", f"/v1/images/{image_id}/members/{path}").status == 204


def test_an_empty_body_in_chunks_is_none(service: Service) -> None:
    image_id = make(service)["id"]
    assert service.ask("PUT", f"/v1/images/{image_id}/members/a", iter([b""]), {"Content-Type": "application/json"}).status == 204
    assert _members(service, image_id) == {"a": False}


# path behind the image, body, wanted status
BAD: list[tuple[str, Any, int]] = [
    ("members", None, 400),
    ("members", b"", 400),
    ("members", b"no JSON", 400),
    ("members", {}, 400),
    ("members", [], 400),
    ("members", {"memberships": None}, 400),
    ("members", {"memberships": {}}, 400),
    ("members", {"memberships": "a"}, 400),
    ("members", {"memberships": [{}]}, 400),
    ("members", {"memberships": ["a"]}, 400),
    ("members", {"memberships": [{"can_share": True}]}, 400),
    ("members", {"memberships": [{"member_id": 5}]}, 400),
    ("members", {"memberships": [{"member_id": ""}]}, 400),
    ("members", {"memberships": [{"member_id": "m" * 256}]}, 400),
    ("members/a", b"no JSON", 400),
    ("members/a", b"null", 400),
    ("members/a", [], 400),
    ("members/a", {"member": None}, 400),
    ("members/a", {"member": "b"}, 400),
    ("members/" + "m" * 256, None, 400),
]


@pytest.mark.parametrize(("path", "body", "status"), BAD)
def test_what_is_no_membership_is_refused_and_changes_nothing(embedded: Service, path: str, body: Any, status: int) -> None:
    image_id = make(embedded)["id"]
    embedded.ask("PUT", f"/v1/images/{image_id}/members/old")
    answer = embedded.ask("PUT", f"/v1/images/{image_id}/{path}", body)
    assert answer.status == status, answer.text
    assert _members(embedded, image_id) == {"old": False}


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("PUT", ""), ("PUT", "/a"), ("DELETE", "/a")])
@pytest.mark.parametrize("deleted", [False, True])
def test_members_of_an_image_that_is_not_there_are_a_404(service: Service, method: str, path: str, deleted: bool) -> None:
    image_id = str(uuid.uuid4())
    if deleted:
        image_id = make(service)["id"]
        service.ask("PUT", f"/v1/images/{image_id}/members/a")
        service.ask("DELETE", f"/v1/images/{image_id}")
    body: dict[str, Any] | None = {"memberships": []} if (method, path) == ("PUT", "") else None
    assert service.ask(method, f"/v1/images/{image_id}/members{path}", body).status == 404


def test_a_public_image_may_have_members_too(service: Service) -> None:
    image_id = make(service, is_public="True")["id"]
    assert service.ask("PUT", f"/v1/images/{image_id}/members/a").status == 204
    assert _members(service, image_id) == {"a": False}


def test_shared_images_are_those_of_a_member(service: Service) -> None:
    project = _project()
    first, second, third = (make(service)["id"] for _ in range(3))
    service.ask("PUT", f"/v1/images/{first}/members/{project}", {"member": {"can_share": True}})
    service.ask("PUT", f"/v1/images/{second}/members/{project}")
    service.ask("PUT", f"/v1/images/{third}/members/{_project()}")
    answer = service.ask("GET", f"/v1/shared-images/{project}")
    shared = {item["image_id"]: item["can_share"] for item in answer.json["shared_images"]}
    assert shared == {first: True, second: False}
    service.ask("DELETE", f"/v1/images/{first}")
    assert service.ask("GET", f"/v1/shared-images/{project}").json == {
        "shared_images": [{"image_id": second, "can_share": False}]
    }


def test_nobody_shares_with_a_project_that_is_not_known(service: Service) -> None:
    assert service.ask("GET", f"/v1/shared-images/{_project()}").json == {"shared_images": []}


def test_members_survive_a_change_of_the_image(service: Service) -> None:
    image_id = make(service, DATA)["id"]
    service.ask("PUT", f"/v1/images/{image_id}/members/a")
    assert put(service, image_id, name="x", headers={"x-glance-registry-purge-props": "true"}).status == 200
    assert _members(service, image_id) == {"a": False}


# -- where nobody is asked who he is (A.15), with our improvements ---------------------------------------------------------


def test_everybody_sees_changes_and_lists_every_image(service: Service) -> None:
    owned, own = make(service, owner="somebody"), make(service)
    assert (owned["owner"], own["owner"]) == ("somebody", None)
    for image in (owned, own):
        assert put(service, image["id"], owner="another").json["image"]["owner"] == "another"
        assert [found["id"] for found in listed(service, f"name={image['name']}")] == [image["id"]]


def test_everybody_may_make_an_image_public(service: Service) -> None:
    image = make(service, is_public="True")
    assert image["is_public"] is True
    assert [found["id"] for found in listed(service, f"name={image['name']}&is_public=true")] == [image["id"]]


@pytest.mark.parametrize(
    ("query", "private", "public"),
    [("", 1, 1), ("is_public=none", 1, 1), ("is_public=true", 0, 1), ("is_public=false", 1, 0)],
)
def test_the_list_shows_what_is_public_asks_for(service: Service, query: str, private: int, public: int) -> None:
    """Of what API v2 says of who sees an image, v1 knows whether that is everybody."""
    images = [(service.image(visibility=kind), private) for kind in ("private", "shared", "community")]
    for image, wanted in [*images, (make(service, is_public="True"), public)]:
        assert len(listed(service, f"name={image['name']}&{query}", kind="images/detail")) == wanted


@pytest.mark.parametrize("token", ["x", ""])
def test_a_token_is_not_looked_at(embedded: Service, token: str) -> None:
    headers = {"X-Auth-Token": token, "X-Identity-Status": "Invalid", "X-Tenant-Id": "t", "X-Roles": "reader"}
    image = make(embedded, headers=headers)
    assert image["owner"] is None
    assert embedded.ask("DELETE", f"/v1/images/{image['id']}", headers=headers).status == 200
