"""Images API v1, contract A.8, A.11 and A.16: who may do what where a front has asked who it is."""

from __future__ import annotations

import contextlib
import http.client
import socket
import uuid
from typing import Any

import pytest

from tests.conftest import running
from tests.functional.running import PATIENCE
from tests.functional.service import Answer, Service
from tests.functional.v1 import DATA, RAW, Headers, files_of, head, identity, listed, make, meta, post, put, unique

ADMIN = identity("admins", "admin")
OWNER, OTHER, MEMBER, SHARER = (identity(name) for name in ("owner", "other", "member", "sharer"))
ASKERS = {"owner": OWNER, "other": OTHER, "member": MEMBER, "sharer": SHARER, "admin": ADMIN}


@pytest.fixture
def fronted(
    request: pytest.FixtureRequest, services: dict[tuple[str, str], Service], tmp_path_factory: pytest.TempPathFactory
) -> Service:
    """As ``trusting``, on SQLite in-process only: for what does not depend on the registry."""
    return running("sqlite", "trusting", request, services, tmp_path_factory, sections="[paste_deploy]\nflavor = trusted-auth\n")


def _image(service: Service, kind: str) -> dict[str, Any]:
    """An image of the project ``owner``: private, public, shared with ``member`` and ``sharer``; or nobody's."""
    fields = {"owner": "" if kind.startswith("nobody") else "owner", "is_public": kind.endswith("public")}
    image = make(service, DATA, ADMIN, **fields)
    if kind == "shared":
        wanted = {"memberships": [{"member_id": "member"}, {"member_id": "sharer", "can_share": True}]}
        assert service.ask("PUT", f"/v1/images/{image['id']}/members", wanted, ADMIN).status == 204
    return image


# kind of image, who asks: status of HEAD and GET, whether it is in his lists, status of PUT, status of DELETE
MATRIX: list[tuple[str, str, int, bool, int, int]] = [
    ("private", "owner", 200, True, 200, 200),
    ("private", "other", 404, False, 404, 404),
    ("private", "admin", 200, False, 200, 200),
    ("public", "owner", 200, True, 200, 200),
    ("public", "other", 200, True, 403, 403),
    ("public", "admin", 200, True, 200, 200),
    ("shared", "owner", 200, True, 200, 200),
    ("shared", "member", 200, True, 404, 404),
    ("shared", "sharer", 200, True, 404, 404),
    ("shared", "other", 404, False, 404, 404),
    ("shared", "admin", 200, False, 200, 200),
    ("nobody's", "other", 200, False, 404, 404),
    ("nobody's", "admin", 200, False, 200, 200),
    ("nobody's public", "other", 200, True, 403, 403),
]


@pytest.mark.parametrize(("kind", "asker", "read", "seen", "change", "delete"), MATRIX)
def test_who_may_do_what(trusting: Service, kind: str, asker: str, read: int, seen: bool, change: int, delete: int) -> None:
    image, who = _image(trusting, kind), ASKERS[asker]
    path = f"/v1/images/{image['id']}"
    assert [trusting.ask(method, path, headers=who).status for method in ("HEAD", "GET")] == [read, read]
    for lists in ("images", "images/detail"):
        assert bool(listed(trusting, f"name={image['name']}", who, lists)) is seen
    assert put(trusting, image["id"], headers=who, min_ram=9).status == change
    assert head(trusting, image["id"], ADMIN).headers["x-image-meta-min_ram"] == ("9" if change == 200 else "0")
    assert trusting.ask("DELETE", path, headers=who).status == delete
    assert bool(files_of(trusting, image["id"])) is (delete != 200)


# query, asker: does he see a private image of the project owner?
LISTS = [
    *(("is_public=" + word, "other", False) for word in ("none", "false", "true", "0")),
    *(("is_public=" + word, "owner", True) for word in ("none", "false", "true")),
    ("changes-since=2001-01-01", "other", False),
    ("owner=owner", "other", False),
    ("status=active&property-a=b", "other", False),
    ("is_public=none", "admin", True),
    ("is_public=false", "admin", True),
    ("is_public=true", "admin", False),
    ("", "admin", False),
]


@pytest.mark.parametrize(("query", "asker", "seen"), LISTS)
def test_only_an_administrator_chooses_what_a_list_is_of(trusting: Service, query: str, asker: str, seen: bool) -> None:
    image = _image(trusting, "private")
    put(trusting, image["id"], headers=ADMIN, property_a="b")
    assert bool(listed(trusting, f"name={image['name']}&{query}", ASKERS[asker])) is seen


# -- who it is -------------------------------------------------------------------------------------------------------------

NOBODY: list[Headers] = [
    {},
    {"X-Auth-Token": "x"},
    {**OWNER, "X-Identity-Status": "Invalid"},
    {**OWNER, "X-Identity-Status": "confirmed"},
    {name: value for name, value in ADMIN.items() if name != "X-Identity-Status"},
]


