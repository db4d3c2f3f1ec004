"""flavor = http_basic: users in an htpasswd file, their projects and roles in a file beside it."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from tests.functional.registries import migrated
from tests.functional.running import eventually
from tests.functional.service import Answer, Service, running_service
from tests.functional.v2 import download

IDENTITIES: dict[str, dict[str, Any]] = {
    "alice": {"project": "project-a", "roles": ["member"]},
    "anna": {"project": "project-a", "roles": ["Member", "reader"]},
    "bob": {"project": "project-b", "roles": ["member"]},
    "rita": {"project": "project-a", "roles": ["reader"]},
    "root": {"project": "project-r", "roles": ["admin"]},
    "gone": {"project": "project-a", "roles": ["member"], "disabled": True},
    "zoë": {"project": "project-z", "roles": ["member"]},
}


def _hash(password: str, prefix: bytes = b"$2b$") -> str:
    """The cheapest that bcrypt makes: tests want the check, not its price."""
    return (prefix + bcrypt.hashpw(password.encode(), bcrypt.gensalt(4))[4:]).decode()


def _write(path: Path, text: str) -> None:
    """As image-manage does: a new file in the place of the old one."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.chmod(0o600)
    os.replace(new, path)


def _passwords(folder: Path, **passwords: str) -> None:
    users = {**{user: f"{user}'s password" for user in IDENTITIES}, "lonely": "lonely's password", **passwords}
    # htpasswd -B writes $2y$; a comment and an empty line are none of our business.
    lines = [f"{user}:{_hash(password, b'$2y$' if user == 'anna' else b'$2b$')}" for user, password in users.items() if password]
    _write(folder / "htpasswd", "# users\n\n" + "\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def basic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that asks for user and password."""
    folder = tmp_path_factory.mktemp("http-basic")
    _passwords(folder)
    _write(folder / "identities.json", json.dumps(IDENTITIES))
    sections = (
        "[paste_deploy]\nflavor = http_basic\n"
        f"[oslo_middleware]\nhttp_basic_auth_user_file = {folder}/htpasswd\n"
        f"[http_basic]\nidentity_file = {folder}/identities.json\nrealm = The images\n"
    )
    with running_service(folder, migrated(f"sqlite:///{folder}/registry.db"), sections=sections) as service:
        yield service


@pytest.fixture
def restored(basic: Service) -> Iterator[Service]:
    """The same, with both files as they were afterwards."""
    yield basic
    _passwords(basic.folder)
    _write(basic.folder / "identities.json", json.dumps(IDENTITIES))
    eventually(lambda: _list(basic, "alice").status == 200, "the old files are read again")


def _as(user: str, password: str | None = None) -> dict[str, str]:
    pair = f"{user}:{user + chr(39) + 's password' if password is None else password}"
    return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def _list(service: Service, user: str, password: str | None = None) -> Answer:
    return service.ask("GET", "/v2/images", headers=_as(user, password))


@pytest.mark.parametrize("user", ["alice", "anna", "bob", "rita", "root", "zoë"])
def test_who_knows_his_password_is_answered(basic: Service, user: str) -> None:
    for _ in range(2):  # checked, and remembered
        assert _list(basic, user).status == 200


WRONG: list[dict[str, str]] = [
    {},
    _as("alice", "wrong"),
    _as("alice", ""),
    _as("Alice", "alice's password"),
    _as("nobody", "nobody's password"),
    _as("", ""),
    _as("gone"),
    _as("alice", "bob's password"),
    {"Authorization": ""},
    {"Authorization": "Basic"},
    {"Authorization": "Basic !!!"},
    {"Authorization": "Basic " + base64.b64encode(b"alice").decode()},
    {"Authorization": "Basic " + base64.b64encode(b"\xff:\xff").decode()},
    {"Authorization": "Bearer token"},
    {"X-Auth-Token": "token"},
    # Headers of another flavor say nothing here.
    {"X-Identity-Status": "Confirmed", "X-User-Id": "u", "X-Project-Id": "p", "X-Roles": "admin"},
]


@pytest.mark.parametrize("headers", WRONG, ids=str)
@pytest.mark.parametrize(("method", "path"), [("GET", "/v2/images"), ("POST", "/v2/images"), ("GET", "/v1/images")])
def test_who_does_not_is_asked_for_it(basic: Service, method: str, path: str, headers: dict[str, str]) -> None:
    answer = basic.ask(method, path, headers=headers)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Basic realm="The images"')


def test_a_wrong_password_is_logged_without_the_password(basic: Service) -> None:
    assert _list(basic, "alice", "a-wrong-secret").status == 401
    eventually(lambda: "Wrong password, or no such user: 'alice'" in basic.log, "the refusal is logged")
    encoded = _as("alice", "a-wrong-secret")["Authorization"].removeprefix("Basic ")
    assert "a-wrong-secret" not in basic.log
    assert encoded not in basic.log


@pytest.mark.parametrize("path", ["/versions", "/healthcheck", "/readiness"])
def test_some_addresses_ask_nobody(basic: Service, path: str) -> None:
    assert basic.ask("GET", path).status == 200


def test_the_scheme_is_named_in_any_case(basic: Service) -> None:
    encoded = _as("alice")["Authorization"].removeprefix("Basic ")
    assert basic.ask("GET", "/v2/images", headers={"Authorization": f"bASIC {encoded}"}).status == 200


# -- projects and roles --------------------------------------------------------------------------------------------------------


def test_images_belong_to_the_project_of_who_made_them(basic: Service) -> None:
    image = basic.image(b"data", _as("alice"), visibility="private")
    assert image["owner"] == "project-a"
    statuses = {user: download(basic, image["id"], _as(user)).status for user in ("alice", "anna", "bob", "root")}
    assert statuses == {"alice": 200, "anna": 200, "bob": 404, "root": 200}
    assert [found["id"] for found in _list(basic, "bob").json["images"] if found["id"] == image["id"]] == []


# user: list, create, create a public one, read data, delete
ROLES = {
    "alice": (200, 201, 403, 200, 204),
    "rita": (200, 403, 403, 403, 403),
    "bob": (200, 201, 403, 404, 404),
    "root": (200, 201, 201, 200, 204),
    "lonely": (403, 403, 403, 404, 404),  # a password alone, and no identity
}


@pytest.mark.parametrize("user", ROLES)
def test_roles_decide(basic: Service, user: str) -> None:
    image, who = basic.image(b"data", _as("alice"), visibility="private"), _as(user)
    found = (
        basic.ask("GET", "/v2/images", headers=who).status,
        basic.ask("POST", "/v2/images", {}, who).status,
        basic.ask("POST", "/v2/images", {"visibility": "public"}, who).status,
        download(basic, image["id"], who).status,
        basic.ask("DELETE", f"/v2/images/{image['id']}", headers=who).status,
    )
    assert found == ROLES[user]


def test_the_access_log_names_the_user(basic: Service) -> None:
    request_id = basic.ask("GET", "/v2/images?limit=0", headers=_as("alice")).headers["x-openstack-request-id"]
    wanted = f"request_id={request_id}"
    line = eventually(lambda: [line for line in basic.log.splitlines() if wanted in line and "status=200" in line], "logged")[0]
    assert "user=alice project=project-a" in line


# -- the files change ----------------------------------------------------------------------------------------------------------


def test_a_new_password_counts_and_the_old_one_does_not_any_more(restored: Service) -> None:
    assert _list(restored, "alice").status == 200
    _passwords(restored.folder, alice="new")
    eventually(lambda: _list(restored, "alice", "new").status == 200, "the new password is known")
    eventually(lambda: _all_refuse(restored, "alice", "alice's password"), "the old password is forgotten")
    assert _list(restored, "bob").status == 200


def _all_refuse(service: Service, user: str, password: str) -> bool:
    """Every worker says no: each request may meet another one."""
    return all(_list(service, user, password).status == 401 for _ in range(8))


def test_a_new_user_is_let_in_and_a_removed_one_is_not(restored: Service) -> None:
    _passwords(restored.folder, newcomer="hello", bob="")
    eventually(lambda: _list(restored, "newcomer", "hello").status == 403, "the new user is known, and has no role yet")
    eventually(lambda: _all_refuse(restored, "bob", "bob's password"), "the removed user is unknown")
    newcomer = {"newcomer": {"project": "project-n", "roles": ["member"]}}
    _write(restored.folder / "identities.json", json.dumps({**IDENTITIES, **newcomer}))
    eventually(lambda: _list(restored, "newcomer", "hello").status == 200, "his role is known")


def test_roles_that_are_taken_away_are_gone(restored: Service) -> None:
    assert restored.ask("POST", "/v2/images", {"visibility": "public"}, _as("root")).status == 201
    changed = {
        **IDENTITIES,
        "root": {"project": "project-r", "roles": ["reader"]},
        "bob": {**IDENTITIES["bob"], "disabled": True},
    }
    _write(restored.folder / "identities.json", json.dumps(changed))
    eventually(
        lambda: all(restored.ask("POST", "/v2/images", {}, _as("root")).status == 403 for _ in range(8)), "the role is gone"
    )
    eventually(lambda: _all_refuse(restored, "bob", "bob's password"), "the disabled user is refused")


@pytest.mark.parametrize(("name", "text"), [("htpasswd", "alice:{SHA}nope\n"), ("htpasswd", "alice\n"), ("identities.json", "{")])
def test_a_file_that_cannot_be_read_leaves_the_users_that_were_known(restored: Service, name: str, text: str) -> None:
    before = len(restored.log)
    _write(restored.folder / name, text)
    eventually(lambda: _list(restored, "alice").status == 200 and name in restored.log[before:], "the broken file is logged")
    assert _list(restored, "alice").status == 200
