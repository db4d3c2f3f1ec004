"""``RemoteRegistry``: the registry over HTTP to image-registry.

One POST a call, on pooled connections. A read that broke is asked again; a write is sent again only when it
never left this host, for otherwise nobody knows whether it was done.
"""

# A result has the type of its method, for ``wire`` reads it by that method's own hints; mypy cannot see that.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Collection, Sequence
from typing import Any

import aiohttp
from oslo_config import cfg

from image_service import log
from image_service.errors import RegistryUnavailable
from image_service.model import Image, Member, Status, UploadLease
from image_service.registry import wire
from image_service.registry.interface import ImageChange, ImageQuery, Registry
from image_service.registry.secret import BadSecret, read_secret

LOG = logging.getLogger(__name__)

CONNECT_DEADLINE = 5.0
ATTEMPTS = 3
_PAUSE = 0.1
_CONNECTIONS = 64
# Shorter than the server keeps them, so that a write seldom meets a connection that is just being closed.
_KEEPALIVE = 10.0


class RemoteRegistry(Registry):
    """See :class:`Registry` for what each method promises.

    ``address``: ``http://HOST:PORT``; ``deadline``: seconds for a whole call.
    """

    def __init__(self, address: str, secret: str, *, deadline: float = 600.0, tls: ssl.SSLContext | bool = True) -> None:
        self._address = address
        self._headers = {wire.SECRET_HEADER: secret, "Content-Type": "application/json"}
        self._timeout = aiohttp.ClientTimeout(total=deadline, sock_connect=CONNECT_DEADLINE)
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def from_config(cls, conf: cfg.ConfigOpts) -> RemoteRegistry:
        """As ``registry_host`` and its neighbours say.

        ``cfg.Error`` with a sentence for a secret or certificate that cannot be used.
        """
        host = f"[{conf.registry_host}]" if ":" in conf.registry_host else conf.registry_host
        try:
            secret = read_secret(conf.registry_link.secret_file)
        except BadSecret as error:
            raise cfg.Error(str(error)) from error
        address = f"{conf.registry_client_protocol}://{host}:{conf.registry_port}"
        return cls(address, secret, deadline=conf.registry_client_timeout, tls=_tls(conf))

    async def _call(self, name: str, /, **arguments: object) -> Any:
        body = wire.encode(arguments)
        attempt = 1
        while True:
            try:
                return await self._ask(name, body)
            except (aiohttp.ClientError, TimeoutError) as error:
                unsent = isinstance(error, aiohttp.ClientConnectorError)
                if attempt == ATTEMPTS or not (unsent or name in wire.READS) or isinstance(error, TimeoutError):
                    LOG.error("image-registry at %s: %s: %r", self._address, name, error)
                    raise RegistryUnavailable("image-registry does not answer. Try again later.") from error
                LOG.warning("image-registry at %s: %s is asked again after %r", self._address, name, error)
                await asyncio.sleep(_PAUSE * attempt)
                attempt += 1

    async def _ask(self, name: str, body: bytes) -> Any:
        headers = self._headers
        if request_id := log.request_id.get():
            headers = headers | {wire.REQUEST_ID_HEADER: request_id}
        async with self._open().post(f"{self._address}/internal/{name}", data=body, headers=headers) as response:
            answer = await response.read()
        if response.status == 200:
            return wire.CALLS[name].result(answer)
        if response.status == 401:
            LOG.error("image-registry at %s refuses our secret: secret_file must be the same on both sides", self._address)
            raise RegistryUnavailable("image-registry refuses to talk to this service; its operator must look.")
        raise wire.decode_error(answer)

    def _open(self) -> aiohttp.ClientSession:
        """The session, made inside the loop that uses it."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=_KEEPALIVE, ssl=self._tls)
            self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout, trust_env=False)
        return self._session

    async def create_image(self, image: Image) -> Image:
        return await self._call("create_image", image=image)

    async def get_image(self, image_id: str, *, include_deleted: bool = False) -> Image:
        return await self._call("get_image", image_id=image_id, include_deleted=include_deleted)

    async def list_images(self, query: ImageQuery) -> list[Image]:
        return await self._call("list_images", query=query)

    async def update_image(
        self,
        image_id: str,
        change: ImageChange,
        *,
        from_status: Collection[Status] | None = None,
        include_deleted: bool = False,
    ) -> Image:
        sources = None if from_status is None else list(from_status)
        return await self._call(
            "update_image", image_id=image_id, change=change, from_status=sources, include_deleted=include_deleted
        )

    async def delete_image(self, image_id: str) -> Image:
        return await self._call("delete_image", image_id=image_id)

    async def begin_upload(self, lease: UploadLease, *, from_status: Collection[Status]) -> Image:
        return await self._call("begin_upload", lease=lease, from_status=list(from_status))

    async def renew_upload(self, image_id: str, upload_id: str) -> bool:
        return await self._call("renew_upload", image_id=image_id, upload_id=upload_id)

    async def end_upload(self, image_id: str, upload_id: str, change: ImageChange) -> Image:
        return await self._call("end_upload", image_id=image_id, upload_id=upload_id, change=change)

    async def claim_dead_uploads(self, older_than: float) -> list[UploadLease]:
        return await self._call("claim_dead_uploads", older_than=older_than)

    async def live_uploads(self) -> list[UploadLease]:
        return await self._call("live_uploads")

    async def list_members(self, image_id: str) -> list[Member]:
        return await self._call("list_members", image_id=image_id)

    async def get_member(self, image_id: str, member_id: str) -> Member | None:
        return await self._call("get_member", image_id=image_id, member_id=member_id)

    async def create_member(self, member: Member, *, most: int = -1) -> Member:
        return await self._call("create_member", member=member, most=most)

    async def update_member(self, member: Member) -> Member:
        return await self._call("update_member", member=member)

    async def replace_members(self, image_id: str, members: Sequence[Member]) -> None:
        await self._call("replace_members", image_id=image_id, members=list(members))

    async def delete_member(self, image_id: str, member_id: str) -> None:
        await self._call("delete_member", image_id=image_id, member_id=member_id)

    async def list_shared(self, member_id: str) -> list[Member]:
        return await self._call("list_shared", member_id=member_id)

    async def storage_used(self, owner: str | None) -> int:
        return await self._call("storage_used", owner=owner)

    async def known_image_ids(self, image_ids: Sequence[str]) -> dict[str, Status]:
        return await self._call("known_image_ids", image_ids=list(image_ids))

    async def check(self) -> None:
        await self._call("check")

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def _tls(conf: cfg.ConfigOpts) -> ssl.SSLContext | bool:
    if conf.registry_client_insecure:
        return False
    if conf.registry_client_ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=conf.registry_client_ca_file)
    except (OSError, ssl.SSLError) as error:
        raise cfg.Error(f"registry_client_ca_file {conf.registry_client_ca_file} cannot be used: {error}.") from error
