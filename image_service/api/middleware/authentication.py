"""Who asks: the way that ``[paste_deploy] flavor`` chooses (contract A.15, A.16, C.20).

    ''            nobody is asked; everybody is administrator
    http_basic    user and password, from an htpasswd file                  http_basic.py
    trusted-auth  a proxy in front has asked, and says so in headers

An authenticator is called once a request. It returns the context or raises ``NotAuthenticated``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp import web
from oslo_config import cfg

from image_service.config_check import without_caches
from image_service.context import RequestContext
from image_service.errors import InvalidValue, NotAuthenticated

Authenticator = Callable[[web.BaseRequest], Awaitable[RequestContext]]
Networks = tuple[IPv4Network | IPv6Network, ...]

_IDENTITY_HEADERS = ("X-Identity-Status", "X-User-Id", "X-Project-Id", "X-Tenant-Id", "X-Roles")


def base_flavor(conf: cfg.ConfigOpts) -> str:
    """The part of the flavor that says who is asked: ``trusted-auth+cachemanagement`` is ``trusted-auth``.

    Raises ``cfg.Error`` with the names that there are.
    """
    base = without_caches(conf.paste_deploy.flavor)
    if base not in ("", "trusted-auth", "http_basic" if "http_basic" in conf else ""):
        raise cfg.Error(
            f"[paste_deploy] flavor = {base}: the flavors are empty, trusted-auth (behind a proxy that asks, for example,"
            " Keystone) and, of image-api alone, http_basic (a file of users)."
        )
    return base


def make_authenticator(conf: cfg.ConfigOpts) -> Authenticator:
    """The authenticator of this configuration. Raises ``cfg.Error`` with a sentence when it cannot work."""
    flavor = base_flavor(conf)
    if flavor == "http_basic":
        from image_service.api.middleware.http_basic import BasicAuthenticator

        return BasicAuthenticator(conf)
    if flavor == "trusted-auth":
        return TrustedAuthenticator(conf)
    return nobody_is_asked


async def nobody_is_asked(_request: web.BaseRequest) -> RequestContext:
    """Everybody is administrator, without user and project; a token, whatever it says, is not looked at."""
    return RequestContext(is_admin=True)


# -- contexts --


def known(conf: cfg.ConfigOpts, user: str | None, project: str | None, roles: frozenset[str]) -> RequestContext:
    """Who is known, as the options say what a role and a project mean; ``roles`` in lower case."""
    return RequestContext(
        user=user,
        project=project if conf.owner_is_tenant else user,
        roles=roles,
        is_admin=conf.admin_role.lower() in roles,
        authenticated=True,
    )


def anonymous(conf: cfg.ConfigOpts, refusal: NotAuthenticated) -> RequestContext:
    """Who may be nobody may look (``allow_anonymous_access``; image-registry has none); else ``refusal`` is raised."""
    if not ("allow_anonymous_access" in conf and conf.allow_anonymous_access):
        raise refusal
    return RequestContext(read_only=True)


# -- trusted-auth --


def parse_networks(addresses: list[str]) -> Networks:
    """Addresses and networks as the configuration lists them. Raises ``cfg.Error`` for what is neither."""
    try:
        return tuple(_without_mapping(ip_network(address.strip(), strict=False)) for address in addresses)
    except ValueError as error:
        raise cfg.Error(f"[trusted_auth] trusted_addresses: {error}.") from error


def _without_mapping(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """``::ffff:192.0.2.0/120``, as an IPv6 socket shows IPv4 addresses, is 192.0.2.0/24."""
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) and network.prefixlen >= 96 else None
    return IPv4Network((mapped, network.prefixlen - 96)) if mapped else network


class TrustedAuthenticator:
    """Reads the headers of a proxy in front that has checked who asks (contract A.16, C.20).

        X-Identity-Status: Confirmed
        X-User-Id, X-Project-Id or X-Tenant-Id, X-Roles (with commas)

    Anybody can write such headers, so they are believed from the addresses of ``[trusted_auth] trusted_addresses`` only, and not
    when one is there twice: a proxy that adds its own to those of the client lets the client choose.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        networks = parse_networks(conf.trusted_auth.trusted_addresses)
        self._trusts = lru_cache(maxsize=4096)(lambda address: _within(address, networks))
        self._conf = conf

    async def __call__(self, request: web.BaseRequest) -> RequestContext:
        """The identity in the headers; without one, anonymous or ``NotAuthenticated``."""
        headers = request.headers
        if not self._trusts(request.remote):
            sentence = f"Identity headers are not believed from {request.remote}: ask through the proxy in front."
            return anonymous(self._conf, NotAuthenticated(sentence))
        if headers.get("X-Identity-Status") != "Confirmed":
            sentence = "The request has no confirmed identity. Log in at the service in front."
            return anonymous(self._conf, NotAuthenticated(sentence))
        if any(len(headers.getall(name, ())) > 1 for name in _IDENTITY_HEADERS):
            raise NotAuthenticated("An identity header is there twice. The proxy in front must remove those of its clients.")
        user, project = headers.get("X-User-Id") or None, headers.get("X-Project-Id") or headers.get("X-Tenant-Id") or None
        if not f"{user}{project}".isprintable():
            raise InvalidValue("The identity in the request's headers is no printable UTF-8.")
        roles = frozenset(word.strip().lower() for word in headers.get("X-Roles", "").split(",")) - {""}
        return known(self._conf, user, project, roles)


def _within(address: str | None, networks: Networks) -> bool:
    try:
        found = ip_address((address or "").partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in network for network in networks)
