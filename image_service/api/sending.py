"""An image's bytes as an answer: by the kernel (sendfile), by the proxy in front (X-Accel-Redirect), or through this process.

Conditions (RFC 9110 13) are judged against the MD5 checksum as a strong ETag.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Iterable
from contextlib import aclosing, suppress
from typing import IO
from urllib.parse import quote

from aiohttp import ETag, web

from image_service.api.call import Call
from image_service.errors import ClientDisconnected, ImageServiceError, PreconditionFailed, StoreUnavailable
from image_service.model import Image
from image_service.operations.downloads import Bytes
from image_service.store.interface import LocalFiles

_FIRST_PIECE, _PIECE = 1 << 20, 8 << 20
# What a proxy judges by rules and tags of its own, or does not know.
_OURS_TO_JUDGE = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Content-Range")
_PLAIN_RANGE = re.compile(r"bytes=\d{1,18}-\d{0,18}", re.ASCII)


async def send(call: Call, data: Bytes, headers: dict[str, str], part: range | None = None) -> web.StreamResponse:
    """Send all bytes, or ``part`` of them as a 206; of ``HEAD`` the headers alone."""
    name, _, prefix = call.conf.api.sendfile_header.partition(":")
    if data.path is not None and name and _proxy_answers_alike(call.request, part):
        location = {name: prefix + quote(str(data.path))}
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
            sent = await _send_file(call.request, response, data, await data.store.open(data.url), offset, length)
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


def _proxy_answers_alike(request: web.BaseRequest, part: range | None) -> bool:
    """Does the proxy want to send files itself, and will it send what we would?"""
    headers = request.headers
    if request.method != "GET" or "X-Sendfile-Type" not in headers or any(name in headers for name in _OURS_TO_JUDGE):
        return False
    wanted = headers.get("Range")
    return wanted is None or (part is not None and _PLAIN_RANGE.fullmatch(wanted) is not None)


def _explained(error: OSError) -> ImageServiceError:
    """What ended a download."""
    if isinstance(error, (ConnectionError, TimeoutError)):  # That is no error of ours.
        return ClientDisconnected("The client went away during the download.")
    return StoreUnavailable(f"The store cannot read this image: {error.strerror}. Tell the administrator.")


async def _send_file(
    request: web.Request, response: web.StreamResponse, data: Bytes, file: IO[bytes], offset: int, length: int
) -> int:
    """Let the kernel copy from ``file``, which is closed at the end, to the socket. It was opened before the answer begins, so a
    delete does not cut it. The bytes that were sent.
    """
    with file:
        await response.prepare(request)
        if request.transport is None:
            raise ConnectionResetError
        return await _sendfile(request.transport, file, data, offset, length) if length else 0


async def _sendfile(transport: asyncio.Transport, file: IO[bytes], data: Bytes, offset: int, length: int) -> int:
    """As ``loop.sendfile``, which makes the kernel forget the socket and learn it again whenever it is full: that takes a fifth
    of the processor time of a download. Its first piece waits until the headers are sent.
    """
    loop, first = asyncio.get_running_loop(), min(length, _FIRST_PIECE)
    await _bring(file, data, offset, first)
    if transport.is_closing():
        raise ConnectionResetError
    sent = await loop.sendfile(transport, file, offset, first)
    if sent < first:
        return sent
    with transport.get_extra_info("socket").dup() as sock:  # asyncio lets nobody else watch a transport's own.
        most = _PIECE
        while sent < length:
            piece = min(length - sent, most)
            await _bring(file, data, offset + sent, piece)
            done = await _send_piece(sock, file, offset + sent, piece)
            if not done:
                break
            sent += done
            most = _PIECE if done == piece else _FIRST_PIECE  # Memory is short of room for what slow clients have not taken.
    return sent


async def _bring(file: IO[bytes], data: Bytes, offset: int, size: int) -> None:
    """Let a thread of the store wait for its disk: who sends what is not in memory keeps the whole process waiting.

    Where the kernel does not tell what is in memory (NFS, FUSE), a thread looks each time.
    """
    if _in_memory(file, *range(offset, offset + size, _FIRST_PIECE), offset + size - 1):
        return
    with suppress(ImageServiceError):  # of an image that was deleted, or a disk that fails: the one who sends will see
        async with aclosing(data.store.read(data.url, offset, size)) as chunks:
            async for _ in chunks:
                pass


def _in_memory(file: IO[bytes], *places: int) -> bool | None:
    """None where the kernel does not tell."""
    try:
        return all(os.preadv(file.fileno(), [bytearray(1)], at, os.RWF_NOWAIT) for at in places)
    except BlockingIOError:
        return False
    except OSError:
        return None


async def _send_piece(sock: socket.socket, file: IO[bytes], offset: int, size: int) -> int:
    """The bytes that were sent: all of them, what the file still had, or what was in memory when the client took them."""
    loop, sent = asyncio.get_running_loop(), 0
    ended: asyncio.Future[None] = loop.create_future()

    def send_more() -> None:
        nonlocal sent
        if ended.done():  # cancelled
            return
        done = 0
        try:
            if not sent or _in_memory(file, offset + sent) is not False:
                done = os.sendfile(sock.fileno(), file.fileno(), offset + sent, size - sent)
        except BlockingIOError:
            return
        except OSError as error:
            loop.remove_writer(sock)
            ended.set_exception(error)
            return
        sent += done
        if not done or sent == size:
            loop.remove_writer(sock)
            ended.set_result(None)

    loop.add_writer(sock, send_more)
    try:
        await ended
    finally:
        loop.remove_writer(sock)
    return sent


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
