"""Flavor http_basic: who gets in with which files, and what guessing costs whom."""

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
from oslo_config import cfg

from image_service.api.middleware import http_basic
from image_service.api.middleware.authentication import make_authenticator
from image_service.api.middleware.http_basic import matches, nobodys_hash, parse_identities, parse_passwords
from image_service.cli import manage_user
from image_service.context import RequestContext
from image_service.errors import NotAuthenticated, ServiceUnavailable
from tests.unit.test_authentication import ask, configured, known, request


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


def basic(user: str, password: str, scheme: str = "Basic", address: str = "127.0.0.1") -> web.Request:
    authorization = f"{scheme} {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
    return request({"Authorization": authorization}, address)


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
        guesses = (basic(f"user{n % 15}", f"guess {n}", address=f"192.0.2.{n // 30}") for n in range(150))
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
        guesses = [authenticate(basic("bob", f"guess {n}", address="192.0.2.7")) for n in range(50)]
        guesses += [authenticate(basic(f"nobody{n}", "guess", address="192.0.2.8")) for n in range(50)]
        running = asyncio.gather(*guesses, return_exceptions=True)
        await asyncio.sleep(0)
        assert (await authenticate(basic("alice", "wonder:land", address="192.0.2.7"))).user == "alice"
        assert (await authenticate(basic("bob", "builder"))).user == "bob"
        with pytest.raises(NotAuthenticated):
            await authenticate(basic("eve", "apple", address="192.0.2.7"))
        return await running

    answers = asyncio.run(story())
    assert sum(isinstance(answer, NotAuthenticated) for answer in answers) == 10 + 30


def test_who_guesses_does_not_learn_which_names_there_are(tmp_path: Path, users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_basic, "matches", lambda *_: time.sleep(0.01))

    async def story(user: str) -> list[type[Any]]:
        authenticate = make_authenticator(configured(tmp_path, users.text))
        guesses = [authenticate(basic(name, f"guess {n}")) for n in range(15) for name in (user, "nobody")]
        return [type(answer) for answer in await asyncio.gather(*guesses, return_exceptions=True)]

    assert asyncio.run(story("alice")) == asyncio.run(story("somebody"))


def test_a_proxy_says_where_a_guess_comes_from(tmp_path: Path, users: Users, caplog: pytest.LogCaptureFixture) -> None:
    asked = request({"Authorization": basic("alice", "x").headers["Authorization"], "X-Forwarded-For": "198.51.100.1, 192.0.2.9"})
    believing = "[oslo_middleware]\nenable_proxy_headers_parsing = True\n"
    for text, address in ((users.text, "127.0.0.1"), (users.text + believing, "192.0.2.9")):
        caplog.clear()
        with pytest.raises(NotAuthenticated):
            ask(make_authenticator(configured(tmp_path, text)), asked)
        assert caplog.messages[-1].endswith(f"'alice' from {address}")


def test_an_unknown_user_costs_the_same_check(users: Users) -> None:
    stored = parse_passwords(users.passwords.read_text())
    dummy = nobodys_hash(stored)
    assert dummy[4:6] == stored["bob"][4:6]
    assert nobodys_hash({})[4:6] == b"12"
    # bcrypt really computes with it (a hash that it cannot read would be an error, and quick), and it is nobody's.
    assert bcrypt.hashpw(b"x", dummy)[:29] == dummy[:29]
    assert not matches(b"", dummy)


@pytest.mark.parametrize(
    "line", ["alice", "alice:secret", ":HASH", "alice:$2b$12$abc", "alice:HASH2", "alice:$apr1$abc$def", "alice:DEAR"]
)
def test_a_line_of_another_form_is_named(line: str) -> None:
    good = hashed("wonderland")
    assert parse_passwords(f"# users\n\nalice:{good}:of wonderland\n") == {"alice": good.encode()}
    dear = good.replace("$04$", "$31$")  # one check would take days
    with pytest.raises(ValueError, match="line 2 is not USER:HASH"):
        parse_passwords(f"bob:{good}\n{line.replace('HASH', good).replace('DEAR', dear)}\n")


def test_long_passwords_are_read_as_htpasswd_writes_them() -> None:
    stored = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4))
    assert matches(b"x" * 100, stored)
    assert not matches(b"x" * 71, stored)


def test_roles_are_lower_case() -> None:
    assert parse_identities('{"a": {"roles": ["ADMIN"]}}')["a"].roles == {"admin"}


def test_the_environment_gives_no_identity(tmp_path: Path, users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "OS_TOKEN": "x", "REMOTE_USER": "alice"})
    with pytest.raises(NotAuthenticated):
        ask(make_authenticator(configured(tmp_path, users.text)), request({"REMOTE_USER": "alice"}))


def test_a_changed_file_of_users_survives_a_power_cut(tmp_path: Path, synced: set[int]) -> None:
    path = tmp_path / "htpasswd"
    manage_user._replace(path, b"alice:hash\n")
    assert {path.stat().st_ino, tmp_path.stat().st_ino} <= synced
    assert list(tmp_path.iterdir()) == [path]
