"""An image's bytes as an answer: by the kernel (sendfile), by the proxy in front (X-Accel-Redirect), or through this process.

Conditions (RFC 9110 13) are judged against the MD5 checksum as a strong ETag.
"""

from __future__ import annotations

import asyncio
import os
import re
import select
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import aclosing, suppress
from typing import IO, TypeVar
from urllib.parse import quote

from aiohttp import ETag, web

from image_service.api.call import Call
from image_service.errors import ClientDisconnected, ImageServiceError, PreconditionFailed, StoreUnavailable
from image_service.model import Image
from image_service.operations.downloads import Bytes
from image_service.store.interface import LocalFiles

T = TypeVar("T")

_PIECE = 256 << 10
# How long a thread sends for one client, in seconds, and how long it waits for him, in milliseconds.
_SLICE, _PATIENCE = 0.02, 2
# What a proxy judges by rules and tags of its own, or does not know.
_OURS_TO_JUDGE = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Content-Range")
_PLAIN_RANGE = re.compile(r"bytes=\d{1,18}-\d{0,18}", re.ASCII)


async def send(call: Call, data: Bytes, headers: dict[str, str], part: range | None = None) -> web.StreamResponse:
    """Send all bytes, or ``part`` of them as a 206; of ``HEAD`` the headers alone."""
    name, _, prefix = call.conf.api.sendfile_header.partition(":")
    if name and isinstance(data.store, LocalFiles) and _proxy_answers_alike(call, part):
        location = {name: prefix + quote(str(data.store.path(data.url)))}
        return web.Response(headers=headers | location, content_type="application/octet-stream")
    offset, length = (part.start, len(part)) if part else (0, data.size)
    response = web.StreamResponse(status=206 if part else 200, headers=headers)
    response.content_type = "application/octet-stream"
    response.content_length = length
    if part:
        response.headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{data.size}"
    if call.request.method == "HEAD":
        return response
    try:
        if isinstance(data.store, LocalFiles):
            sent = await _send_file(call.request, response, data.store, await data.store.open(data.url), offset, length)
        else:
            sent = await _send_stream(call.request, response, data, offset, length)
        if sent != length:
            raise StoreUnavailable(f"The data of image {call.params['image_id']} ended too early.")
        await response.write_eof()
    except BaseException as error:
        # Whatever is written after a part of the bytes, the client would take for the rest of them.
        if response.prepared and call.request.transport is not None:
            call.request.transport.close()
        if isinstance(error, OSError):
            raise _explained(error) from error
        raise
    return response


def _proxy_answers_alike(call: Call, part: range | None) -> bool:
    """Does the proxy want to send files itself, and what we would send? Metadata in headers (API v1) it leaves out."""
    headers = call.request.headers
    unlike = call.v1 or call.request.method != "GET" or any(name in headers for name in _OURS_TO_JUDGE)
    if unlike or "X-Sendfile-Type" not in headers:
        return False
    wanted = headers.get("Range")
    return wanted is None or (part is not None and _PLAIN_RANGE.fullmatch(wanted) is not None)


def _explained(error: OSError) -> ImageServiceError:
    """What ended a download."""
    if isinstance(error, (ConnectionError, TimeoutError)):  # That is no error of ours.
        return ClientDisconnected("The client went away during the download.")
    return StoreUnavailable(f"The store cannot read this image: {error.strerror}. Tell the administrator.")


async def _send_file(
    request: web.Request, response: web.StreamResponse, store: LocalFiles, file: IO[bytes], offset: int, length: int
) -> int:
    """Let the kernel copy from ``file``, which is closed at the end, to the socket. It was opened before the answer begins, so a
    delete does not cut it. The bytes that were sent.
    """
    with file:
        await response.prepare(request)
        if request.transport is None:
            raise ConnectionResetError
        if not length:
            return 0
        sent = await _send_first(request.transport, store, file, offset, min(length, _PIECE))
        if sent < length:
            # asyncio lets nobody else watch a transport's own.
            with request.transport.get_extra_info("socket").dup() as sock, suppress(EOFError):
                while sent < length:
                    await _writable(sock)
                    sent += await _in_thread(store, _send_some, sock, file, offset + sent, length - sent)
        return sent


async def _send_first(transport: asyncio.Transport, store: LocalFiles, file: IO[bytes], offset: int, length: int) -> int:
    """The first piece, which has to wait until the headers are sent. It may be all, so no thread is asked in vain."""
    try:
        in_memory = all(os.preadv(file.fileno(), [bytearray(1)], at, os.RWF_NOWAIT) for at in (offset, offset + length - 1))
    except OSError:  # No, or the kernel does not tell (NFS, FUSE).
        in_memory = False
    if not in_memory:
        with suppress(OSError):
            await _in_thread(store, os.pread, file.fileno(), length, offset)
    if transport.is_closing():
        raise ConnectionResetError
    with suppress(asyncio.SendfileNotAvailableError):  # asyncio's word for any error. The thread will see which.
        return await asyncio.get_running_loop().sendfile(transport, file, offset, length, fallback=False)
    return 0


async def _writable(sock: socket.socket) -> None:
    """Wait until the client has taken something: that costs no thread."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_writer(sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(sock)


def _send_some(sock: socket.socket, file: IO[bytes], offset: int, size: int) -> int:
    """Send what the client takes without delay, for a moment: in a thread of the store, because the kernel may have to wait for
    the disk. The bytes that were sent; ``EOFError`` where the file ends.
    """
    ready, sent, end = select.poll(), 0, time.monotonic() + _SLICE
    ready.register(sock, select.POLLOUT)
    while sent < size and time.monotonic() < end and ready.poll(_PATIENCE):
        with suppress(BlockingIOError):
            # Where the client is faster than the disk, a call would come back with the last byte only.
            done = os.sendfile(sock.fileno(), file.fileno(), offset + sent, min(size - sent, _PIECE))
            if not done:
                raise EOFError
            sent += done
    return sent


async def _in_thread(store: LocalFiles, call: Callable[..., T], *args: object) -> T:
    """Run ``call`` in a thread of the store. Who is cancelled waits for it nevertheless: it uses what will be closed then."""
    running, cancelled = asyncio.ensure_future(store.in_thread(call, *args)), False
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    return running.result()


async def _send_stream(request: web.Request, response: web.StreamResponse, data: Bytes, offset: int, length: int) -> int:
    sent = 0
    async with aclosing(data.store.read(data.url, offset, length)) as chunks:
        async for chunk in chunks:
            if not response.prepared:  # What cannot be read at all is still an error with a status.
                await response.prepare(request)
            await response.write(chunk)
            sent += len(chunk)
    if not length:
        await response.prepare(request)
    return sent


# -- conditions --


def not_modified(request: web.BaseRequest, image: Image) -> bool:
    """Does the client have these bytes already (``If-None-Match``)? ``PreconditionFailed`` when ``If-Match`` does not hold."""
    if request.if_match is not None and not _matches((tag for tag in request.if_match if not tag.is_weak), image.checksum):
        raise PreconditionFailed("The image does not have the ETag that If-Match asks for.")
    return request.if_none_match is not None and _matches(request.if_none_match, image.checksum)


def range_still_valid(request: web.BaseRequest, image: Image) -> bool:
    """``If-Range``: is what the client has a part of these bytes? If not, everything is sent."""
    if_range = request.headers.get("If-Range")
    return if_range is None or (image.checksum is not None and if_range.strip() == f'"{image.checksum}"')


def _matches(tags: Iterable[ETag], checksum: str | None) -> bool:
    return any(tag.value in ("*", checksum) for tag in tags)
