"""Which stores a configuration makes, and which of them has a location (contract D.2, D.3)."""

from __future__ import annotations

from pathlib import Path

import pytest
from oslo_config import cfg

from image_service import config
from image_service.errors import InvalidValue, UnsupportedUrl
from image_service.model import Location
from image_service.store.filesystem import FilesystemStore
from image_service.store.http import HttpStore
from image_service.store.stores import Stores


def make(folder: Path, text: str) -> Stores:
    """``DIR`` in ``text`` is ``folder``; without a folder in it, images go there."""
    file = folder / "glance-api.conf"
    file.write_text(text.replace("DIR", str(folder)))
    return Stores.from_config(config.load("glance-api", [str(file)], []))


def file_store(stores: Stores, name: str) -> FilesystemStore:
    store = stores.get(name)
    assert isinstance(store, FilesystemStore)
    return store


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ("", ["file", "http"]),
        ("stores = glance.store.filesystem.Store", ["file"]),
        ("stores = glance.store.filesystem.Store, glance.store.http.Store", ["file", "http"]),
        ("stores = filesystem,https", ["file", "http"]),
        ("stores = http,file,file", ["http", "file"]),
        ("stores = file,rbd,glance.store.s3.Store", ["file"]),
        ("stores = file\ndefault_store = filesystem", ["file"]),
    ],
)
def test_stores_without_names(tmp_path: Path, lines: str, names: list[str]) -> None:
    stores = make(tmp_path, f"[glance_store]\nfilesystem_store_datadir = DIR/images\n{lines}\n")
    assert [store.name for store in stores.all()] == names
    assert stores.default.name == "file"
    assert not stores.named
    assert file_store(stores, "file").datadirs == [(tmp_path / "images", 0)]
    assert stores.get("filesystem") is stores.get("file")


def test_old_places_of_the_options(tmp_path: Path) -> None:
    stores = make(
        tmp_path,
        "[DEFAULT]\ndefault_store = file\nknown_stores = glance.store.filesystem.Store\n"
        "[glance_store]\nfilesystem_store_datadir = DIR/a\n",
    )
    assert [store.name for store in stores.all()] == ["file"]


def test_stores_with_names(tmp_path: Path) -> None:
    stores = make(
        tmp_path,
        "[DEFAULT]\nenabled_backends = fast:file, slow:file, web:http\n[glance_store]\ndefault_backend = slow\n"
        "[fast]\nfilesystem_store_datadir = DIR/fast\nstore_description = quick\nweight = 7\n"
        "[slow]\nfilesystem_store_datadirs = DIR/s1:10\nfilesystem_store_datadirs = DIR/s2\nfilesystem_store_file_perm = 640\n"
        "filesystem_thin_provisioning = True\nfilesystem_store_chunk_size = 8192\n",
    )
    assert [store.name for store in stores.all()] == ["fast", "slow", "web"]
    assert stores.named
    assert stores.default.name == "slow"
    assert (stores.get("fast").description, stores.get("fast").weight) == ("quick", 7)
    assert file_store(stores, "slow").datadirs == [(tmp_path / "s1", 10), (tmp_path / "s2", 0)]
    assert (file_store(stores, "slow").file_perm, file_store(stores, "fast").file_perm) == (0o640, 0)
    assert (file_store(stores, "slow").thin, file_store(stores, "fast").thin) == (True, False)
    assert (file_store(stores, "slow").chunk_size, file_store(stores, "fast").chunk_size) == (8192, 65536)
    assert isinstance(stores.get("web"), HttpStore)
    with pytest.raises(InvalidValue, match="fast, slow, web"):
        stores.get("file")


