"""The form in which the registry's calls travel, and the file of the secret that they show."""

from __future__ import annotations

import stat
from datetime import datetime
from pathlib import Path

import pytest
from oslo_config import cfg

from image_service import errors
from image_service.errors import InvalidValue, RegistryUnavailable
from image_service.model import Image, Location, Status, Visibility
from image_service.registry import wire
from image_service.registry.interface import (
    ImageChange,
    ImageQuery,
    Registry,
    SortKey,
    TimeFilter,
    Visible,
)
from image_service.registry.secret import make_secret, read_secret

MOMENT = datetime(2026, 11, 22, 20, 27, 55, 123456)  # noqa: DTZ001 - the registry's times are naive UTC
IMAGE = Image(
    id="i",
    status=Status.SAVING,
    visibility=Visibility.PRIVATE,
    name="ü",
    size=2**63 - 1,
    created_at=MOMENT,
    properties={"a": None, "b": "c"},
    tags=["t"],
    locations=[Location("file:///x", {"deep": [1, {"a": None}]}, id=3)],
)
QUERY = ImageQuery(
    visible=(Visible(("public",)), Visible(owner="p")),
    equal={"size": 3, "protected": True, "name": None, "status": "active"},
    one_of={"name": ("a", "b")},
    times=(TimeFilter("created_at", "gt", MOMENT),),
    deleted=None,
    sort=(SortKey("name", False),),
)
CHANGE = ImageChange(values={"status": Status.ACTIVE, "size": None}, tags=[], locations=[Location("u")])


def test_every_method_has_its_call() -> None:
    assert wire.CALLS.keys() == Registry.__abstractmethods__ - {"aclose"}
    assert wire.CALLS.keys() > wire.REPEATABLE


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("create_image", {"image": IMAGE}),
        ("list_images", {"query": QUERY}),
        ("list_images", {"query": ImageQuery()}),
        ("update_image", {"image_id": "i", "change": CHANGE, "from_status": [Status.QUEUED]}),
        ("update_image", {"image_id": "i", "change": ImageChange(), "from_status": None}),
        ("claim_dead_uploads", {"older_than": 2.5}),
        ("claim_dead_uploads", {"older_than": 2.5, "until": datetime.min}),
        ("storage_used", {"owner": None}),
        ("get_image", {"image_id": "i", "include_deleted": True}),
        ("get_image", {"image_id": "i"}),
    ],
)
def test_arguments_arrive_as_they_were(name: str, arguments: dict[str, object]) -> None:
    assert wire.CALLS[name].arguments(wire.encode(arguments)) == arguments


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("get_image", IMAGE),
        ("list_images", [IMAGE, Image(id="j")]),
        ("get_member", None),
        ("delete_member", None),
        ("renew_upload", False),
        ("storage_used", 2**60),
    ],
)
def test_results_arrive_as_they_were(name: str, result: object) -> None:
    assert wire.CALLS[name].result(wire.encode({"result": result})) == result


def test_a_true_is_no_number_and_a_number_no_true() -> None:
    arrived = wire.CALLS["list_images"].arguments(wire.encode({"query": QUERY}))["query"]
    assert arrived.equal["protected"] is True
    assert type(arrived.equal["size"]) is int
    with pytest.raises(RegistryUnavailable):
        wire.CALLS["get_image"].arguments(b'{"image_id": "i", "include_deleted": 1}')


@pytest.mark.parametrize("value", ["\ud800", 2**64])
def test_what_no_database_could_keep_does_not_travel(value: object) -> None:
    with pytest.raises(InvalidValue):
        wire.encode({"name": value})


@pytest.mark.parametrize("body", [b"", b"[]", b'{"image_id": 5}', b'{"image_id": "a", "x": 1}', b"{}", b"\xff"])
def test_malformed_calls(body: bytes) -> None:
    with pytest.raises(RegistryUnavailable):
        wire.CALLS["get_image"].arguments(body)


@pytest.mark.parametrize("body", [b"", b"{}", b"5", b'{"result": 5}', b'{"result": {"id": "a", "status": "odd"}}'])
def test_malformed_results(body: bytes) -> None:
    with pytest.raises(RegistryUnavailable):
        wire.CALLS["get_image"].result(body)


def test_every_error_comes_back_as_itself() -> None:
    for code, kind in errors.by_code().items():
        back = wire.decode_error(wire.encode_error(kind("a sentence")))
        assert (type(back), back.code, back.message) == (kind, code, "a sentence")


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"code": "Nonsense", "message": "x"}', b"[]"])
def test_what_is_no_error_of_ours_is_unavailable(body: bytes) -> None:
    assert type(wire.decode_error(body)) is RegistryUnavailable


def test_a_secret_is_made_once_for_its_owner_alone(tmp_path: Path, synced: set[int]) -> None:
    path = str(tmp_path / "secret")
    make_secret(path)
    assert {Path(path).stat().st_ino, tmp_path.stat().st_ino} <= synced
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    assert len(read_secret(path)) == 64
    with pytest.raises(FileExistsError):
        make_secret(path)


@pytest.mark.parametrize(
    ("text", "mode", "sentence"),
    [
        ("ab" * 32, 0o604, "open to everybody"),
        ("ab" * 15, 0o600, "hexadecimal"),
        ("", 0o600, "hexadecimal"),
        ("xy" * 32, 0o600, "hexadecimal"),
        ("ü" * 64, 0o600, "cannot be read"),
        (None, 0, "cannot be read"),
    ],
)
def test_a_secret_that_cannot_be_used_says_why(tmp_path: Path, text: str | None, mode: int, sentence: str) -> None:
    path = tmp_path / "secret"
    if text is not None:
        path.write_text(text)
        path.chmod(mode)
    with pytest.raises(cfg.Error, match=sentence) as caught:
        read_secret(str(path))
    assert not text or text not in str(caught.value)
