"""base64 bodies are decoded in the stream, however they are cut into chunks; broken ones say where."""

from __future__ import annotations

import asyncio
import base64
import os
import textwrap
from collections.abc import AsyncIterator

import pytest

from image_service.errors import InvalidValue
from image_service.transfer.decode import base64_decoded

DATA = os.urandom(100_003)
ENCODED = base64.b64encode(DATA)


async def chunks(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def decode(encoded: bytes, size: int = 4096) -> bytes:
    async def case() -> bytes:
        return b"".join([part async for part in base64_decoded(chunks(encoded, size))])

    return asyncio.run(case())


@pytest.mark.parametrize("size", [1, 2, 3, 5, 77, 4096, 1 << 20])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"", b" \t\r\n"])
def test_any_cut_and_any_line_end(size: int, line_end: bytes) -> None:
    length = 30_000 if size > 2 else 3_000
    data = DATA[:length]
    lines = textwrap.wrap(base64.b64encode(data).decode(), 76)
    encoded = line_end.join(line.encode() for line in lines) + line_end
    assert decode(encoded, size) == data


@pytest.mark.parametrize("length", range(8))
def test_every_padding(length: int) -> None:
    assert decode(base64.b64encode(DATA[:length])) == DATA[:length]
    assert decode(base64.b64encode(DATA[:length]) + b"\n", 1) == DATA[:length]


def test_nothing_but_blanks_is_nothing() -> None:
    assert decode(b" \r\n\t\n") == b""


def test_what_the_command_base64_prints_for_the_post() -> None:
    """15,138,816 bytes are printed as 20,450,682: 76 characters a line."""
    data = bytes(15_138_816)
    encoded = base64.encodebytes(data)
    assert len(encoded) == 20_450_682
    assert decode(encoded, 65536) == data


@pytest.mark.parametrize("size", [1, 3, 4096])
@pytest.mark.parametrize(
    ("encoded", "position"),
    [
        (b"QUJD*UJD", 4),
        (b"*", 0),
        (b"QUJD\n\nQUJ\xff", 9),
        (b"QUI=QUJD", 4),
        (b"QQ==\nQ", 5),
        (b"QQ==\n=", 5),
        (b"-_-_", 0),
    ],
)
def test_the_position_of_what_is_wrong(encoded: bytes, position: int, size: int) -> None:
    with pytest.raises(InvalidValue, match=r"\b(at|ends at) byte \d+") as caught:
        decode(encoded, size)
    if size == 1 or b"=" not in encoded:
        assert f"byte {position}," in caught.value.message


@pytest.mark.parametrize(
    "encoded",
    [b"Q", b"QU", b"QUJ", b"QUI", b"QQ=", b"QUJDQQ=\n", b"=", b"====", b"QUJD====", b"QUJD\n====\n", b"Q===", b"QQ=Q"],
)
@pytest.mark.parametrize("size", [1, 4096])
def test_cut_off_or_ill_padded(encoded: bytes, size: int) -> None:
    with pytest.raises(InvalidValue):
        decode(encoded, size)


def test_every_single_wrong_byte_is_found() -> None:
    alphabet = set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/= \t\r\n\v\f")
    for byte in set(range(256)) - alphabet:
        with pytest.raises(InvalidValue, match="byte 5000,"):
            decode(ENCODED[:5000] + bytes([byte]) + ENCODED[5000:])


def test_what_came_before_an_error_in_the_source_is_given() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"QUJD"
        raise ConnectionResetError

    async def case() -> None:
        parts = base64_decoded(broken())
        assert await anext(parts) == b"ABC"
        with pytest.raises(ConnectionResetError):
            await anext(parts)

    asyncio.run(case())
