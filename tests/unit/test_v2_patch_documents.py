"""JSON-patch documents (contract C.5; RFC 6901 for pointers), taken apart and applied."""

from __future__ import annotations

from typing import Any

import pytest

from image_service.api.v2.patch import V20, V21, Operation, apply, parse, require_media_type
from image_service.errors import Conflict, Forbidden, InvalidValue, UnsupportedMediaType

POINTERS = [
    ("/name", "name"),
    ("/a b", "a b"),
    ("/q~1r", "q/r"),
    ("/q~0r", "q~r"),
    ("/q~01", "q~1"),  # ~0 is undone last
    ("/☃", "☃"),
    ("/-", "-"),
]


@pytest.mark.parametrize(("pointer", "name"), POINTERS)
def test_a_pointer_of_one_step_names_an_attribute(pointer: str, name: str) -> None:
    assert parse(V21, [{"op": "remove", "path": pointer}]) == [Operation("remove", name, None, True)]
    assert parse(V20, [{"remove": pointer}]) == [Operation("remove", name, None, False)]


@pytest.mark.parametrize(
    "pointer", ["", "name", "/", "//", "//name", "/name/", "/a/b", "/ ", "/~", "/~2", "/a~", None, 5, ["name"]]
)
def test_other_pointers_are_refused(pointer: Any) -> None:
    with pytest.raises(InvalidValue):
        parse(V21, [{"op": "remove", "path": pointer}])


def test_a_null_is_a_value_and_a_missing_one_is_none() -> None:
    assert parse(V21, [{"op": "replace", "path": "/name", "value": None}])[0].value is None
    with pytest.raises(InvalidValue, match="value"):
        parse(V21, [{"op": "replace", "path": "/name"}])


BASE = frozenset({"name"})
STEPS: list[tuple[Operation, dict[str, Any] | type[Exception]]] = [
    (Operation("add", "new", "x", True), {"name": "n", "p": "v", "new": "x"}),
    (Operation("add", "new", "x", False), {"name": "n", "p": "v", "new": "x"}),
    (Operation("add", "p", "x", True), {"name": "n", "p": "x"}),
    (Operation("add", "p", "x", False), Conflict),
    (Operation("add", "name", "x", True), {"name": "x", "p": "v"}),
    (Operation("replace", "p", "x", True), {"name": "n", "p": "x"}),
    (Operation("replace", "nope", "x", True), Conflict),
    (Operation("remove", "p", None, True), {"name": "n"}),
    (Operation("remove", "nope", None, True), Conflict),
    (Operation("remove", "name", None, True), Forbidden),
]


@pytest.mark.parametrize(("step", "wanted"), STEPS, ids=str)
def test_a_step_changes_the_attributes_or_says_why_not(step: Operation, wanted: dict[str, Any] | type[Exception]) -> None:
    attributes = {"name": "n", "p": "v"}
    if isinstance(wanted, dict):
        apply(attributes, step, BASE)
        assert attributes == wanted
    else:
        with pytest.raises(wanted):
            apply(attributes, step, BASE)
        assert attributes == {"name": "n", "p": "v"}


@pytest.mark.parametrize("kind", [V20, V21, V21.upper(), f" {V20} ; charset=UTF-8"])
def test_both_media_types_are_taken_in_any_case(kind: str) -> None:
    assert require_media_type(kind) in (V20, V21)


@pytest.mark.parametrize(
    "kind", ["", "application/json", "application/json-patch+json", "application/openstack-images-v2.9-json-patch"]
)
def test_another_media_type_is_told_both(kind: str) -> None:
    with pytest.raises(UnsupportedMediaType) as refused:
        require_media_type(kind)
    assert refused.value.headers["Accept-Patch"] == f"{V20}, {V21}"
