"""Who asks: each flavor against the requests that it lets in and those that it does not."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict
from oslo_config import cfg

from image_service import config
from image_service.api.middleware import http_basic
from image_service.api.middleware.authentication import Authenticator, base_flavor, make_authenticator
from image_service.api.middleware.http_basic import matches, nobodys_hash, parse_identities, parse_passwords
from image_service.api.middleware.request_id import request_id_of
from image_service.context import RequestContext
from image_service.errors import HeaderTooLarge, NotAuthenticated, ServiceUnavailable


class Transport:
    """A connection from ``address``."""

    def __init__(self, address: str) -> None:
        self._address = address

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return (self._address, 40000) if name == "peername" else default

    def is_closing(self) -> bool:
        return False


def request(headers: Mapping[str, str] | None = None, address: str = "127.0.0.1") -> web.Request:
    return make_mocked_request("GET", "/v2/images", headers=headers, transport=Transport(address))


def configured(tmp_path: Path, text: str, program: str = "glance-api") -> cfg.ConfigOpts:
    file = tmp_path / "test.conf"
    file.write_text(text)
    return config.load(program, [str(file)], [])


def ask(authenticate: Authenticator, *requests: web.Request) -> list[RequestContext]:
    async def all_of_them() -> list[RequestContext]:
        return [await authenticate(one) for one in requests]

    return asyncio.run(all_of_them())


# ---- flavors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flavor", "base"),
    [
        ("", ""),
        ("caching", ""),
        ("cachemanagement", ""),
        ("http_basic", "http_basic"),
        ("trusted-auth", "trusted-auth"),
        ("trusted-auth+cachemanagement", "trusted-auth"),
    ],
)
def test_flavors_are_read_as_glance_writes_them(tmp_path: Path, flavor: str, base: str) -> None:
    assert base_flavor(configured(tmp_path, f"[paste_deploy]\nflavor = {flavor}\n")) == base


@pytest.mark.parametrize(
    ("flavor", "sentence"),
    [("keystone", "Keystone"), ("keystone+caching", "Keystone"), ("http-basic", "http_basic"), ("none", "trusted-auth")],
)
def test_other_flavors_are_refused_with_a_sentence(tmp_path: Path, flavor: str, sentence: str) -> None:
    with pytest.raises(cfg.Error, match=sentence):
        base_flavor(configured(tmp_path, f"[paste_deploy]\nflavor = {flavor}\n"))


def test_with_an_empty_flavor_everybody_is_administrator_whatever_the_token(tmp_path: Path) -> None:
    authenticate = make_authenticator(configured(tmp_path, "[paste_deploy]\nflavor =\n"))
    contexts = ask(authenticate, request(), request({"X-Auth-Token": "anything"}, address="192.0.2.1"))
    assert contexts == [RequestContext(is_admin=True)] * 2


# ---- trusted-auth ---------------------------------------------------------------------------------------------

CONFIRMED = {"X-Identity-Status": "Confirmed", "X-User-Id": "u1", "X-Project-Id": "p1", "X-Roles": "Member, ,READER"}
TRUSTED = "[paste_deploy]\nflavor = trusted-auth\n[trusted_auth]\ntrusted_addresses = 127.0.0.1, 10.0.0.0/8, ::1\n"


def known(**changes: Any) -> RequestContext:
    default: dict[str, Any] = {
        "user": "u1",
        "project": "p1",
        "roles": frozenset({"member", "reader"}),
        "authenticated": True,
    }
    return RequestContext(**{**default, **changes})


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({}, known()),
        ({"X-Project-Id": "", "X-Tenant-Id": "p2"}, known(project="p2")),
        ({"X-Project-Id": "p1", "X-Tenant-Id": "p2"}, known(project="p1")),
        ({"X-Project-Id": ""}, known(project=None)),
        ({"X-Roles": "ADMIN"}, known(roles=frozenset({"admin"}), is_admin=True)),
        ({"X-Roles": "administrator"}, known(roles=frozenset({"administrator"}))),
        ({"X-Roles": ""}, known(roles=frozenset())),
    ],
)
def test_identity_headers_of_a_trusted_proxy(tmp_path: Path, headers: dict[str, str], wanted: RequestContext) -> None:
    authenticate = make_authenticator(configured(tmp_path, TRUSTED))
    assert ask(authenticate, request({**CONFIRMED, **headers})) == [wanted]


@pytest.mark.parametrize(
    ("address", "believed"),
    [
        ("127.0.0.1", True),
        ("10.1.2.3", True),
        ("::1", True),
        ("::ffff:10.1.2.3", True),
        ("11.0.0.1", False),
        ("::2", False),
        ("::ffff:11.0.0.1", False),
        ("fe80::1%eth0", False),
        ("", False),
    ],
)
def test_headers_are_believed_from_listed_addresses_only(tmp_path: Path, address: str, believed: bool) -> None:
    authenticate = make_authenticator(configured(tmp_path, TRUSTED))
    if believed:
        assert ask(authenticate, request(CONFIRMED, address)) == [known()]
    else:
        with pytest.raises(NotAuthenticated):
            ask(authenticate, request(CONFIRMED, address))


@pytest.mark.parametrize("listed", ["::ffff:10.1.2.3", "::ffff:10.0.0.0/104"])
def test_an_address_may_be_listed_as_ipv6_shows_it(tmp_path: Path, listed: str) -> None:
    authenticate = make_authenticator(configured(tmp_path, TRUSTED.replace("127.0.0.1, 10.0.0.0/8", listed)))
    assert ask(authenticate, request(CONFIRMED, "::ffff:10.1.2.3"), request(CONFIRMED, "10.1.2.3")) == [known(), known()]
    with pytest.raises(NotAuthenticated):
        ask(authenticate, request(CONFIRMED, "11.0.0.1"))


@pytest.mark.parametrize("name", ["X-Identity-Status", "X-User-Id", "X-Project-Id", "X-Roles"])
def test_an_identity_header_that_is_there_twice_is_not_believed(tmp_path: Path, name: str) -> None:
    """A proxy that adds its own leaves the client's in the first place."""
    headers = CIMultiDict(CONFIRMED)
    headers.add(name, "admin")
    with pytest.raises(NotAuthenticated, match="twice"):
        ask(make_authenticator(configured(tmp_path, TRUSTED)), request(headers))


