"""Tags, deactivate and reactivate (contract C.13), and what roles may do at all (C.20)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import running
from tests.functional.running import eventually
from tests.functional.service import OCTET_STREAM, Service
from tests.functional.v2 import ADMIN, READER, ROLELESS, SERVICE, V21, A, B, download, patch, person, show, upload

TAGS = ["word", "two words", "a/b", "a?b#c", "a,b", "100%", "ümläut ☃", ".", "..", "T" * 255, "+", "a&b=c", "two\nlines"]


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_is_put_and_taken_off_again(service: Service, tag: str) -> None:
    image = service.image(tags=["first"])
    address = f"/v2/images/{image['id']}/tags/{quote(tag, safe='')}"
    for _ in range(2):  # idempotent
        answer = service.ask("PUT", address)
        assert (answer.status, answer.body) == (204, b"")
    assert sorted(show(service, image["id"])["tags"]) == sorted(["first", tag])
    assert service.ask("DELETE", address).status == 204
    assert show(service, image["id"])["tags"] == ["first"]
    assert service.ask("DELETE", address).status == 404


def test_tags_differ_by_case(service: Service) -> None:
    image = service.image(tags=["word"])
    assert service.ask("DELETE", f"/v2/images/{image['id']}/tags/Word").status == 404
    assert service.ask("PUT", f"/v2/images/{image['id']}/tags/Word").status == 204
    assert sorted(show(service, image["id"])["tags"]) == ["Word", "word"]


@pytest.mark.parametrize(("tag", "status"), [("t" * 256, 400), ("a%00b", 400), ("%ff", 400)])
def test_some_words_are_no_tags(service: Service, tag: str, status: int) -> None:
    image = service.image()
    assert service.ask("PUT", f"/v2/images/{image['id']}/tags/{tag}").status == status
    assert show(service, image["id"])["tags"] == []


def test_an_image_has_at_most_128_tags(service: Service) -> None:
    image = service.image(tags=[f"t{n}" for n in range(128)])
    answer = service.ask("PUT", f"/v2/images/{image['id']}/tags/one-more")
    assert (answer.status, "128" in answer.text) == (413, True)
    assert service.ask("PUT", f"/v2/images/{image['id']}/tags/t5").status == 204


# -- deactivate and reactivate -------------------------------------------------------------------------------------------------


def _act(service: Service, image_id: str, action: str, who: dict[str, str] | None = None) -> int:
    return service.ask("POST", f"/v2/images/{image_id}/actions/{action}", headers=who).status


def test_an_image_is_deactivated_and_reactivated_any_number_of_times(service: Service) -> None:
    image = service.image(b"data")
    for action, status in (("deactivate", "deactivated"), ("reactivate", "active")) * 2:
        for _ in range(2):  # idempotent
            assert _act(service, image["id"], action) == 204
            assert show(service, image["id"])["status"] == status


@pytest.mark.parametrize("action", ["deactivate", "reactivate"])
def test_an_image_without_data_is_neither_deactivated_nor_reactivated(service: Service, action: str) -> None:
    image = service.image()
    answer = service.ask("POST", f"/v2/images/{image['id']}/actions/{action}")
    assert (answer.status, f"Not allowed to {action} image in status 'queued'" in answer.text) == (403, True)
    assert show(service, image["id"])["status"] == "queued"


DEACTIVATED: list[tuple[str, str, Any, dict[str, str], int]] = [
    ("GET", "", None, {}, 200),
    ("PATCH", "", [{"op": "replace", "path": "/name", "value": "renamed"}], V21, 200),
    ("PUT", "/tags/x", None, {}, 204),
    ("POST", "/members", {"member": "m"}, {}, 200),
    ("GET", "/file", None, {}, 403),
    ("PUT", "/file", b"data", OCTET_STREAM, 409),
    ("DELETE", "", None, {}, 204),
]


@pytest.mark.parametrize(("method", "rest", "body", "headers", "status"), DEACTIVATED)
def test_all_but_the_data_of_a_deactivated_image_goes_on(
    trusting: Service, method: str, rest: str, body: Any, headers: dict[str, str], status: int
) -> None:
    image = trusting.image(b"data", A)
    assert _act(trusting, image["id"], "deactivate", A) == 204
    assert trusting.ask(method, f"/v2/images/{image['id']}{rest}", body, {**headers, **A}).status == status


# -- identity and roles --------------------------------------------------------------------------------------------------------

UNCONFIRMED = [
    {},
    {"X-Identity-Status": "Invalid"},
    {"X-User-Id": "u", "X-Project-Id": "p", "X-Roles": "admin"},
    {"X-Identity-Status": "confirmed", "X-User-Id": "u", "X-Project-Id": "p", "X-Roles": "admin"},
    {"X-Auth-Token": "whatever"},
]


@pytest.mark.parametrize("headers", UNCONFIRMED)
@pytest.mark.parametrize(("method", "path"), [("GET", "/v2/images"), ("POST", "/v2/images"), ("GET", "/v2/schemas/image")])
def test_who_has_no_confirmed_identity_is_not_answered(
    trusting: Service, method: str, path: str, headers: dict[str, str]
) -> None:
    assert trusting.ask(method, path, headers=headers).status == 401


@pytest.fixture
def anonymous(
    services: dict[tuple[str, str], Service], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Service:
    """A service where who has no identity may look."""
    flavor = "[paste_deploy]\nflavor = trusted-auth\n"
    allowed = "allow_anonymous_access = True\n"
    return running("sqlite", "anonymous", request, services, tmp_path_factory, allowed, flavor)


def test_who_may_be_nobody_reads_what_is_public_and_changes_nothing(anonymous: Service) -> None:
    public = anonymous.image(b"data", ADMIN, visibility="public")["id"]
    own = anonymous.image(b"data", A)["id"]
    listed = anonymous.ask("GET", "/v2/images").json["images"]
    assert public in [image["id"] for image in listed]
    assert {image["visibility"] for image in listed} == {"public"}
    assert download(anonymous, public).body == b"data"
    assert anonymous.ask("GET", f"/v2/images/{own}").status == 404
    assert anonymous.ask("POST", "/v2/images", {}).status == 403
    assert anonymous.ask("DELETE", f"/v2/images/{public}").status == 403
    assert _act(anonymous, public, "deactivate") == 403
    assert anonymous.ask("PUT", f"/v2/images/{public}/tags/x").status == 403


@pytest.mark.parametrize("path", ["/versions", "/healthcheck", "/readiness"])
def test_some_addresses_ask_nobody_who_he_is(trusting: Service, path: str) -> None:
    assert trusting.ask("GET", path).status == 200


# who: list, show his project's private image, create, read its data, deactivate
ROLES: list[tuple[str, dict[str, str], tuple[int, int, int, int, int]]] = [
    ("member", A, (200, 200, 201, 200, 204)),
    ("MEMBER ", person("project-a", " MEMBER , Reader"), (200, 200, 201, 200, 204)),
    ("any role", person("project-a", "operator"), (200, 200, 201, 200, 204)),
    ("reader", READER, (200, 200, 403, 403, 403)),
    ("no role", ROLELESS, (403, 404, 403, 404, 404)),
    ("stranger", B, (200, 404, 201, 404, 404)),
    ("service", SERVICE, (403, 404, 403, 404, 404)),
    ("admin", ADMIN, (200, 200, 201, 200, 204)),
    ("ADMIN", person("project-x", "ADMIN"), (200, 200, 201, 200, 204)),
]


@pytest.mark.parametrize(("name", "who", "statuses"), ROLES, ids=[name for name, _, _ in ROLES])
def test_roles_decide(trusting: Service, name: str, who: dict[str, str], statuses: tuple[int, ...]) -> None:
    image = trusting.image(b"data", A, visibility="private")
    found = (
        trusting.ask("GET", "/v2/images?limit=1", headers=who).status,
        trusting.ask("GET", f"/v2/images/{image['id']}", headers=who).status,
        trusting.ask("POST", "/v2/images", {"name": name}, who).status,
        download(trusting, image["id"], who).status,
        _act(trusting, image["id"], "deactivate", who),
    )
    assert found == statuses


def test_a_reader_sends_no_data(trusting: Service) -> None:
    image = trusting.image(headers=A)
    assert upload(trusting, image["id"], b"data", READER).status == 403
    assert show(trusting, image["id"], A)["status"] == "queued"


# attributes: what A and an administrator are told when they make it, and when they change an image to it
GIVEN: list[tuple[dict[str, Any], tuple[int, int], tuple[int, int]]] = [
    ({"owner": "project-a"}, (201, 201), (403, 200)),  # also where it is the owner already
    ({"owner": "project-b"}, (403, 201), (403, 200)),
    ({"owner": None}, (403, 201), (403, 200)),
    ({"visibility": "public"}, (403, 201), (403, 200)),
    ({"visibility": "community"}, (201, 201), (200, 200)),
    ({"visibility": "private"}, (201, 201), (200, 200)),
]


@pytest.mark.parametrize(("attributes", "made", "changed"), GIVEN, ids=str)
def test_what_only_an_administrator_may_give_an_image(
    trusting: Service, attributes: dict[str, Any], made: tuple[int, int], changed: tuple[int, int]
) -> None:
    operations = [{"op": "replace", "path": f"/{name}", "value": value} for name, value in attributes.items()]
    image = trusting.image(headers=A)
    for who, created, patched in zip((A, ADMIN), made, changed, strict=True):
        assert trusting.ask("POST", "/v2/images", attributes, who).status == created
        assert trusting.ask("PATCH", f"/v2/images/{image['id']}", operations, {**V21, **who}).status == patched


def test_who_may_not_publish_cannot_say_public_of_his_public_image(trusting: Service) -> None:
    image = trusting.image(headers=ADMIN, visibility="public", owner="project-a")
    operations = [{"op": "replace", "path": "/visibility", "value": "public"}]
    assert [patch(trusting, image["id"], operations, who).status for who in (A, ADMIN)] == [403, 200]
    assert patch(trusting, image["id"], [{"op": "replace", "path": "/name", "value": "mine"}], A).status == 200


@pytest.mark.parametrize("who", [ROLELESS, SERVICE], ids=["no role", "service"])
def test_who_has_no_role_sees_not_even_public_images(trusting: Service, who: dict[str, str]) -> None:
    image = trusting.image(b"data", ADMIN, visibility="public")
    assert trusting.ask("GET", f"/v2/images/{image['id']}", headers=who).status == 404
    assert download(trusting, image["id"], who).status == 404


def test_the_owner_of_a_new_image_is_the_project(trusting: Service) -> None:
    assert trusting.image(headers=A)["owner"] == "project-a"
    old = {name: value for name, value in A.items() if name != "X-Project-Id"}
    assert trusting.image(headers={**old, "X-Tenant-Id": "project-t"})["owner"] == "project-t"


def test_who_asked_stands_in_the_access_log_and_his_token_does_not(trusting: Service) -> None:
    secret = "token-that-must-not-be-logged"
    answer = trusting.ask("GET", "/v2/images?limit=0", headers={**A, "X-Auth-Token": secret})
    request_id = answer.headers["x-openstack-request-id"]

    def lines() -> list[str]:
        return [line for line in trusting.log.splitlines() if request_id in line and "path=/v2/images" in line]

    assert "user=user-project-a project=project-a" in eventually(lines, "the request is logged")[0]
    assert secret not in trusting.log
