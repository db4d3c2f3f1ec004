"""Who asks: each flavor against the requests that it lets in and those that it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict
from oslo_config import cfg

from image_service import config
from image_service.api.middleware.authentication import Authenticator, base_flavor, make_authenticator
from image_service.api.middleware.request_id import request_id_of
from image_service.context import RequestContext
from image_service.errors import HeaderTooLarge, NotAuthenticated


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
