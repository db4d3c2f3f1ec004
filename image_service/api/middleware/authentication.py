"""Who asks: the way that ``[paste_deploy] flavor`` chooses (contract A.15, A.16, C.20).

    ''            nobody is asked; everybody is administrator
    http_basic    user and password, from an htpasswd file                  htpasswd.py
    trusted-auth  a proxy in front has asked, and says so in headers        trusted.py

An authenticator is called once a request. It returns the context or raises ``NotAuthenticated``.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from aiohttp import web
from oslo_config import cfg

from image_service.context import RequestContext
from image_service.errors import NotAuthenticated

LOG = logging.getLogger(__name__)

Authenticator = Callable[[web.BaseRequest], Awaitable[RequestContext]]

FLAVORS = ("", "http_basic", "trusted-auth")
# Parts of Glance's flavors that add a cache of images, not a way of asking who it is.
CACHES = frozenset({"caching", "cachemanagement"})


def base_flavor(flavor: str | None) -> str:
    """The part of a flavor that says who is asked: ``trusted-auth+cachemanagement`` is ``trusted-auth``.

    Raises ``cfg.Error`` with the names that there are.
    """
    base = "+".join(word for word in (flavor or "").strip().split("+") if word not in CACHES)
    if base.startswith("keystone"):
        raise cfg.Error(
            "[paste_deploy] flavor = keystone: this release does not ask Keystone. Use http_basic (a file of"
            " users), or trusted-auth behind a proxy that asks Keystone."
        )
    if base not in FLAVORS:
        raise cfg.Error(f"[paste_deploy] flavor = {flavor}: the flavors are empty, http_basic and trusted-auth.")
    return base


def make_authenticator(conf: cfg.ConfigOpts) -> Authenticator:
    """The authenticator of this configuration. Raises ``cfg.Error`` with a sentence when it cannot work."""
    given = conf.paste_deploy.flavor
    flavor = base_flavor(given)
    if "cach" in (given or ""):
        LOG.warning("flavor = %s: this release has no cache of images; the rest of the flavor works", given)
    if flavor == "http_basic":
        if "http_basic" not in conf:
            raise cfg.Error("[paste_deploy] flavor: image-registry has the flavors empty and trusted-auth only")
        from image_service.api.middleware.htpasswd import BasicAuthenticator

        return BasicAuthenticator(conf)
    if flavor == "trusted-auth":
        from image_service.api.middleware.trusted import TrustedAuthenticator

        return TrustedAuthenticator(conf)
    return nobody_is_asked


async def nobody_is_asked(request: web.BaseRequest) -> RequestContext:
    """Everybody is administrator; a token, whatever it says, is not looked at."""
    return RequestContext(is_admin=True, request_id=request.get("request_id", ""))


class Contexts:
    """Contexts of requests, as the options say what a role and a project mean and whether nobody may look."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._admin_role = conf.admin_role.lower()
        self._owner_is_tenant = conf.owner_is_tenant
        # image-registry has no anonymous access.
        self._allow_anonymous = "allow_anonymous_access" in conf and conf.allow_anonymous_access

    def known(self, request: web.BaseRequest, user: str | None, project: str | None, roles: frozenset[str]) -> RequestContext:
        """Who is known; ``roles`` in lower case."""
        return RequestContext(
            user=user,
            project=project if self._owner_is_tenant else user,
            roles=roles,
            is_admin=self._admin_role in roles,
            authenticated=True,
            request_id=request.get("request_id", ""),
        )

    def anonymous(self, request: web.BaseRequest, refusal: NotAuthenticated) -> RequestContext:
        """Who may be nobody may look (``allow_anonymous_access``); else ``refusal`` is raised."""
        if not self._allow_anonymous:
            raise refusal
        return RequestContext(read_only=True, request_id=request.get("request_id", ""))