@pytest.mark.parametrize("status", ["Invalid", "confirmed", "", "Confirmed "])
def test_an_identity_that_is_not_confirmed_is_none(tmp_path: Path, status: str) -> None:
    headers = {**CONFIRMED, "X-Identity-Status": status}
    with pytest.raises(NotAuthenticated):
        ask(make_authenticator(configured(tmp_path, TRUSTED)), request(headers))
    allowing = make_authenticator(configured(tmp_path, f"[DEFAULT]\nallow_anonymous_access = True\n{TRUSTED}"))
    assert ask(allowing, request(headers)) == [RequestContext(read_only=True)]


def test_the_owner_may_be_the_user(tmp_path: Path) -> None:
    authenticate = make_authenticator(configured(tmp_path, f"[DEFAULT]\nowner_is_tenant = False\n{TRUSTED}"))
    assert ask(authenticate, request(CONFIRMED)) == [known(project="u1")]


def test_image_registry_believes_the_same_headers(tmp_path: Path) -> None:
    authenticate = make_authenticator(configured(tmp_path, TRUSTED, "glance-registry"))
    assert ask(authenticate, request(CONFIRMED)) == [known()]


def test_image_registry_has_no_users_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(cfg.Error, match="of image-api alone, http_basic"):
        make_authenticator(configured(tmp_path, "[paste_deploy]\nflavor = http_basic\n", "glance-registry"))


