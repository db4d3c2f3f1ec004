"""``Content-Transfer-Encoding: base64``: what is stored is the image, not its encoding (RFC 2045 6.8)."""

from __future__ import annotations

import binascii
import re
from collections.abc import AsyncIterator

from image_service.errors import BadEncoding

_BLANKS = b" \t\r\n\v\f"
_FOREIGN = re.compile(rb"[^A-Za-z0-9+/= \t\r\n\v\f]")
# Decoded in one go: binascii keeps the interpreter's lock, so a thread would not help, and more than this
# would hold up the event loop.
_STEP = 256 << 10


async def base64_decoded(source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Decode a stream in constant memory; blanks and line ends may stand anywhere.

    ``BadEncoding`` with the position (bytes of the encoded stream, from 0) of a character that has no place
    there, and for a stream that ends within a group of four.
    """
    decoder = _Decoder()
    async for chunk in source:
        for start in range(0, len(chunk), _STEP):
            data = decoder.feed(chunk[start : start + _STEP])
            if data:
                yield data
    decoder.finish()


class _Decoder:
    """What lies between two chunks: an incomplete group, how far the stream is, whether padding ended it."""

    def __init__(self) -> None:
        self.position = 0
        self.rest = b""
        self.ended = False

    def feed(self, chunk: bytes) -> bytes:
        text = chunk.translate(None, _BLANKS)
        if text and self.ended:
            raise self._bad(chunk, chunk.index(text[:1]), "something follows the padding")
        whole = self.rest + text
        usable = len(whole) // 4 * 4
        try:
            data = binascii.a2b_base64(whole[:usable], strict_mode=True)
        except binascii.Error:
            raise self._explain(chunk) from None
        self.rest = whole[usable:]
        self.ended = self.ended or whole[:usable].endswith(b"=")
        if (self.ended and self.rest) or _FOREIGN.search(self.rest):
            raise self._explain(chunk)
        self.position += len(chunk)
        return data

    def finish(self) -> None:
        if self.rest:
            raise BadEncoding(f"The base64 body ends at byte {self.position} within a group of four characters: it was cut off.")

    def _explain(self, chunk: bytes) -> BadEncoding:
        foreign = _FOREIGN.search(chunk)
        if foreign is not None:
            return self._bad(chunk, foreign.start(), f"{foreign.group()!r} is no base64 character")
        return self._bad(chunk, max(chunk.find(b"="), 0), "padding in a wrong place")

    def _bad(self, chunk: bytes, index: int, reason: str) -> BadEncoding:
        return BadEncoding(f"The body is not base64 as announced: at byte {self.position + index}, {reason}.")
