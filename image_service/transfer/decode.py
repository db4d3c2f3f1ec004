"""``Content-Transfer-Encoding: base64``: what is stored is the image, not its encoding (RFC 2045 6.8)."""

from __future__ import annotations

import binascii
import re
from collections.abc import AsyncIterator

from image_service.errors import InvalidValue

_BLANKS = b" \t\r\n\v\f"
_FOREIGN = re.compile(rb"[^A-Za-z0-9+/= \t\r\n\v\f]")
# Decoded in one go: binascii keeps the interpreter's lock, so a thread would not help, and more than this would hold up the
# event loop.
_STEP = 256 << 10


async def base64_decoded(source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Decode a stream in constant memory; blanks and line ends may stand anywhere.

    ``InvalidValue`` with the position (bytes of the encoded stream, from 0) of a character that has no place there, and for a
    stream that ends within a group of four.
    """
    position, rest, ended = 0, b"", False
    async for chunk in source:
        for start in range(0, len(chunk), _STEP):
            piece = chunk[start : start + _STEP]
            text = piece.translate(None, _BLANKS)
            if text and ended:
                raise _bad(position + piece.index(text[:1]), "something follows the padding")
            text = rest + text
            whole, rest = text[: len(text) // 4 * 4], text[len(text) // 4 * 4 :]
            ended = ended or whole.endswith(b"=")
            try:
                data = binascii.a2b_base64(whole, strict_mode=True)
            except binascii.Error:
                raise _explained(piece, position) from None
            # The strict mode lets a whole group of padding pass.
            if whole.endswith(b"==="):
                raise _explained(piece, position)
            if (ended and rest) or _FOREIGN.search(rest):
                raise _explained(piece, position)
            position += len(piece)
            if data:
                yield data
    if rest:
        raise InvalidValue(f"The base64 body ends at byte {position} within a group of four characters: it was cut off.")


def _explained(piece: bytes, position: int) -> InvalidValue:
    """What is wrong with ``piece``, which begins at ``position`` of the stream."""
    foreign = _FOREIGN.search(piece)
    if foreign is not None:
        return _bad(position + foreign.start(), f"{foreign.group()!r} is no base64 character")
    return _bad(position + max(piece.find(b"="), 0), "padding in a wrong place")


def _bad(position: int, reason: str) -> InvalidValue:
    return InvalidValue(f"The body is not base64 as announced: at byte {position}, {reason}.")
