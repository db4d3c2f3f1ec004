"""Images that lie on a web server: read-only, by ``http`` and ``https`` locations and copy-from.

The service fetches on behalf of users, so every address that it is led to, by name, number or redirect, is checked at the
moment of connecting: what was checked is what is connected to (OSSN-0078, CVE-2026-34881).
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from image_service.errors import DataMissing, ReadOnlyStore, StoreUnavailable, UnsupportedUrl
from image_service.store.interface import Confirm, Store, StoreWriter

LOG = logging.getLogger(__name__)

_REDIRECTS = 5
_CHUNK = 256 << 10
_LOOKUPS = 16
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
_HEADERS = {"Accept-Encoding": "identity"}
# UnicodeError: a host that is no name, such as one with a part of more than 63 characters.
_FAILURES = (aiohttp.ClientError, TimeoutError, OSError, UnicodeError)
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Where clouds keep the credentials of their machines, outside the link-local networks.
_METADATA = ("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "fd00:ec2::254/128", "fd20:ce::254/128")
# Python 3.11 takes these for public: site-local addresses, and NAT64 within a network (RFC 8215), which may lead anywhere.
_WITHIN_A_SITE = ("fec0::/10", "64:ff9b:1::/48")
_CLOSED = [ipaddress.ip_network(net) for net in (*_METADATA, *_WITHIN_A_SITE)]
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class AddressFilter:
    """Which addresses may be fetched from: never ``denied``; always ``allowed``; else public ones, and with ``inside`` also
    private and loopback ones. Link-local addresses and those of cloud metadata only when ``allowed``.
    """

    def __init__(self, allowed: Iterable[str] = (), denied: Iterable[str] = (), *, inside: bool = False) -> None:
        self._allowed = [ipaddress.ip_network(net, strict=False) for net in allowed]
        self._denied = [ipaddress.ip_network(net, strict=False) for net in denied]
        self._inside = inside

    def admits(self, text: str) -> bool:
        """Whether the numeric address ``text`` may be connected to."""
        address = _plain(ipaddress.ip_address(text.partition("%")[0]))
        if _within(address, self._denied):
            return False
        if _within(address, self._allowed):
            return True
        if address.is_link_local or address.is_multicast or address.is_unspecified or _within(address, _CLOSED):
            return False
        return address.is_global or (self._inside and (address.is_private or address.is_loopback))

    def socket(self, addr_info: tuple[Any, ...]) -> socket.socket:
        """A socket for an address that is about to be connected to; ``OSError`` (EACCES) when that must not be."""
        family, kind, protocol, _, address = addr_info
        if not self.admits(address[0]):
            raise OSError(errno.EACCES, "this address must not be fetched from")
        return socket.socket(family, kind, protocol)


def _plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for (mapped, NAT64, 6to4), or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in net for net in networks)


class HttpStore(Store):
    """See :class:`Store`. ``insecure``: certificates are not checked; ``ca_file``: CA certificates in place of the system's."""

    kind = "http"
    schemes = ("http", "https")
    read_only = True

    def __init__(
        self, name: str, addresses: AddressFilter, *, ca_file: str | None = None, insecure: bool = False, retries: int = 0
    ) -> None:
        self.name = name
        self._addresses = addresses
        self._pauses = [0.5 * number for number in range(1, retries + 1)]
        # True: aiohttp's own context, with the system's certificates, which the workers share. Another takes 3 MB of each.
        self._tls = ssl.create_default_context(cafile=ca_file) if ca_file and not insecure else not insecure
        self._session: aiohttp.ClientSession | None = None

    async def begin(self, image_id: str, upload_id: str, size: int | None) -> StoreWriter:
        """Refused: nothing can be written."""
        raise ReadOnlyStore("Error in store configuration. Adding images to store is disabled.")

    async def size(self, url: str) -> int:
        """See :meth:`Store.size`. ``StoreUnavailable`` also for an address that must not be fetched from."""
        for method in ("HEAD", "GET"):
            try:
                async with self._answer(method, url, {}) as answer:
                    size = answer.headers.get("Content-Length", "")
            except (StoreUnavailable, UnsupportedUrl):
                # Some servers sign their URLs for GET only.
                if method == "HEAD":
                    continue
                raise
            # And some say 0 to every HEAD.
            if size.isascii() and size.isdigit() and (method == "GET" or int(size)):
                return int(size)
        raise UnsupportedUrl("The HTTP URL is invalid: the server there does not say how many bytes it has.")

    async def read(self, url: str, offset: int = 0, length: int | None = None) -> AsyncGenerator[bytes]:
        """See :meth:`Store.read`. Of a server without ranges all is read, and what was not asked for skipped.

        Where the server breaks off, reading goes on from there, at most ``retries`` times, if an ETag shows that it is the same
        thing still.
        """
        if length == 0:
            return
        end, etag = None if length is None else offset + length, None
        for pause in (*self._pauses, None):
            try:
                async with self._answer("GET", url, _range(offset, end)) as answer:
                    if answer.status == 416:  # from behind the last byte
                        return
                    etag = _same(answer, etag)
                    async for data in _wanted(answer, offset, end):
                        offset += len(data)
                        yield data
                    return
            except StoreUnavailable as error:
                if pause is None or etag == "":
                    raise
                LOG.info("http location, at byte %d: %s", offset, error.message)
            await asyncio.sleep(pause)

    async def delete(self, url: str) -> None:
        """Nothing: the bytes belong to somebody else."""

    async def discard(self, image_id: str, upload_id: str | None, confirm: Confirm) -> None:
        """Nothing: no upload ever writes here."""

    async def check(self) -> None:
        """Always well: it depends on nothing of its own."""

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            await self._resolver.close()
            self._session = None

    @asynccontextmanager
    async def _answer(self, method: str, url: str, headers: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """The good answer at the end of at most five redirects; every other one is an error."""
        try:
            answer = await self._request(method, url, headers)
        except aiohttp.TooManyRedirects:
            raise UnsupportedUrl(f"The HTTP URL is invalid: it leads through more than {_REDIRECTS} redirects.") from None
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            raise UnsupportedUrl("The HTTP URL is invalid: it, or where it redirects to, is no http://HOST/PATH.") from None
        except _FAILURES as error:
            # Nobody answers, or must not be asked: one sentence for both, so that it does not tell what is inside.
            LOG.info("http location: %s", error)
            raise StoreUnavailable("No server answers there that this service may fetch from.") from error
        async with answer:
            _require_good(answer, (200, 206, 416) if headers else (200,))
            yield answer

    async def _request(self, method: str, url: str, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        if self._session is None:
            # No cookies and no proxy from the environment; names are looked up anew, for what was public may have moved. Whoever
            # reads from a slow server keeps nobody out: there is no limit.
            self._resolver = _Resolver()
            connector = aiohttp.TCPConnector(
                limit=0, ssl=self._tls, socket_factory=self._addresses.socket, use_dns_cache=False, resolver=self._resolver
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=_TIMEOUT,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers=_HEADERS,
            )
        # The address filter sees also where redirects lead. aiohttp's number is the first that is refused.
        return await self._session.request(method, url, headers=headers, allow_redirects=True, max_redirects=_REDIRECTS + 1)


class _Resolver(AbstractResolver):
    """Looks names up in threads of its own, and not for ever: a silent DNS server would hold up all that use asyncio's."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="lookup")

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        """The addresses of a name. ``OSError``: none, or no answer within ten seconds."""
        look = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        async with asyncio.timeout(_TIMEOUT.sock_connect):
            found = await asyncio.get_running_loop().run_in_executor(self._threads, look)
        return [
            ResolveResult(hostname=host, host=str(at[0]), port=port, family=kind, proto=protocol, flags=socket.AI_NUMERICHOST)
            for kind, _, protocol, _, at in found
        ]

    async def close(self) -> None:
        """Leave lookups that run alone."""
        self._threads.shutdown(wait=False)


def _range(start: int, end: int | None) -> dict[str, str]:
    if not start and end is None:
        return {}
    return {"Range": f"bytes={start}-{'' if end is None else end - 1}"}


def _same(answer: aiohttp.ClientResponse, etag: str | None) -> str:
    """The strong ETag of an answer, or ""; ``StoreUnavailable`` when reading began (``etag``) with something else."""
    found = answer.headers.get("ETag", "")
    found = found if found.startswith('"') else ""
    if etag is not None and found != etag:
        raise StoreUnavailable("The image's location has changed while it was read.")
    return found


async def _wanted(answer: aiohttp.ClientResponse, start: int, end: int | None) -> AsyncIterator[bytes]:
    """The bytes from ``start`` to ``end`` (None: all) of an answer with all bytes, or with these.

    ``StoreUnavailable`` when it has others, or breaks off.
    """
    position = start if answer.status == 206 else 0
    if answer.status == 206 and not answer.headers.get("Content-Range", "").lower().startswith(f"bytes {start}-"):
        raise StoreUnavailable("The server of the image's location answers with another range than it was asked for.")
    try:
        async for data in answer.content.iter_chunked(_CHUNK):
            if wanted := data[max(0, start - position) : None if end is None else end - position]:
                yield wanted
            position += len(data)
            if end is not None and position >= end:
                return
    except _FAILURES as error:
        LOG.warning("http location: %s", error)
        raise StoreUnavailable("The server of the image's location stopped in the middle. Try again later.") from error


def _require_good(answer: aiohttp.ClientResponse, good: tuple[int, ...]) -> None:
    if answer.status in (404, 410):
        raise DataMissing("HTTP datastore could not find image at URI.")
    if answer.status >= 500:
        raise StoreUnavailable(f"The server of the image's location fails with status {answer.status}. Try again later.")
    if answer.status not in good:
        raise UnsupportedUrl(f"The HTTP URL is invalid: the server there answers with status {answer.status}.")
