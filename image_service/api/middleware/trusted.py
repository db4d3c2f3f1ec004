"""Identities that a proxy in front has checked (flavor trusted-auth; contract A.16, C.20).

    X-Identity-Status: Confirmed
    X-User-Id, X-Project-Id or X-Tenant-Id, X-Roles (with commas)

Anybody can write such headers, so they are believed from the addresses of ``[trusted_auth] trusted_addresses`` only.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp import web
from oslo_config import cfg

from image_service.api.middleware.authentication import Contexts
from image_service.context import RequestContext
from image_service.errors import NotAuthenticated

Networks = tuple[IPv4Network | IPv6Network, ...]


def parse_networks(addresses: list[str]) -> Networks:
    """Addresses and networks as the configuration lists them. Raises ``cfg.Error`` for what is neither."""
    try:
        return tuple(ip_network(address.strip(), strict=False) for address in addresses)
    except ValueError as error:
        raise cfg.Error(f"[trusted_auth] trusted_addresses: {error}.") from error


class TrustedAuthenticator:
    """Reads the headers of a trusted proxy."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        networks = parse_networks(conf.trusted_auth.trusted_addresses)
        self._trusts = lru_cache(maxsize=4096)(lambda address: _within(address, networks))
        self._contexts = Contexts(conf)

    async def __call__(self, request: web.BaseRequest) -> RequestContext:
        """The identity in the headers; without one, anonymous or ``NotAuthenticated``."""
        headers = request.headers
        if not self._trusts(request.remote):
            sentence = f"Identity headers are not believed from {request.remote}: ask through the proxy in front."
            return self._contexts.anonymous(request, NotAuthenticated(sentence))
        if headers.get("X-Identity-Status") != "Confirmed":
            sentence = "The request has no confirmed identity. Log in at the service in front."
            return self._contexts.anonymous(request, NotAuthenticated(sentence))
        user, project = headers.get("X-User-Id") or None, headers.get("X-Project-Id") or headers.get("X-Tenant-Id") or None
        return self._contexts.known(request, user, project, split_roles(headers.get("X-Roles", "")))


def split_roles(text: str) -> frozenset[str]:
    """Roles of a header: split at commas, lower case."""
    return frozenset(word.strip().lower() for word in text.split(",")) - {""}


def _within(address: str | None, networks: Networks) -> bool:
    try:
        found = ip_address((address or "").partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in network for network in networks)
