"""What stands in the query of a list (contract C.10), taken apart."""

from __future__ import annotations

import pytest

from image_service.api.parameters import integer, time
from image_service.api.v2.query import split_quoted
from image_service.errors import InvalidValue

SPLIT = [
    ("", []),
    ("a", ["a"]),
    ("a,b", ["a", "b"]),
    (" a , b ", [" a ", " b "]),
    ('"a,b",c', ["a,b", "c"]),
    ('"a"', ["a"]),
    (r'"say \"hi\"",x', ['say "hi"', "x"]),
    (r'"back\\slash"', ["back\\slash"]),
    ('""', [""]),
    ("a,,b", ["a", "", "b"]),
    (",a,", ["", "a"]),
    ("a,,b,a,,", ["a", "", "b"]),
    ("ü,☃", ["ü", "☃"]),
]


@pytest.mark.parametrize(("text", "items"), SPLIT)
def test_items_stand_between_commas_or_quotation_marks(text: str, items: list[str]) -> None:
    assert split_quoted(text) == items


@pytest.mark.parametrize("text", ['"', '"a', 'a"', 'a"b"', '"a"b', '"a\\"', '"a" ,b', 'a, "b"'])
def test_unbalanced_quotation_marks_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        split_quoted(text)


def test_blanks_take_no_longer_than_other_characters() -> None:
    """Where every way to share them out was tried, these took hours."""
    with pytest.raises(InvalidValue):
        split_quoted("a," + " " * 16_000 + '"')


TIMES = [
    ("2026-11-22T11:59:11Z", "2026-11-22T11:59:11"),
    ("2026-11-22T11:59:11", "2026-11-22T11:59:11"),
    ("2026-11-22", "2026-11-22T00:00:00"),
    ("2026-11-22T11:59:11.5Z", "2026-11-22T11:59:11.500000"),
    ("2026-11-22T11:59:11+02:00", "2026-11-22T09:59:11"),
    ("2026-11-22T11:59:11-05:30", "2026-11-22T17:29:11"),
    # A plus sign that nobody encoded arrives as a space.
    ("2026-11-22T11:59:11 02:00", "2026-11-22T09:59:11"),
    (" 2026-11-22 ", "2026-11-22T00:00:00"),
    ("2026", "2026-01-01T00:00:00"),
    ("2026-11", "2026-11-01T00:00:00"),
]


@pytest.mark.parametrize(("text", "wanted"), TIMES)
def test_times_are_iso_8601_and_become_utc(text: str, wanted: str) -> None:
    assert time("created_at", text).isoformat() == wanted


@pytest.mark.parametrize(
    "text", ["", "now", "2026-13-01", "2026-11-22T25:00:00Z", "22.11.2026", "1700000000", "9999-12-31T23:59:59-05:00"]
)
def test_other_times_are_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidValue, match="created_at"):
        time("created_at", text)


@pytest.mark.parametrize(
    ("text", "wanted"), [("5", 5), ("-5", -5), (" 5 ", 5), ("9" * 30, 2**63 - 1), ("-" + "9" * 30, 1 - 2**63)]
)
def test_numbers_that_no_column_holds_become_the_nearest(text: str, wanted: int) -> None:
    assert integer("size_min", text) == wanted


@pytest.mark.parametrize("text", ["", "x", "1.5", "0x5", "9" * 5000])
def test_other_numbers_are_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidValue, match="size_min"):
        integer("size_min", text)
