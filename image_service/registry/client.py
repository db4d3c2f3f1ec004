"""``RemoteRegistry``: the registry over HTTP to image-registry.

One POST a call, on pooled connections. A call that does no harm when it is done twice is asked again where it broke; another one
only when it never left this host, for otherwise nobody knows whether it was done.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import aiohttp
from oslo_config import cfg

from image_service import log
from image_service.errors import RegistryUnavailable
from image_service.registry import wire
from image_service.registry.interface import Registry
from image_service.registry.secret import read_secret

LOG = logging.getLogger(__name__)

CONNECT_DEADLINE = 5.0
ATTEMPTS = 3
_PAUSE = 0.1
# Without these an upload is lost, so they wait for as long as a restart of image-registry may take, in seconds.
_PATIENT, _PATIENCE = frozenset({"begin_upload", "renew_upload", "end_upload"}), 15.0
_CONNECTIONS = 64
# Shorter than the server keeps them, so that a write seldom meets a connection that is just being closed.
_KEEPALIVE = 10.0
# Seconds for which the host of image-registry may acknowledge nothing: it is gone, not slow. How often a silent one is probed.
_HOST_GONE, _PROBE = 60, 5

P = ParamSpec("P")
T = TypeVar("T")


def _remote(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """``method`` of the interface as a call to image-registry; ``wire`` reads its result by the method's own hints."""
    call, name = wire.CALLS[method.__name__], method.__name__

    async def remote(*arguments: P.args, **named: P.kwargs) -> T:
        registry: Any = arguments[0]
        result: T = await registry.call(name, call.request(*arguments, **named))
        return result

    return remote


class RemoteRegistry(Registry):
    """See :class:`Registry` for what each method promises.

    ``address``: ``http://HOST:PORT``; ``deadline``: seconds for a whole call; ``secret_file``: where another secret will be, if
    there is to be one. Made inside the loop that uses it.
    """

    create_image = _remote(Registry.create_image)
    get_image = _remote(Registry.get_image)
    list_images = _remote(Registry.list_images)
    update_image = _remote(Registry.update_image)
    delete_image = _remote(Registry.delete_image)
    begin_upload = _remote(Registry.begin_upload)
    renew_upload = _remote(Registry.renew_upload)
    end_upload = _remote(Registry.end_upload)
    settle = _remote(Registry.settle)
    claim_dead_uploads = _remote(Registry.claim_dead_uploads)
    live_uploads = _remote(Registry.live_uploads)
    list_members = _remote(Registry.list_members)
    get_member = _remote(Registry.get_member)
    create_member = _remote(Registry.create_member)
    update_member = _remote(Registry.update_member)
    replace_members = _remote(Registry.replace_members)
    delete_member = _remote(Registry.delete_member)
    list_shared = _remote(Registry.list_shared)
    storage_used = _remote(Registry.storage_used)
    check = _remote(Registry.check)

    def __init__(
        self,
        address: str,
        secret: str,
        *,
        deadline: float = 600.0,
        tls: ssl.SSLContext | bool = True,
        secret_file: str | None = None,
    ) -> None:
        self._address, self._secret, self._secret_file = address, secret, secret_file
        # Leases are renewed on connections of their own: behind others' calls they would run out.
        self._session, self._renewing = (_session(deadline, tls) for _ in range(2))

    @classmethod
    def from_config(cls, conf: cfg.ConfigOpts) -> RemoteRegistry:
        """As ``registry_host`` and its neighbours say.

        ``cfg.Error`` with a sentence for a secret or certificate that cannot be used.
        """
        host = f"[{conf.registry_host}]" if ":" in conf.registry_host else conf.registry_host
        path = conf.registry_link.secret_file
        address = f"{conf.registry_client_protocol}://{host}:{conf.registry_port}"
        return cls(address, read_secret(path), deadline=conf.registry_client_timeout, tls=_tls(conf), secret_file=path)

    async def call(self, name: str, body: bytes) -> Any:
        """The result of the call ``name``, whose arguments are ``body``."""
        attempt, begin = 1, time.monotonic()
        while True:
            try:
                return await self._ask(name, body)
            except (aiohttp.ClientError, TimeoutError) as error:
                unsent = isinstance(error, aiohttp.ClientConnectorError)
                refused = unsent and not isinstance(error, aiohttp.ClientSSLError)
                waits = refused and name in _PATIENT and time.monotonic() - begin < _PATIENCE
                again = waits or (attempt < ATTEMPTS and (unsent or name in wire.REPEATABLE))
                if not again or isinstance(error, TimeoutError):
                    LOG.error("image-registry at %s: %s: %r", self._address, name, error)
                    raise RegistryUnavailable("image-registry does not answer. Try again later.") from error
                LOG.warning("image-registry at %s: %s is asked again after %r", self._address, name, error)
                await asyncio.sleep(min(_PAUSE * attempt, 1.0))
                attempt += 1

    async def _ask(self, name: str, body: bytes) -> Any:
        shown = self._secret
        status, answer = await self._post(name, body)
        if status == 401 and self._has_other_secret(shown):
            status, answer = await self._post(name, body)
        if status == 200:
            return wire.CALLS[name].result(answer)
        if status == 401:
            LOG.error("image-registry at %s refuses our secret, which must be the same in both secret_file", self._address)
            raise RegistryUnavailable("image-registry refuses to talk to this service; its operator must look.")
        raise wire.decode_error(answer)

    async def _post(self, name: str, body: bytes) -> tuple[int, bytes]:
        headers = {wire.REQUEST_ID_HEADER: log.request_id.get(), wire.SECRET_HEADER: self._secret}
        session = self._renewing if name == "renew_upload" else self._session
        async with session.post(f"{self._address}/internal/{name}", data=body, headers=headers) as response:
            return response.status, await response.read()

    def _has_other_secret(self, shown: str) -> bool:
        """Is there another secret than the one that was ``shown``, or has another call taken it already? An upload may outlive
        many of them in a worker that a reload has retired.
        """
        try:
            self._secret = read_secret(self._secret_file) if self._secret_file else self._secret
        except cfg.Error as error:
            LOG.error("%s", error)
        return self._secret != shown

    async def aclose(self) -> None:
        await self._session.close()
        await self._renewing.close()


def _session(deadline: float, tls: ssl.SSLContext | bool) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=_KEEPALIVE, ssl=tls, socket_factory=_watched)
    timeout = aiohttp.ClientTimeout(total=deadline, sock_connect=CONNECT_DEADLINE)
    return aiohttp.ClientSession(connector=connector, timeout=timeout, headers={"Content-Type": "application/json"})


def _watched(address: aiohttp.AddrInfoType) -> socket.socket:
    """A socket that the kernel gives up when the other host is gone: nobody would wait for it as for a slow answer."""
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL):
        made.setsockopt(socket.IPPROTO_TCP, option, _PROBE)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _HOST_GONE * 1000)
    return made


def _tls(conf: cfg.ConfigOpts) -> ssl.SSLContext | bool:
    if conf.registry_client_insecure:
        return False
    if conf.registry_client_ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=conf.registry_client_ca_file)
    except (OSError, ssl.SSLError) as error:
        raise cfg.Error(f"registry_client_ca_file {conf.registry_client_ca_file} cannot be used: {error}.") from error