def test_addresses_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(cfg.Error, match="trusted_addresses"):
        make_authenticator(configured(tmp_path, TRUSTED.replace("10.0.0.0/8", "10.0.0.0/33")))


# ---- http_basic -----------------------------------------------------------------------------------------------


def hashed(password: str, prefix: bytes = b"2b") -> str:
    """A cheap hash: these tests are about who gets in, not about cost."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).replace(b"$2b$", b"$" + prefix + b"$").decode()


class Users:
    """The files of flavor http_basic."""

    def __init__(self, folder: Path) -> None:
        self.passwords, self.identities = folder / "htpasswd", folder / "identities.json"
        self.text = (
            "[paste_deploy]\nflavor = http_basic\n"
            f"[oslo_middleware]\nhttp_basic_auth_user_file = {self.passwords}\n"
            f"[http_basic]\nidentity_file = {self.identities}\nrealm = images\n"
        )
        self.write({"alice": hashed("wonder:land"), "bob": hashed("builder", b"2y"), "eve": hashed("apple", b"2a")})
        self.identify(
            {
                "alice": {"project": "p1", "roles": ["Admin"]},
                "bob": {"project": "p2", "roles": ["member"]},
                "eve": {"project": "p3", "roles": ["member"], "disabled": True},
            }
        )

    def write(self, users: Mapping[str, str]) -> None:
        self.passwords.write_text("# users\n\n" + "".join(f"{name}:{hash}\n" for name, hash in users.items()))

    def identify(self, users: Mapping[str, Any]) -> None:
        self.identities.write_text(json.dumps(users))


@pytest.fixture
def users(tmp_path: Path) -> Users:
    return Users(tmp_path)


def basic(user: str, password: str, scheme: str = "Basic") -> web.Request:
    return request({"Authorization": f"{scheme} {base64.b64encode(f'{user}:{password}'.encode()).decode()}"})


def test_right_passwords_give_the_identity(tmp_path: Path, users: Users) -> None:
    authenticate = make_authenticator(configured(tmp_path, users.text))
    alice, bob, again = ask(
        authenticate, basic("alice", "wonder:land"), basic("bob", "builder", "basic"), basic("bob", "builder")
    )
    assert alice == known(user="alice", project="p1", roles=frozenset({"admin"}), is_admin=True)
    assert bob == again == known(user="bob", project="p2", roles=frozenset({"member"}))


WRONG = [
    basic("alice", "wonder"),
    basic("alice", ""),
    basic("Alice", "wonder:land"),
    basic("nobody", "wonder:land"),
    basic("", ""),
    basic("eve", "apple"),
    basic("alice", "wonder:land", "Bearer"),
    request({"Authorization": "Basic"}),
    request({"Authorization": "Basic !!!"}),
    request({"Authorization": "Basic " + base64.b64encode(b"alice").decode()}),
    request({"Authorization": "Basic " + base64.b64encode(b"\xff:\xff").decode()}),
    request(),
]


@pytest.mark.parametrize("asked", WRONG, ids=range(len(WRONG)))
def test_everybody_else_is_told_how_to_log_in(tmp_path: Path, users: Users, asked: web.Request) -> None:
    authenticate = make_authenticator(configured(tmp_path, users.text))
    with pytest.raises(NotAuthenticated) as refused:
        ask(authenticate, asked)
    assert refused.value.headers == {"WWW-Authenticate": 'Basic realm="images"'}


def test_anonymous_reading_is_for_those_without_a_password_only(tmp_path: Path, users: Users) -> None:
    authenticate = make_authenticator(configured(tmp_path, f"[DEFAULT]\nallow_anonymous_access = True\n{users.text}"))
    assert ask(authenticate, request()) == [RequestContext(read_only=True)]
    with pytest.raises(NotAuthenticated):
        ask(authenticate, basic("alice", "wrong"))


def test_a_user_without_identity_has_no_project_and_no_role(tmp_path: Path, users: Users) -> None:
    users.identify({"alice": {"project": "p1"}})
    assert ask(make_authenticator(configured(tmp_path, users.text)), basic("bob", "builder")) == [
        known(user="bob", project=None, roles=frozenset())
    ]


def test_without_the_file_of_identities_nobody_is_known(tmp_path: Path, users: Users) -> None:
    """It says also who is disabled."""

    async def story() -> None:
        authenticate = make_authenticator(configured(tmp_path, users.text))
        assert (await authenticate(basic("bob", "builder"))).project == "p2"
        users.identities.write_text("")  # An editor is at it.
        assert (await authenticate(basic("bob", "builder"))).project == "p2"
        users.identities.unlink()
        for one in (basic("bob", "builder"), basic("eve", "apple")):
            with pytest.raises(NotAuthenticated):
                await authenticate(one)

    asyncio.run(story())


def test_changes_of_both_files_count_at_once(tmp_path: Path, users: Users) -> None:
    async def story() -> None:
        authenticate = make_authenticator(configured(tmp_path, users.text))
        assert (await authenticate(basic("bob", "builder"))).project == "p2"
        users.identify({"bob": {"project": "elsewhere", "roles": []}})
        assert (await authenticate(basic("bob", "builder"))).project == "elsewhere"
        users.write({"bob": hashed("another"), "carol": hashed("christmas")})
        with pytest.raises(NotAuthenticated):
            await authenticate(basic("bob", "builder"))
        assert (await authenticate(basic("carol", "christmas"))).user == "carol"
        users.passwords.unlink()
        with pytest.raises(NotAuthenticated):
            await authenticate(basic("carol", "christmas"))

    asyncio.run(story())


def test_a_file_that_is_being_edited_badly_leaves_what_was_known(tmp_path: Path, users: Users) -> None:
    async def story() -> None:
        authenticate = make_authenticator(configured(tmp_path, users.text))
        users.identities.write_text('{"bob": {"project"')
        users.passwords.write_text("bob:not a hash\n")
        assert (await authenticate(basic("bob", "builder"))).project == "p2"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("passwords", "identities", "sentence"),
    [
        (None, "{}", "image-manage user add"),
        ("bob:$apr1$x$y\n", "{}", "htpasswd -B"),
        ("bob\n", "{}", "line 1"),
        ("", None, "image-manage user add"),
        ("", "[]", "object"),
        ("", '{"bob": {"roles": "admin"}}', "bob"),
        ("", '{"bob": {"project": 7}}', "bob"),
        ("", '{"bob": "p"}', "bob"),
        ("", "{", "identity_file"),
    ],
)
def test_files_that_are_wrong_from_the_start_are_refused(
    tmp_path: Path, users: Users, passwords: str | None, identities: str | None, sentence: str
) -> None:
    for path, text in ((users.passwords, passwords), (users.identities, identities)):
        path.unlink()
        if text is not None:
            path.write_text(text)
    with pytest.raises(cfg.Error, match=sentence):
        make_authenticator(configured(tmp_path, users.text))


def test_a_password_is_checked_once_and_then_remembered(tmp_path: Path, users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = []

    def counted(password: bytes, stored: bytes) -> bool:
        checks.append(password)
        return matches(password, stored)

    monkeypatch.setattr(http_basic, "matches", counted)

    async def story() -> None:
        authenticate = make_authenticator(configured(tmp_path, users.text))
        await asyncio.gather(*(authenticate(basic("bob", "builder")) for _ in range(20)))
        await authenticate(basic("bob", "builder"))
        assert len(checks) == 1
        wrong = await asyncio.gather(*(authenticate(basic("bob", "wrong")) for _ in range(20)), return_exceptions=True)
        assert all(isinstance(answer, NotAuthenticated) for answer in wrong)
        assert len(checks) == 2

    asyncio.run(story())


def test_who_guesses_cannot_pile_up_work(tmp_path: Path, users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(_password: bytes, _stored: bytes) -> bool:
        time.sleep(0.01)
        return False

    monkeypatch.setattr(http_basic, "matches", slow)

    async def story() -> list[Any]:
        authenticate = make_authenticator(configured(tmp_path, users.text))
        guesses = (basic(f"user{n % 15}", f"guess {n}") for n in range(150))
        return await asyncio.gather(*map(authenticate, guesses), return_exceptions=True)

    users.write({f"user{n}": hashed("x") for n in range(15)})
    answers = asyncio.run(story())
    assert sum(isinstance(answer, NotAuthenticated) for answer in answers) == 100
    assert sum(isinstance(answer, ServiceUnavailable) for answer in answers) == 50


def test_who_guesses_shuts_nobody_out(tmp_path: Path, users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(password: bytes, stored: bytes) -> bool:
        time.sleep(0.01)
        return matches(password, stored)

    monkeypatch.setattr(http_basic, "matches", slow)

    async def story() -> list[Any]:
        # What is right is soon to be checked again.
        authenticate = make_authenticator(configured(tmp_path, users.text + "cache_time = 1\n"))
        await authenticate(basic("alice", "wonder:land"))
        await asyncio.sleep(1.1)
        guesses = [authenticate(basic(user, f"guess {n}")) for user in ("alice", "bob", "nobody") for n in range(50)]
        running = asyncio.gather(*guesses, return_exceptions=True)
        await asyncio.sleep(0)
        assert (await authenticate(basic("alice", "wonder:land"))).user == "alice"
        with pytest.raises(NotAuthenticated):
            await authenticate(basic("eve", "apple"))
        return await running

    answers = asyncio.run(story())
    assert sum(isinstance(answer, NotAuthenticated) for answer in answers) == 30


def test_an_unknown_user_costs_the_same_check(users: Users) -> None:
    stored = parse_passwords(users.passwords.read_text())
    dummy = nobodys_hash(stored)
    assert dummy[4:6] == stored["bob"][4:6]
    assert nobodys_hash({})[4:6] == b"12"
    # bcrypt really computes with it (a hash that it cannot read would be an error, and quick), and it is nobody's.
    assert bcrypt.hashpw(b"x", dummy)[:29] == dummy[:29]
    assert not matches(b"", dummy)


def test_long_passwords_are_read_as_htpasswd_writes_them() -> None:
    stored = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4))
    assert matches(b"x" * 100, stored)
    assert not matches(b"x" * 71, stored)


def test_roles_are_lower_case() -> None:
    assert parse_identities('{"a": {"roles": ["ADMIN"]}}')["a"].roles == {"admin"}


# ---- request ids ----------------------------------------------------------------------------------------------


def with_id(text: str | None) -> web.Request:
    return request({} if text is None else {"X-Openstack-Request-Id": text})


@pytest.mark.parametrize(
    ("given", "taken"), [("req-abc-1", "req-abc-1"), ("abc", "req-abc"), ("req-" + "x" * 60, "req-" + "x" * 60)]
)
def test_a_good_request_id_is_taken(given: str, taken: str) -> None:
    assert request_id_of(with_id(given), 64) == taken


@pytest.mark.parametrize("given", [None, "", "a b", "a\tb", "é"])
def test_another_request_id_is_replaced(given: str | None) -> None:
    found = request_id_of(with_id(given), 64)
    assert found.startswith("req-")
    assert len(found) == 40
    assert found != request_id_of(with_id(given), 64)


def test_a_long_request_id_is_refused() -> None:
    with pytest.raises(HeaderTooLarge) as refused:
        request_id_of(with_id("x" * 65), 64)
    assert refused.value.status == 431


def test_the_environment_gives_no_identity(tmp_path: Path, users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "OS_TOKEN": "x", "REMOTE_USER": "alice"})
    with pytest.raises(NotAuthenticated):
        ask(make_authenticator(configured(tmp_path, users.text)), request({"REMOTE_USER": "alice"}))
