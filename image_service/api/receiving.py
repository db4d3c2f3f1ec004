"""The body of a request as a stream of bytes, or as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from image_service.errors import ClientDisconnected, InvalidValue, LimitExceeded

# Five million empty lists are 15 MiB, too, but stop the process for seconds while they are made.
_MOST_PARTS = 100_000
_CONTINUED = "continued"


def media_type(request: web.BaseRequest) -> str:
    """What the request says its body is, in lower case and without parameters; "" when it does not say."""
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


async def expect(request: web.BaseRequest) -> None:
    """Who sends ``Expect: 100-continue`` waits until :func:`stream` wants the body, or for the refusal."""
    if not _waits(request) and request.version >= aiohttp.HttpVersion11:
        raise web.HTTPExpectationFailed(text="The header Expect may be 100-continue only.")


async def close_if_refused(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """End the connection of who was refused instead of told to go on: whether the body or another request comes next, nobody
    knows.
    """
    refused = "Expect" in request.headers and not request.get(_CONTINUED) and not request.content.is_eof()
    if refused and request.version >= aiohttp.HttpVersion11:
        response.force_close()
        response.headers["Connection"] = "close"


def _waits(request: web.BaseRequest) -> bool:
    return request.headers.get("Expect", "").lower() == "100-continue" and request.version >= aiohttp.HttpVersion11


async def stream(request: web.BaseRequest) -> AsyncIterator[bytes]:
    """The bytes of the body as they come. ``ClientDisconnected`` when the client goes away before the end, in either framing, or
    is silent for as long as it may be between two requests; ``InvalidValue`` for a transfer coding besides chunked.
    """
    coding = request.headers.get("Transfer-Encoding", "chunked").strip()
    if coding.lower() != "chunked":
        raise InvalidValue(f"Transfer-Encoding may be chunked only, not {coding}: nothing is unpacked here.")
    content = request.content
    try:
        if _waits(request):
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request[_CONTINUED] = True
            request.writer.output_size = 0  # this is no part of the answer
        while True:
            async with asyncio.timeout(request.protocol.keepalive_timeout):
                data = await content.readany()
            if data:
                yield data
            elif content.at_eof():
                return
    except (aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError, ConnectionError, EOFError, TimeoutError) as error:
        raise ClientDisconnected(f"The request's body broke off: {type(error).__name__}. Send the whole body.") from None


async def read_json(request: web.BaseRequest, most: int = 16 << 20, *, instead: Any = ...) -> Any:
    """The body, at most 16 MiB, as JSON, or ``instead`` when there is none. ``InvalidValue`` when that is not given either, it is
    not JSON, or has too many parts.
    """
    body = await read_all(request, most)
    if not body and instead is not ...:
        return instead
    if not body:
        raise InvalidValue("Body expected in request.")
    if sum(body.count(mark) for mark in b"[{:") > _MOST_PARTS:
        raise InvalidValue(f"The JSON body has more than {_MOST_PARTS} lists, objects and names.")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidValue(f"Malformed JSON in request body: {error}.") from None


async def read_all(request: web.BaseRequest, most: int) -> bytes | bytearray:
    """The whole body; ``LimitExceeded`` for more than ``most`` bytes."""
    body = bytearray()
    async for data in stream(request):
        body += data
        if len(body) > most:
            raise LimitExceeded(f"A body may have {most} bytes here.")
    return body


async def require_no_body(request: web.BaseRequest) -> None:
    """``InvalidValue`` when a request carries a body that nothing here reads; an empty chunked one is fine."""
    if not request.body_exists:
        return
    async for data in stream(request):
        if data:
            raise InvalidValue("A body is not expected with this request.")