@pytest.mark.parametrize("headers", NOBODY)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "images"), ("GET", "images/detail"), ("POST", "images"), ("HEAD", "images/{id}")]
)
def test_without_a_confirmed_identity_it_is_a_401(fronted: Service, headers: Headers, method: str, path: str) -> None:
    assert fronted.ask(method, "/v1/" + path.format(id=uuid.uuid4()), headers=headers).status == 401


@pytest.mark.parametrize("more", [{}, {"X-Forwarded-For": "127.0.0.1"}])
def test_the_headers_are_believed_from_listed_addresses_only(fronted: Service, more: Headers) -> None:
    for address, status in (("127.0.0.1", 200), ("127.0.0.2", 401)):
        connection = http.client.HTTPConnection("127.0.0.1", fronted.port, PATIENCE, source_address=(address, 0))
        with contextlib.closing(connection):
            for path in ("/v1/images", "/v2/images"):
                connection.request("GET", path, headers={**ADMIN, **more})
                answer = connection.getresponse()
                assert (bool(answer.read()), answer.status) == (True, status)


# identity, wanted owner of a new image, and whether he is administrator
PEOPLE: list[tuple[Headers, str, bool]] = [
    (OWNER, "owner", False),
    (identity("p", "Member, ADMIN"), "p", True),
    (identity("p", "member", "admin"), "p", True),
    (identity("p", "administrator"), "p", False),
    ({**OWNER, "X-Project-Id": "new", "X-Tenant-Id": "old"}, "new", False),
    ({"X-Identity-Status": "Confirmed", "X-User-Id": "u", "X-Project-Id": "p", "X-Roles": "member"}, "p", False),
]


@pytest.mark.parametrize(("who", "owner", "admin"), PEOPLE)
def test_the_headers_say_who_it_is(fronted: Service, who: Headers, owner: str, admin: bool) -> None:
    image = make(fronted, headers=who)
    assert image["owner"] == owner
    given = make(fronted, headers=who, owner="somebody")
    assert given["owner"] == ("somebody" if admin else owner)
    assert put(fronted, image["id"], headers=who, owner="another").json["image"]["owner"] == ("another" if admin else owner)


def test_the_owner_may_be_the_user(
    request: pytest.FixtureRequest, services: dict[tuple[str, str], Service], tmp_path_factory: pytest.TempPathFactory
) -> None:
    flavor = "[paste_deploy]\nflavor = trusted-auth\n"
    service = running("sqlite", "by-user", request, services, tmp_path_factory, "owner_is_tenant = False", flavor)
    assert make(service, headers=OWNER)["owner"] == "owner-u"


def test_who_is_nobody_may_look_where_that_is_allowed(
    request: pytest.FixtureRequest, services: dict[tuple[str, str], Service], tmp_path_factory: pytest.TempPathFactory
) -> None:
    flavor = "[paste_deploy]\nflavor = trusted-auth\n"
    service = running("sqlite", "anonymous-v1", request, services, tmp_path_factory, "allow_anonymous_access = True", flavor)
    public, private = _image(service, "public"), _image(service, "private")
    assert service.ask("GET", f"/v1/images/{public['id']}").body == DATA
    assert service.ask("GET", f"/v1/images/{private['id']}").status == 404
    assert [image["id"] for image in listed(service, "")] == [public["id"]]
    assert post(service).status == 403
    assert put(service, public["id"], name="x").status == 403
    assert service.ask("DELETE", f"/v1/images/{public['id']}").status == 403
    assert service.ask("PUT", f"/v1/images/{public['id']}/members/m").status == 401


# -- what a plain user may not ---------------------------------------------------------------------------------------------


def test_only_an_administrator_makes_images_public(trusting: Service) -> None:
    image_id = str(uuid.uuid4())
    assert post(trusting, DATA, OWNER, id=image_id, is_public="True").status == 403
    assert head(trusting, image_id, ADMIN).status == 404
    assert files_of(trusting, image_id) == []
    image = make(trusting, DATA, OWNER)
    assert put(trusting, image["id"], headers=OWNER, is_public="True", name="x").status == 403
    seen = head(trusting, image["id"], OWNER).headers
    assert (seen["x-image-meta-is_public"], seen["x-image-meta-name"]) == ("False", image["name"])
    assert put(trusting, image["id"], headers=ADMIN, is_public="True").json["image"]["owner"] == "owner"
    assert put(trusting, image["id"], headers=OWNER, is_public="True").status == 200


