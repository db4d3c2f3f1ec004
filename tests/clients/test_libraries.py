"""openstacksdk and glanceclient as libraries: what programs rely on beyond the page's sessions."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import glanceclient
import openstack
import openstack.exceptions
import pytest

from tests.clients.conftest import Find
from tests.clients.sessions import DATA
from tests.functional.service import Service

# The libraries warn of their own future, and leave files to the garbage collector; nothing of ours runs in this process.
pytestmark = pytest.mark.filterwarnings("ignore")

FORMATS = {"disk_format": "raw", "container_format": "bare"}
OTHER_LETTERS = "Zürich ☃ / 100 %"


@pytest.fixture
def service(find_service: Find) -> Service:
    return find_service("none")


@pytest.fixture
def sdk(service: Service) -> Iterator[Any]:
    """openstacksdk's image proxy."""
    endpoint = f"http://127.0.0.1:{service.port}"
    with openstack.connect(load_yaml_config=False, load_envvars=False, auth_type="none", auth={"endpoint": endpoint}) as cloud:
        yield cloud.image


@pytest.fixture
def alice(find_service: Find) -> Iterator[Any]:
    """openstacksdk's image proxy of a user who is no administrator."""
    auth = {
        "endpoint": f"http://127.0.0.1:{find_service('http_basic').port}/v2",
        "username": "alice",
        "password": "alices-secret",
    }
    with openstack.connect(load_yaml_config=False, load_envvars=False, auth_type="http_basic", auth=auth) as cloud:
        yield cloud.image


@pytest.fixture
def glance(service: Service) -> Any:
    """glanceclient for API v2."""
    return glanceclient.Client("2", f"http://127.0.0.1:{service.port}")


@pytest.fixture
def disk(tmp_path: Path) -> str:
    """A file with :data:`DATA`."""
    path = tmp_path / "disk.img"
    path.write_bytes(DATA)
    return str(path)


@pytest.fixture
def name() -> str:
    return f"image-{uuid.uuid4()}"


def spoil(service: Service, image_id: str) -> None:
    """Change one byte of what the store keeps."""
    (path,) = service.images.rglob(image_id)
    with path.open("r+b") as file:
        file.seek(1_000_000)
        byte = file.read(1)
        file.seek(1_000_000)
        file.write(bytes([byte[0] ^ 1]))


# -- openstacksdk ----------------------------------------------------------------------------------------------------------------


def test_sdk_finds_an_image_by_name_and_nothing_by_a_name_that_is_none(sdk: Any, name: str) -> None:
    image = sdk.create_image(name, **FORMATS)
    assert sdk.find_image(name).id == image.id
    assert sdk.find_image(image.id).id == image.id
    for unknown in ("no such image", str(uuid.uuid4()), OTHER_LETTERS):
        assert sdk.find_image(unknown) is None


def test_sdk_finds_a_hidden_image_by_name(sdk: Any, name: str) -> None:
    image = sdk.create_image(name, **FORMATS)
    sdk.update_image(image.id, is_hidden=True)
    assert sdk.find_image(name).id == image.id


def test_sdk_lists_by_name_tag_and_page(sdk: Any, name: str) -> None:
    made = [sdk.create_image(f"{name}-{number}", tags=[name], **FORMATS).id for number in range(3)]
    assert [image.id for image in sdk.images(name=f"{name}-1")] == [made[1]]
    assert {image.id for image in sdk.images(tag=name, limit=1)} == set(made)


def test_sdk_notes_hashes_of_a_file_and_does_not_upload_it_twice(sdk: Any, name: str, disk: str) -> None:
    first = sdk.create_image(name, filename=disk, validate_checksum=True, wait=True, **FORMATS)
    assert first.properties["owner_specified.openstack.md5"] == hashlib.md5(DATA, usedforsecurity=False).hexdigest()
    assert first.properties["owner_specified.openstack.sha256"] == hashlib.sha256(DATA).hexdigest()
    assert first.properties["owner_specified.openstack.object"] == f"images/{name}"
    second = sdk.create_image(name, filename=disk, validate_checksum=True, allow_duplicates=False, wait=True, **FORMATS)
    assert second.id == first.id


def test_sdk_uploads_what_it_is_given_in_memory(sdk: Any, name: str) -> None:
    image = sdk.create_image(name, data=DATA, **FORMATS)
    assert sdk.get_image(image).size == len(DATA)


