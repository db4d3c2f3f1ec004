"""Who sees, changes and shares what (contract C.11, C.12), as the tables that the contract has."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.functional.service import OCTET_STREAM, Answer, Service
from tests.functional.v2 import ADMIN, NOBODY, TIME, V21, A, B, C, download, patch

PEOPLE = {"A": A, "B": B, "C": C, "admin": ADMIN}
_SHELVES: dict[int, str] = {}
_IDS: dict[int, dict[str, str]] = {}


def _shelf(service: Service) -> dict[str, str]:
    """Ids of the images of the matrix by letter: P public (the admin's), and A's V private, S and W shared with B, who accepted S
    and not W, K community, H hidden community; R is shared with B, too, who has rejected it."""
    if service.port not in _IDS:
        shelf = _SHELVES[service.port] = f"shelf-{uuid.uuid4()}"
        ids = _IDS[service.port] = {}
        ids["P"] = _make(service, ADMIN, shelf, visibility="public")
        ids["V"] = _make(service, A, shelf, visibility="private")
        for letter in "SWR":
            ids[letter] = _make(service, A, shelf if letter != "R" else f"{shelf}-rejected", visibility="shared")
            assert service.ask("POST", f"/v2/images/{ids[letter]}/members", {"member": "project-b"}, A).status == 200
        for letter, status in (("S", "accepted"), ("R", "rejected")):
            assert service.ask("PUT", f"/v2/images/{ids[letter]}/members/project-b", {"status": status}, B).status == 200
        ids["K"] = _make(service, A, shelf, visibility="community")
        ids["H"] = _make(service, A, shelf, visibility="community", os_hidden=True)
    return _IDS[service.port]


def _make(service: Service, who: dict[str, str], shelf: str, **attributes: Any) -> str:
    return str(service.image(b"data", who, tags=[shelf], **attributes)["id"])


def _letters(service: Service, query: str, who: dict[str, str], tag: str = "") -> str:
    """What a list shows, as letters in the order of the table."""
    ids = _shelf(service)
    answer = service.ask("GET", f"/v2/images?tag={_SHELVES[service.port]}{tag}&{query}", headers=who)
    assert answer.status == 200, answer.text
    found = {image["id"] for image in answer.json["images"]}
    assert found <= set(ids.values())
    return "".join(letter for letter in "PVSWRKH" if ids[letter] in found)


# query: what A, B, C and an administrator see
MATRIX = {
    "": ("PVSWK", "PS", "P", "PVSW"),
    "member_status=accepted": ("PVSWK", "PS", "P", "PVSW"),
    "member_status=pending": ("PVSWK", "PW", "P", "PVSW"),
    "member_status=rejected": ("PVSWK", "P", "P", "PVSW"),
    "member_status=all": ("PVSWK", "PSW", "P", "PVSW"),
    "visibility=public": ("P", "P", "P", "P"),
    "visibility=private": ("V", "", "", "V"),
    "visibility=shared": ("SW", "S", "", "SW"),
    "visibility=shared&member_status=pending": ("SW", "W", "", "SW"),
    "visibility=shared&member_status=all": ("SW", "SW", "", "SW"),
    "visibility=community": ("K", "K", "K", "K"),
    "visibility=all": ("PVSWK", "PSK", "PK", "PVSWK"),
    "visibility=all&member_status=all": ("PVSWK", "PSWK", "PK", "PVSWK"),
    "owner=project-a": ("VSWK", "S", "", "VSW"),
    "owner=project-a&visibility=community": ("K", "K", "K", "K"),
    "os_hidden=true": ("H", "", "", ""),
    "os_hidden=true&visibility=community": ("H", "H", "H", "H"),
}


@pytest.mark.parametrize("query", MATRIX)
def test_a_list_shows_each_what_is_for_his_eyes(trusting: Service, query: str) -> None:
    assert tuple(_letters(trusting, query, who) for who in PEOPLE.values()) == MATRIX[query]


@pytest.mark.parametrize(("query", "b"), [("", ""), ("member_status=rejected", "R"), ("member_status=all", "R")])
def test_what_was_rejected_is_in_the_lists_that_ask_for_it(trusting: Service, query: str, b: str) -> None:
    assert _letters(trusting, query, B, "-rejected") == b


# image: what A, B, C and an administrator are told
BY_ID = {
    "P": (200, 200, 200, 200),
    "V": (200, 404, 404, 200),
    "S": (200, 200, 404, 200),
    "W": (200, 200, 404, 200),
    "R": (200, 200, 404, 200),
    "K": (200, 200, 200, 200),
    "H": (200, 200, 200, 200),
}


@pytest.mark.parametrize("letter", BY_ID)
def test_by_id_members_of_every_status_see_an_image(trusting: Service, letter: str) -> None:
    image_id = _shelf(trusting)[letter]
    assert tuple(trusting.ask("GET", f"/v2/images/{image_id}", headers=who).status for who in PEOPLE.values()) == BY_ID[letter]
    assert tuple(download(trusting, image_id, who).status for who in PEOPLE.values()) == BY_ID[letter]


# To who sees an image that is not his own every change is 403, and 404 to who does not.
STRANGERS = {"P": (A, B, C), "V": (B, C), "S": (B, C), "W": (B, C), "K": (B, C), "H": (B, C)}
CHANGES: list[tuple[str, str, Any, dict[str, str]]] = [
    ("PATCH", "", [{"op": "replace", "path": "/name", "value": "mine"}], V21),
    ("PATCH", "", [], V21),
    ("DELETE", "", None, {}),
    ("PUT", "/file", b"mine", OCTET_STREAM),
    ("POST", "/actions/deactivate", None, {}),
    ("POST", "/actions/reactivate", None, {}),
    ("PUT", "/tags/mine", None, {}),
    ("DELETE", "/tags/mine", None, {}),
    ("POST", "/members", {"member": "project-c"}, {}),
]


@pytest.mark.parametrize(("method", "rest", "body", "headers"), CHANGES)
def test_a_stranger_changes_nothing(trusting: Service, method: str, rest: str, body: Any, headers: dict[str, str]) -> None:
    ids = _shelf(trusting)
    for letter, people in STRANGERS.items():
        before = trusting.ask("GET", f"/v2/images/{ids[letter]}", headers=ADMIN).json
        for who in people:
            seen = trusting.ask("GET", f"/v2/images/{ids[letter]}", headers=who).status == 200
            answer = trusting.ask(method, f"/v2/images/{ids[letter]}{rest}", body, {**headers, **who})
            assert (letter, answer.status) == (letter, 403 if seen else 404)
        assert trusting.ask("GET", f"/v2/images/{ids[letter]}", headers=ADMIN).json == before


def test_an_administrator_changes_and_deletes_everything(trusting: Service) -> None:
    image = trusting.image(b"data", A, visibility="private")
    assert patch(trusting, image["id"], [{"op": "replace", "path": "/name", "value": "theirs"}], ADMIN).status == 200
    assert trusting.ask("PUT", f"/v2/images/{image['id']}/tags/x", headers=ADMIN).status == 204
    assert trusting.ask("DELETE", f"/v2/images/{image['id']}", headers=ADMIN).status == 204


def test_a_marker_that_is_not_for_these_eyes_is_not_there(trusting: Service) -> None:
    ids = _shelf(trusting)
    answer = trusting.ask("GET", f"/v2/images?marker={ids['V']}", headers=C)
    assert (answer.status, ids["V"] in answer.text) == (400, True)
    assert trusting.ask("GET", f"/v2/images?marker={ids['K']}", headers=C).status == 200


# -- members -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def shared(trusting: Service) -> str:
    """A's image, shared with B, who has not answered."""
    image = trusting.image(headers=A)
    assert trusting.ask("POST", f"/v2/images/{image['id']}/members", {"member": "project-b"}, A).status == 200
    return str(image["id"])


def _member(service: Service, method: str, image_id: str, member: str, who: dict[str, str], body: Any = None) -> Answer:
    return service.ask(method, f"/v2/images/{image_id}/members/{member}", body, who)


def test_a_member_is_made_pending_with_200(trusting: Service) -> None:
    image = trusting.image(headers=A)
    answer = trusting.ask("POST", f"/v2/images/{image['id']}/members", {"member": "project-b"}, A)
    member = answer.json
    assert answer.status == 200
    assert TIME.fullmatch(member["created_at"])
    assert TIME.fullmatch(member["updated_at"])
    times = {"created_at": member["created_at"], "updated_at": member["updated_at"]}
    assert member == {
        "member_id": "project-b", "image_id": image["id"], "status": "pending", "schema": "/v2/schemas/member", **times,
    }  # fmt: skip
    assert _member(trusting, "GET", image["id"], "project-b", A).json == member
    listed = trusting.ask("GET", f"/v2/images/{image['id']}/members", headers=A).json
    assert listed == {"members": [member], "schema": "/v2/schemas/members"}


BODIES: list[tuple[Any, int]] = [
    ({"member": "project-b"}, 409),
    ({"member": "m" * 255}, 200),
    ({"member": "ümläut ☃"}, 200),
    ({"member": "project-a"}, 200),  # the API cannot know better
    ({"member": ""}, 400),
    ({"member": "nul\0"}, 400),
    ({"member": None}, 400),
    ({"member": 5}, 400),
    ({"member": ["x"]}, 400),
    ({"member": "m" * 256}, 400),
    ({}, 400),
    ({"members": "x"}, 400),
    ([], 400),
    (["project-c"], 400),
    (b'"project-c"', 400),
    (b"{", 400),
    (None, 400),
]


@pytest.mark.parametrize(("body", "status"), BODIES, ids=lambda value: str(value)[:30])
def test_a_member_is_the_id_of_a_project(trusting: Service, shared: str, body: Any, status: int) -> None:
    assert trusting.ask("POST", f"/v2/images/{shared}/members", body, A).status == status


# method, what of the members, body: statuses for A (owner), B (member), C (stranger), an administrator
MEMBERS: list[tuple[str, str, Any, tuple[int, int, int, int]]] = [
    ("GET", "", None, (200, 200, 404, 200)),
    ("POST", "", {"member": "project-new"}, (200, 403, 404, 200)),
    ("GET", "/project-b", None, (200, 200, 404, 200)),
    ("GET", "/project-z", None, (404, 404, 404, 404)),
    ("PUT", "/project-b", {"status": "accepted"}, (403, 200, 404, 200)),
    ("PUT", "/project-b", {"status": "rejected"}, (403, 200, 404, 200)),
    ("PUT", "/project-b", {"status": "pending"}, (403, 200, 404, 200)),
    ("PUT", "/project-b", {"status": "maybe"}, (403, 400, 404, 400)),
    ("PUT", "/project-b", {"status": None}, (403, 400, 404, 400)),
    ("PUT", "/project-b", {}, (400, 400, 400, 400)),
    ("PUT", "/project-z", {"status": "accepted"}, (404, 404, 404, 404)),
    ("DELETE", "/project-b", None, (204, 403, 404, 204)),
    ("DELETE", "/project-z", None, (404, 404, 404, 404)),
]


@pytest.mark.parametrize(("method", "rest", "body", "statuses"), MEMBERS, ids=str)
def test_members_of_a_shared_image(trusting: Service, method: str, rest: str, body: Any, statuses: tuple[int, ...]) -> None:
    found = []
    for who in PEOPLE.values():
        image = trusting.image(headers=A)
        assert trusting.ask("POST", f"/v2/images/{image['id']}/members", {"member": "project-b"}, A).status == 200
        found.append(trusting.ask(method, f"/v2/images/{image['id']}/members{rest}", body, who).status)
    assert tuple(found) == statuses


def test_an_administrator_accepts_for_a_member_of_his_own_image_too(trusting: Service) -> None:
    members = f"/v2/images/{trusting.image(headers=ADMIN)['id']}/members"
    assert trusting.ask("POST", members, {"member": "project-b"}, ADMIN).status == 200
    answer = trusting.ask("PUT", f"{members}/project-b", {"status": "accepted"}, ADMIN)
    assert (answer.status, answer.json["status"]) == (200, "accepted")


def test_a_shared_image_without_owner_is_shown_to_who_has_its_id(trusting: Service) -> None:
    """As in Glance: who switches on authentication has such images."""
    nobodys = {
        visibility: trusting.image(b"data", ADMIN, visibility=visibility, owner=None)["id"]
        for visibility in ("shared", "private")
    }
    found = {
        visibility: trusting.ask("GET", f"/v2/images/{image_id}/file", headers=B) for visibility, image_id in nobodys.items()
    }
    assert (found["shared"].status, found["shared"].body, found["private"].status) == (200, b"data", 404)
    assert nobodys["shared"] not in [image["id"] for image in trusting.ask("GET", "/v2/images", headers=B).json["images"]]
    assert trusting.ask("DELETE", f"/v2/images/{nobodys['shared']}", headers=B).status == 403


# The same of an image that is not shared: whoever sees it. (Of a private one only A and the administrator.)
UNSHARED: list[tuple[str, str, Any, int]] = [
    ("GET", "", None, 403),
    ("POST", "", {"member": "project-b"}, 403),
    ("GET", "/project-b", None, 404),
    ("PUT", "/project-b", {"status": "accepted"}, 403),
    ("DELETE", "/project-b", None, 403),
]


@pytest.mark.parametrize("visibility", ["private", "community", "public"])
@pytest.mark.parametrize(("method", "rest", "body", "status"), UNSHARED)
def test_an_image_that_is_not_shared_has_no_members(
    trusting: Service, method: str, rest: str, body: Any, status: int, visibility: str
) -> None:
    image = trusting.image(headers=ADMIN, visibility=visibility, owner="project-a")
    for who in PEOPLE.values():
        seen = visibility != "private" or who in (A, ADMIN)
        answer = trusting.ask(method, f"/v2/images/{image['id']}/members{rest}", body, who)
        assert answer.status == (status if seen else 404)


def test_a_member_sees_itself_alone(trusting: Service, shared: str) -> None:
    assert trusting.ask("POST", f"/v2/images/{shared}/members", {"member": "project-d"}, A).status == 200

    def members(who: dict[str, str]) -> list[str]:
        answer = trusting.ask("GET", f"/v2/images/{shared}/members", headers=who).json
        return sorted(member["member_id"] for member in answer["members"])

    assert (members(A), members(B), members(ADMIN)) == (["project-b", "project-d"], ["project-b"], ["project-b", "project-d"])
    assert _member(trusting, "GET", shared, "project-d", B).status == 404


def test_an_answer_is_kept_and_puts_the_image_into_the_members_lists(trusting: Service, shared: str) -> None:
    def listed() -> bool:
        page = trusting.ask("GET", f"/v2/images?id={shared}", headers=B).json
        return [image["id"] for image in page["images"]] == [shared]

    assert not listed()
    for status, visible in (("accepted", True), ("rejected", False), ("accepted", True), ("pending", False)):
        answer = _member(trusting, "PUT", shared, "project-b", B, {"status": status})
        assert (answer.status, answer.json["status"]) == (200, status)
        assert _member(trusting, "GET", shared, "project-b", A).json["status"] == status
        assert listed() is visible


def test_who_is_no_member_any_more_sees_nothing(trusting: Service, shared: str) -> None:
    assert _member(trusting, "DELETE", shared, "project-b", A).status == 204
    assert trusting.ask("GET", f"/v2/images/{shared}", headers=B).status == 404
    assert _member(trusting, "DELETE", shared, "project-b", A).status == 404
    again = trusting.ask("POST", f"/v2/images/{shared}/members", {"member": "project-b"}, A)
    assert (again.status, again.json["status"]) == (200, "pending")


def test_members_of_an_image_that_becomes_private_see_it_no_more(trusting: Service, shared: str) -> None:
    for visibility, seen in (("private", 404), ("shared", 200)):
        assert patch(trusting, shared, [{"op": "replace", "path": "/visibility", "value": visibility}], A).status == 200
        assert trusting.ask("GET", f"/v2/images/{shared}", headers=B).status == seen


def test_without_authentication_everybody_shares_and_answers(service: Service) -> None:
    image = service.image()
    assert service.ask("POST", f"/v2/images/{image['id']}/members", {"member": "m"}).status == 200
    assert service.ask("PUT", f"/v2/images/{image['id']}/members/m", {"status": "accepted"}).json["status"] == "accepted"
    assert service.ask("GET", f"/v2/images/{image['id']}/members/m").json["status"] == "accepted"
    assert service.ask("DELETE", f"/v2/images/{image['id']}/members/m").status == 204
    assert service.ask("GET", f"/v2/images/{image['id']}/members").json["members"] == []
    assert service.ask("GET", f"/v2/images/{NOBODY}/members").status == 404