def test_one_store_with_a_name_is_the_default(tmp_path: Path) -> None:
    stores = make(tmp_path, "[DEFAULT]\nenabled_backends = fast:file\n[fast]\nfilesystem_store_datadir = DIR/fast\n")
    assert stores.default.name == "fast"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[glance_store]\nstores = http\n", "default_store = file is none of the stores"),
        ("[glance_store]\ndefault_store = swift\n", "default_store = swift"),
        ("[DEFAULT]\nenabled_backends = a:file, b:file\n", "default_backend"),
        ("[DEFAULT]\nenabled_backends = a:file, b:file\n[glance_store]\ndefault_backend = c\n", "one of enabled_backends: a, b"),
        ("[DEFAULT]\nenabled_backends = a:rbd\n", "a:rbd must be one of the kinds"),
        ("[DEFAULT]\nenabled_backends = os_glance_x:file\n", "must not start with os_glance_"),
        ("[DEFAULT]\nenabled_backends = database:file\n", "give it another name"),
        ("[DEFAULT]\nenabled_backends = glance_store:file\n", "give it another name"),
        ("[glance_store]\nfilesystem_store_datadir = DIR/a\nfilesystem_store_datadirs = DIR/b\n", "only one of"),
        ("[glance_store]\nfilesystem_store_datadirs = DIR/a:1\nfilesystem_store_datadirs = DIR/a/:2\n", "twice"),
        ("[glance_store]\nfilesystem_store_datadirs = DIR/a:high\n", "PATH:PRIORITY"),
        ("[glance_store]\nfilesystem_store_datadir = DIR/a\nfilesystem_store_file_perm = 888\n", "octal"),
        ("[glance_store]\nfilesystem_store_datadir = DIR/a\nfilesystem_store_file_perm = 40\n", "lets the owner read"),
        ("[glance_store]\nfilesystem_store_datadir = DIR/a\nfilesystem_store_metadata_file = DIR/none\n", "metadata_file = "),
        ("[glance_store]\nfilesystem_store_metadata_file = /dev/null\n", "/dev/null cannot be read as JSON"),
        ("[glance_store]\nfilesystem_store_datadir = DIR/a\nhttp_allowed_networks = inside\n", "inside"),
        ("[glance_store]\nfilesystem_store_datadir = DIR/a\nhttps_ca_certificates_file = DIR/none\n", "certificates_file = "),
        ("[glance_store]\nhttps_ca_certificates_file = /dev/null\n", "/dev/null cannot be used"),
    ],
)
def test_what_cannot_be(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(cfg.Error) as caught:
        make(tmp_path, text)
    assert sentence in str(caught.value)


def test_the_store_of_a_location(tmp_path: Path) -> None:
    stores = make(
        tmp_path,
        "[DEFAULT]\nenabled_backends = a:file, b:file, web:http\n[glance_store]\ndefault_backend = a\n"
        "[a]\nfilesystem_store_datadir = DIR/a\n[b]\nfilesystem_store_datadir = DIR/b\n",
    )
    wanted = {
        (f"file://{tmp_path}/b/x", None): "b",
        (f"filesystem://{tmp_path}/a/x", "was renamed"): "a",
        ("HTTPS://host/x", None): "web",
        ("http://host/x", "a"): "web",
    }
    for (url, name), store in wanted.items():
        assert stores.for_location(Location(url, {"store": name} if name else {})).name == store
    for url in ("swift://x", "", "nonsense", "file:///nowhere/x"):
        for name in ("was removed", "b"):
            with pytest.raises(UnsupportedUrl):
                stores.for_location(Location(url, {"store": name}))
    places = [Location(url) for url in ("rbd://x", f"file://{tmp_path}/a/x", "file:///nowhere/x", "http://host/x")]
    assert [(store.name, place.url) for store, place in stores.places(places)] == [("a", places[1].url), ("web", places[3].url)]


@pytest.mark.parametrize(
    ("lines", "inside"),
    [
        ("", True),
        ("[paste_deploy]\nflavor = http_basic\n", False),
        ("[paste_deploy]\nflavor = trusted-auth\n", False),
        ("[DEFAULT]\nallow_unauthenticated_access = True\n", False),
    ],
)
def test_the_inside_is_open_only_to_its_own_users(tmp_path: Path, lines: str, inside: bool) -> None:
    store = make(tmp_path, f"{lines}[glance_store]\nfilesystem_store_datadir = DIR/a\n").get("http")
    assert isinstance(store, HttpStore)
    assert store._addresses.admits("10.0.0.1") is inside
    assert store._addresses.admits("127.0.0.1") is inside
    assert not store._addresses.admits("169.254.169.254")
