"""Ranges: RFC 9110 14, and the contract's C.7 where it says more."""

from __future__ import annotations

import pytest

from image_service.errors import InvalidValue, RangeNotSatisfiable
from image_service.transfer.ranges import parse_content_range, parse_range


@pytest.mark.parametrize(
    ("header", "start", "length"),
    [
        ("bytes=0-3", 0, 4),
        ("bytes=0-", 0, 10),
        ("bytes=9-9", 9, 1),
        ("bytes=9-", 9, 1),
        ("bytes=3-100", 3, 7),
        ("bytes=-1", 9, 1),
        ("bytes=-10", 0, 10),
        ("bytes=-999", 0, 10),
        ("BYTES = 1-2 ", 1, 2),
        ("bytes=0-3,", 0, 4),
        ("bytes=0-9223372036854775807", 0, 10),
    ],
)
def test_satisfiable(header: str, start: int, length: int) -> None:
    assert parse_range(header, 10) == range(start, start + length)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=9-3",
        "items=0-3",
        "0-3",
        "bytes=1.5-3",
        "bytes=--1",
        "bytes=+1-2",
        "bytes=1-2-3",
        "bytes=٣-٤",
        "bytes=1 2-3",
        "bytes=" + "9" * 100 + "-",
    ],
)
def test_ignored(header: str | None) -> None:
    assert parse_range(header, 10) is None


@pytest.mark.parametrize(
    ("header", "size"),
    [("bytes=10-", 10), ("bytes=10-12", 10), ("bytes=-0", 10), ("bytes=" + "9" * 30 + "-", 10), ("bytes=0-", 0), ("bytes=-5", 0)],
)
def test_not_satisfiable(header: str, size: int) -> None:
    with pytest.raises(RangeNotSatisfiable) as caught:
        parse_range(header, size)
    assert caught.value.headers == {"Content-Range": f"bytes */{size}"}


@pytest.mark.parametrize("header", ["bytes=0-1,3-4", "bytes=0-1, -1", "bytes=0-1,x"])
def test_several(header: str) -> None:
    with pytest.raises(InvalidValue):
        parse_range(header, 10)


@pytest.mark.parametrize("header", ["bytes 0-4/*", "bytes 0-4/10", "Bytes  0-4/99"])
def test_content_range(header: str) -> None:
    assert parse_content_range(header, 10) == range(5)


@pytest.mark.parametrize(
    "header", ["", "bytes", "bytes 0-10/*", "bytes 0-4/4", "bytes 4-3/*", "bytes=0-4", "bytes 0-/*", "bytes */10"]
)
def test_bad_content_range(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        parse_content_range(header, 10)


def test_no_content_range() -> None:
    assert parse_content_range(None, 10) is None