def test_sdk_adds_a_property_by_id_and_keeps_the_others(sdk: Any, name: str) -> None:
    image = sdk.create_image(name, colour="red", **FORMATS)
    sdk.update_image(image.id, a="b")
    assert sdk.get_image(image).properties | {"a": "b", "colour": "red"} == sdk.get_image(image).properties


def test_sdk_replaces_the_properties_of_an_image_object(sdk: Any, name: str) -> None:
    image = sdk.get_image(sdk.create_image(name, data=DATA, colour="red", **FORMATS))
    assert "stores" in image.properties
    sdk.update_image(image, a="b")
    assert sdk.get_image(image).properties == {"a": "b", "stores": "disk"}


def test_sdk_keeps_names_and_properties_in_other_letters(sdk: Any, name: str) -> None:
    image = sdk.create_image(OTHER_LETTERS + name, note=OTHER_LETTERS, **FORMATS)
    found = sdk.find_image(OTHER_LETTERS + name)
    assert (found.id, found.name, found.properties["note"]) == (image.id, OTHER_LETTERS + name, OTHER_LETTERS)


def test_sdk_verifies_what_it_downloads(sdk: Any, service: Service, name: str, tmp_path: Path) -> None:
    image = sdk.create_image(name, data=DATA, **FORMATS)
    sdk.download_image(image, output=str(tmp_path / "copy.img"))
    assert (tmp_path / "copy.img").read_bytes() == DATA
    assert b"".join(sdk.download_image(image, stream=True).iter_content(65536)) == DATA
    spoil(service, image.id)
    with pytest.raises(openstack.exceptions.SDKException, match=r"[Cc]hecksum"):
        sdk.download_image(image, output=str(tmp_path / "copy.img"))


Act = Callable[[Any, str], object]
REFUSALS: list[tuple[str, Act, dict[str, Any], str]] = [
    ("publish", lambda sdk, id: sdk.update_image(id, visibility="public"), {}, "Only an administrator may make an image public"),
    ("delete", lambda sdk, id: sdk.delete_image(id), {"is_protected": True}, "protected"),
    ("share", lambda sdk, id: sdk.add_member(id, member_id="p2"), {"visibility": "private"}, "Only shared images have members"),
]


@pytest.mark.parametrize(("act", "attributes", "sentence"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
def test_sdk_shows_the_sentence_of_a_refusal(alice: Any, name: str, act: Act, attributes: dict[str, Any], sentence: str) -> None:
    image = alice.create_image(name, **FORMATS, **attributes)
    with pytest.raises(openstack.exceptions.HttpException, match=sentence):
        act(alice, image.id)


# -- glanceclient ----------------------------------------------------------------------------------------------------------------


def test_glanceclient_knows_the_formats_from_the_schema(glance: Any, name: str) -> None:
    with pytest.raises(TypeError, match="nonsense"):
        glance.images.create(name=name, disk_format="nonsense", container_format="bare")


def test_glanceclient_pages_through_a_list(glance: Any, name: str) -> None:
    made = [glance.images.create(name=f"{name}-{number}", tags=[name], **FORMATS).id for number in range(3)]
    found = [image.id for image in glance.images.list(filters={"tag": [name]}, page_size=1, sort_key=["name"], sort_dir=["asc"])]
    assert found == made
    assert len(list(glance.images.list(filters={"tag": [name]}, page_size=2, limit=2))) == 2


def test_glanceclient_removes_properties(glance: Any, name: str) -> None:
    image = glance.images.create(name=name, colour="red", **FORMATS)
    changed = glance.images.update(image.id, remove_props=["colour"], a=OTHER_LETTERS)
    assert (changed.get("colour"), changed["a"]) == (None, OTHER_LETTERS)


def test_glanceclient_verifies_what_it_downloads(glance: Any, service: Service, name: str, disk: str) -> None:
    image = glance.images.create(name=name, **FORMATS)
    with Path(disk).open("rb") as data:
        glance.images.upload(image.id, data)
    assert b"".join(glance.images.data(image.id)) == DATA
    spoil(service, image.id)
    with pytest.raises(OSError, match=r"[Cc]orrupt"):
        list(glance.images.data(image.id))


def test_glanceclient_shows_sentences_without_entities(glance: Any, name: str) -> None:
    image = glance.images.create(name=name, **FORMATS)
    with pytest.raises(glanceclient.exc.HTTPNotFound) as raised:
        glance.image_tags.delete(image.id, "gone")
    assert "'gone'" in str(raised.value)