@pytest.mark.parametrize("name", ["X-User-Id", "X-Project-Id"])
def test_an_identity_that_is_no_text_is_refused(fronted: Service, name: str) -> None:
    with socket.create_connection(("127.0.0.1", fronted.port), PATIENCE) as connection:
        confirmed = b"Host: x\r\nConnection: close\r\nX-Identity-Status: Confirmed\r\nX-Roles: member\r\n"
        connection.sendall(b"GET /v1/images HTTP/1.1\r\n%s%s: \xff\r\n\r\n" % (confirmed, name.encode()))
        assert connection.makefile("rb").readline().split()[1] == b"400"


@pytest.mark.parametrize("who", [OWNER, ADMIN])
@pytest.mark.parametrize(("field", "value"), [("size", 63), ("checksum", "a" * 32)])
def test_nobody_changes_what_the_bytes_of_an_image_are(fronted: Service, who: Headers, field: str, value: object) -> None:
    image = _image(fronted, "private")
    answer = put(fronted, image["id"], headers=who, **{field: str(value)})
    assert answer.status == 403
    assert f"Forbidden to modify '{field}' of active image." in answer.text


@pytest.mark.parametrize(("asker", "status"), [("owner", 404), ("other", 404), ("admin", 200)])
def test_only_an_administrator_sees_a_deleted_image(trusting: Service, asker: str, status: int) -> None:
    image = _image(trusting, "public")
    assert trusting.ask("DELETE", f"/v1/images/{image['id']}", headers=OWNER).status == 200
    assert head(trusting, image["id"], ASKERS[asker]).status == status
    assert trusting.ask("DELETE", f"/v1/images/{image['id']}", headers=ASKERS[asker]).status == 404


def test_the_owner_hears_of_a_delete_by_changes_since(trusting: Service) -> None:
    image = _image(trusting, "private")
    trusting.ask("DELETE", f"/v1/images/{image['id']}", headers=OWNER)
    query = f"name={image['name']}&changes-since=2001-01-01"
    assert [found["status"] for found in listed(trusting, query, OWNER, "images/detail")] == ["deleted"]
    assert listed(trusting, query, OTHER) == []


def test_a_marker_that_is_not_for_the_askers_eyes_is_not_there(trusting: Service) -> None:
    image = _image(trusting, "private")
    statuses = [trusting.ask("GET", f"/v1/images?marker={image['id']}", headers=who).status for who in (OWNER, OTHER, ADMIN)]
    assert statuses == [200, 400, 200]
    trusting.ask("DELETE", f"/v1/images/{image['id']}", headers=OWNER)
    assert listed(trusting, f"marker={image['id']}&changes-since=2001-01-01&name={image['name']}", OWNER) == []


def test_a_deactivated_image_is_for_administrators(trusting: Service) -> None:
    image = _image(trusting, "public")
    assert trusting.ask("POST", f"/v2/images/{image['id']}/actions/deactivate", headers=ADMIN).status == 204
    statuses = [trusting.ask("GET", f"/v1/images/{image['id']}", headers=who).status for who in (OWNER, OTHER, ADMIN)]
    assert statuses == [403, 403, 200]


def test_a_reader_may_only_look(fronted: Service) -> None:
    reader, image = identity("owner", "reader"), _image(fronted, "private")
    assert head(fronted, image["id"], reader).status == 200
    assert post(fronted, headers=reader).status == 403
    assert put(fronted, image["id"], headers=reader, name="x").status == 403
    assert fronted.ask("DELETE", f"/v1/images/{image['id']}", headers=reader).status == 403
    members = f"/v1/images/{image['id']}/members"
    assert fronted.ask("PUT", members, {"memberships": [{"member_id": "m"}]}, reader).status == 403
    assert [fronted.ask(method, f"{members}/m", headers=reader).status for method in ("PUT", "DELETE")] == [403, 403]
    assert _seen_members(fronted, image, reader) == set()


def test_an_id_of_somebody_else_is_taken_but_tells_nothing(trusting: Service) -> None:
    image = _image(trusting, "private")
    answer = post(trusting, DATA, OTHER, id=image["id"])
    assert answer.status == 409
    assert image["name"] not in answer.text
    assert trusting.ask("GET", f"/v1/images/{image['id']}", headers=OWNER).body == DATA


# -- members ---------------------------------------------------------------------------------------------------------------


def _add(service: Service, image: dict[str, Any], member: str, who: Headers) -> Answer:
    return service.ask("PUT", f"/v1/images/{image['id']}/members/{member}", {"member": {"can_share": False}}, who)


def _seen_members(service: Service, image: dict[str, Any], who: Headers) -> set[str]:
    answer = service.ask("GET", f"/v1/images/{image['id']}/members", headers=who)
    return {member["member_id"] for member in answer.json["members"]}


