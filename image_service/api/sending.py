"""An image's bytes as an answer: by the kernel (sendfile), by the proxy in front (X-Accel-Redirect), or through this process.

Conditions (RFC 9110 13) are judged against the MD5 checksum as a strong ETag.
"""

from __future__ import annotations

import asyncio
from urllib.parse import quote

from aiohttp import ETag, web

from image_service.api.call import Call
from image_service.errors import ClientDisconnected, DataMissing, PreconditionFailed
from image_service.model import Image
from image_service.operations.downloads import Bytes


async def send(call: Call, data: Bytes, headers: dict[str, str], part: range | None = None) -> web.StreamResponse:
    """Send all bytes, or ``part`` of them as a 206."""
    name, _, prefix = call.conf.api.sendfile_header.partition(":")
    if data.path is not None and name and "X-Sendfile-Type" in call.request.headers:
        location = {name: prefix + quote(str(data.path))}
        return web.Response(headers=headers | location, content_type="application/octet-stream")
    offset, length = (part.start, len(part)) if part else (0, data.size)
    response = web.StreamResponse(status=206 if part else 200, headers=headers)
    response.content_type = "application/octet-stream"
    response.content_length = length
    if part:
        response.headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{data.size}"
    try:
        await (_send_file if data.path else _send_stream)(call.request, response, data, offset, length)
    except (ConnectionError, TimeoutError) as error:  # That is no error of ours.
        raise ClientDisconnected("The client went away during the download.") from error
    return response


async def _send_file(request: web.Request, response: web.StreamResponse, data: Bytes, offset: int, length: int) -> None:
    """Let the kernel copy from the file to the socket; the file is open before the answer begins, so a delete does not cut it."""
    try:
        file = open(data.path or "", "rb")  # noqa: SIM115, ASYNC230 - opening a local file is one short system call
    except FileNotFoundError:
        raise DataMissing("The data of this image are missing from the store.") from None
    with file:
        await response.prepare(request)
        if length and request.transport is not None:
            await asyncio.get_running_loop().sendfile(request.transport, file, offset, length)
        await response.write_eof()


async def _send_stream(request: web.Request, response: web.StreamResponse, data: Bytes, offset: int, length: int) -> None:
    chunks = aiter(data.store.read(data.url, offset, length))
    first = await anext(chunks, b"")  # What cannot be read at all is still an error with a status.
    await response.prepare(request)
    await response.write(first)
    async for chunk in chunks:
        await response.write(chunk)
    await response.write_eof()


# -- conditions --


def not_modified(request: web.BaseRequest, image: Image) -> bool:
    """Does the client have these bytes already (``If-None-Match``)? ``PreconditionFailed`` when ``If-Match`` does not hold."""
    if request.if_match is not None and not _matches(request.if_match, image.checksum):
        raise PreconditionFailed("The image does not have the ETag that If-Match asks for.")
    return request.if_none_match is not None and _matches(request.if_none_match, image.checksum)


def range_still_valid(request: web.BaseRequest, image: Image) -> bool:
    """``If-Range``: is what the client has a part of these bytes? If not, everything is sent."""
    if_range = request.headers.get("If-Range")
    return if_range is None or (image.checksum is not None and if_range.strip() == f'"{image.checksum}"')


def _matches(tags: tuple[ETag, ...], checksum: str | None) -> bool:
    return any(tag.value in ("*", checksum) for tag in tags)
