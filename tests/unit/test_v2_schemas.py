"""The schemas are data (schemas.json): what they repeat of the model is what the model has."""

from __future__ import annotations

from dataclasses import fields

from image_service import config
from image_service.api.v2 import schemas
from image_service.api.v2.schemas import BASE, READ_ONLY, documents
from image_service.cli.api import preload
from image_service.model import MAX_NAME, Image, MemberStatus, Status, Visibility

DOCUMENTS = documents(("raw", "qcow2"), ("bare",))
IMAGE = DOCUMENTS["image"]["properties"]


def test_the_choices_are_those_of_the_model() -> None:
    assert set(IMAGE["status"]["enum"]) == set(Status)
    assert set(IMAGE["visibility"]["enum"]) == set(Visibility)
    assert set(DOCUMENTS["member"]["properties"]["status"]["enum"]) == set(MemberStatus)
    assert IMAGE["name"]["maxLength"] == IMAGE["tags"]["items"]["maxLength"] == MAX_NAME


def test_the_formats_are_those_of_the_service() -> None:
    assert IMAGE["disk_format"]["enum"] == [None, "raw", "qcow2"]
    assert IMAGE["container_format"]["enum"] == [None, "bare"]
    assert documents(("iso",), ())["image"]["properties"]["disk_format"]["enum"] == [None, "iso"]


def test_what_a_client_may_set_is_an_attribute_of_an_image_and_not_read_only() -> None:
    assert {field.name for field in fields(Image)} >= BASE
    assert not BASE & READ_ONLY
    assert "kernel_id" not in BASE | READ_ONLY


def test_collections_hold_their_items() -> None:
    for name, item in (("images", "image"), ("members", "member")):
        assert DOCUMENTS[name]["properties"][name]["items"] == DOCUMENTS[item]
    stub = DOCUMENTS["tasks"]["properties"]["tasks"]["items"]["properties"]
    assert set(DOCUMENTS["task"]["properties"]) - set(stub) == {"input", "result", "message"}


def test_the_check_is_compiled_before_the_workers_are_forked() -> None:
    conf = config.load("glance-api", [], [])
    schemas._image_check.cache_clear()
    preload(conf)
    compiled = schemas._image_check.cache_info().misses
    schemas.check_image(conf, {"name": "x"})
    assert (compiled, schemas._image_check.cache_info().misses) == (1, 1)