@pytest.mark.parametrize(("asker", "status"), [("owner", 204), ("admin", 204), ("sharer", 204), ("member", 404), ("other", 404)])
def test_who_may_share_an_image(trusting: Service, asker: str, status: int) -> None:
    image = _image(trusting, "shared")
    answer = _add(trusting, image, "third", ASKERS[asker])
    assert answer.status == status
    if asker == "member":
        assert "No permission to share that image" in answer.text
    assert ("third" in _seen_members(trusting, image, OWNER)) is (status == 204)


def test_a_member_replaces_nobody_whom_he_does_not_see(trusting: Service) -> None:
    image = _image(trusting, "shared")
    third: dict[str, Any] = {"memberships": [{"member_id": "third"}]}
    assert trusting.ask("PUT", f"/v1/images/{image['id']}/members", third, ASKERS["sharer"]).status == 204
    assert _seen_members(trusting, image, OWNER) == {"member", "third"}


@pytest.mark.parametrize("kind", ["public", "nobody's", "nobody's public"])
def test_nobody_shares_what_is_not_shared_with_him(trusting: Service, kind: str) -> None:
    image = _image(trusting, kind)
    assert _add(trusting, image, "third", OTHER).status == 404
    everybody: dict[str, Any] = {"memberships": [{"member_id": "third"}]}
    assert trusting.ask("PUT", f"/v1/images/{image['id']}/members", everybody, OTHER).status == 404
    assert _seen_members(trusting, image, ADMIN) == set()


@pytest.mark.parametrize(
    ("asker", "wanted"),
    [("owner", {"member", "sharer"}), ("admin", {"member", "sharer"}), ("member", {"member"}), ("sharer", {"sharer"})],
)
def test_who_sees_which_members(trusting: Service, asker: str, wanted: set[str]) -> None:
    assert _seen_members(trusting, _image(trusting, "shared"), ASKERS[asker]) == wanted


def test_who_sees_no_image_sees_no_members(trusting: Service) -> None:
    image = _image(trusting, "shared")
    for method, path in (("GET", ""), ("PUT", "/other"), ("DELETE", "/member")):
        assert trusting.ask(method, f"/v1/images/{image['id']}/members{path}", headers=OTHER).status == 404


def test_a_member_may_leave_and_remove_nobody_else(trusting: Service) -> None:
    image = _image(trusting, "shared")
    path = f"/v1/images/{image['id']}/members"
    assert trusting.ask("DELETE", f"{path}/sharer", headers=MEMBER).status == 404
    assert trusting.ask("DELETE", f"{path}/member", headers=SHARER).status == 404, "though he may share it"
    assert trusting.ask("DELETE", f"{path}/member", headers=MEMBER).status == 204
    assert _seen_members(trusting, image, OWNER) == {"sharer"}
    assert head(trusting, image["id"], MEMBER).status == 404


def test_an_image_is_in_a_members_list_at_once_and_gone_at_once(trusting: Service) -> None:
    image, project = _image(trusting, "private"), unique()
    who = identity(project)
    _add(trusting, image, project, OWNER)
    assert [found["id"] for found in listed(trusting, f"name={image['name']}", who)] == [image["id"]]
    assert trusting.ask("GET", f"/v1/images/{image['id']}", headers=who).body == DATA
    trusting.ask("DELETE", f"/v1/images/{image['id']}/members/{project}", headers=OWNER)
    assert listed(trusting, f"name={image['name']}", who) == []
    assert head(trusting, image["id"], who).status == 404


def test_shared_images_of_others_are_those_of_ones_own(trusting: Service) -> None:
    hidden, seen, project = _image(trusting, "private"), _image(trusting, "public"), unique()
    for image in (hidden, seen):
        assert _add(trusting, image, project, ADMIN).status == 204
        assert _add(trusting, image, "other", ADMIN).status == 204
    both = {hidden["id"], seen["id"]}
    for who, wanted in [(identity(project), both), (ADMIN, both), (OWNER, both), (OTHER, set())]:
        found = trusting.ask("GET", f"/v1/shared-images/{project}", headers=who).json["shared_images"]
        assert {item["image_id"] for item in found} == wanted


@pytest.mark.parametrize(("method", "path"), [("PUT", ""), ("PUT", "/m"), ("DELETE", "/m")])
def test_sharing_is_for_who_has_a_project(fronted: Service, method: str, path: str) -> None:
    image = _image(fronted, "public")
    homeless = {"X-Identity-Status": "Confirmed", "X-User-Id": "u", "X-Roles": "member"}
    body: dict[str, Any] | None = None if path else {"memberships": []}
    assert fronted.ask(method, f"/v1/images/{image['id']}/members{path}", body, homeless).status == 401


def test_only_the_owner_fills_a_queued_image(trusting: Service) -> None:
    image = make(trusting, headers={**OWNER, **meta(**RAW)})
    assert put(trusting, image["id"], DATA, OTHER).status == 404
    assert put(trusting, image["id"], DATA, OWNER).status == 200
