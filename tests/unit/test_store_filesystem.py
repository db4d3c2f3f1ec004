"""The file store: the contract of every store, and what only files have (layout, modes, full disks)."""

from __future__ import annotations

import asyncio
import errno
import json
import mmap
import os
import resource
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from image_service.errors import DataMissing, InvalidValue, StoreFull, StoreUnavailable, UnsupportedUrl
from image_service.model import Location
from image_service.store.filesystem import FilesystemStore
from image_service.store.interface import Listable, LocalFiles, Store
from tests import disks
from tests.unit.store_conformance import WriteContract, granted, in_loop, new_id, read_all


def made(store: FilesystemStore) -> FilesystemStore:
    """With its folders, as a server begins."""
    store.prepare()
    return store


@in_loop
async def test_a_delete_that_fails_leaves_the_bytes(tmp_path: Path) -> None:
    """Here for want of descriptors: its caller says again that the image is there."""
    store = made(FilesystemStore("file", [(tmp_path, 0)]))
    writer = await store.begin(new_id(), new_id(), None)
    path = store.path((await writer.commit(granted)).url)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        with pytest.raises(StoreUnavailable):
            await store.delete(f"file://{path}")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert path.exists()
    await store.delete(f"file://{path}")
    assert not path.exists()


class TestContract(WriteContract):
    def make(self, folder: Path) -> Store:
        return made(FilesystemStore("file", [(folder / "images", 0)]))

    def missing_url(self, store: Store) -> str:
        assert isinstance(store, FilesystemStore)
        return f"file://{store.datadirs[0][0]}/{new_id()}"

    async def left(self, store: Store) -> list[str]:
        assert isinstance(store, FilesystemStore)
        return [name for folder, _ in store.datadirs for name in os.listdir(folder)]


class TestThinContract(TestContract):
    def make(self, folder: Path) -> Store:
        return made(FilesystemStore("file", [(folder / "images", 0)], thin=True))


async def put(store: Store, data: bytes, image_id: str | None = None) -> Path:
    writer = await store.begin(image_id or new_id(), new_id(), len(data))
    await writer.write(data)
    assert isinstance(store, LocalFiles)
    return store.path((await writer.commit(granted)).url)


def only_file(path: Path) -> FilesystemStore:
    return made(FilesystemStore("file", [(path, 0)]))


@in_loop
async def test_a_disk_that_does_not_answer_keeps_nobody_waiting(tmp_path: Path) -> None:
    """A pipe that nobody writes to does not open."""
    store, path = only_file(tmp_path), tmp_path / new_id()
    os.mkfifo(path)
    opening = asyncio.create_task(store.open(f"file://{path}"))
    await asyncio.sleep(0.05)
    assert not opening.done()
    os.close(os.open(path, os.O_RDWR))
    (await opening).close()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
@in_loop
async def test_what_is_no_file_is_no_image(tmp_path: Path, make: Callable[[Path], None]) -> None:
    store, path = only_file(tmp_path), tmp_path / new_id()
    make(path)
    reading = asyncio.create_task(read_all(store, f"file://{path}"))
    done, _ = await asyncio.wait([reading], timeout=10)
    if not done:  # it waits for a writer
        os.close(os.open(path, os.O_RDWR))
    with pytest.raises(DataMissing):
        await reading


@in_loop
async def test_layout(tmp_path: Path) -> None:
    store, image, upload = only_file(tmp_path), new_id(), new_id()
    writer = await store.begin(image, upload, None)
    await writer.write(b"abc")
    assert os.listdir(tmp_path) == [f".{image}.{upload}.part"]
    stored = await writer.commit(granted)
    assert stored == Location(f"file://{tmp_path}/{image}")
    assert os.listdir(tmp_path) == [image]


@in_loop
async def test_foreign_files_are_not_listed(tmp_path: Path) -> None:
    for name in ("lost+found", "README", ".hidden.part", new_id() + ".bak"):
        (tmp_path / name).write_bytes(b"")
    store = only_file(tmp_path)
    assert isinstance(store, Listable)
    assert [item async for item in store.objects()] == []


@pytest.mark.parametrize(("perm", "mode"), [(0, 0o640), (0o600, 0o600), (0o644, 0o644)])
def test_mode(tmp_path: Path, perm: int, mode: int) -> None:
    before = os.umask(0o027)
    try:
        store = FilesystemStore("file", [(tmp_path, 0)], file_perm=perm)
        path = asyncio.run(put(store, b"abc"))
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "{dir}/../secret",
        "{dir}/sub/../../secret",
        "{dir}/..",
        "{dir}/",
        "{dir}",
        "{dir}/link/secret",
        "{dir}/.{id}.{id}.part",
    ],
)
def test_no_way_out_of_the_folders(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "images"
    store = only_file(folder)
    (folder / "link").symlink_to(tmp_path)
    url = "file://" + path.format(dir=folder, id=new_id())
    with pytest.raises(DataMissing):
        store.path(url)
    with pytest.raises(DataMissing):
        asyncio.run(store.size(url))
    with pytest.raises(DataMissing):
        asyncio.run(store.delete(url))
    assert (tmp_path / "secret").read_text() == "secret"


@in_loop
async def test_a_folder_is_no_image(tmp_path: Path) -> None:
    image = new_id()
    (tmp_path / image).mkdir()
    with pytest.raises(DataMissing):
        await only_file(tmp_path).size(f"file://{tmp_path}/{image}")


@in_loop
async def test_a_host_in_the_url(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedUrl):
        await only_file(tmp_path).size(f"file://host{tmp_path}/{new_id()}")


@in_loop
async def test_both_schemes_and_a_linked_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    path = await put(only_file(tmp_path / "link"), b"abc")
    for url in (f"filesystem://{path}", f"file://{tmp_path}/real/{path.name}"):
        assert await read_all(only_file(tmp_path / "link"), url) == b"abc"


@pytest.mark.parametrize("bad", ["../x", "a/b", ".", "", "x\0y", "a b"])
def test_ids_that_are_no_names(tmp_path: Path, bad: str) -> None:
    store = only_file(tmp_path)
    with pytest.raises(InvalidValue):
        asyncio.run(store.begin(bad, new_id(), None))
    with pytest.raises(InvalidValue):
        asyncio.run(store.discard(bad, None, granted))


@in_loop
async def test_holes(tmp_path: Path) -> None:
    data = bytes(3 << 20) + os.urandom(100_000) + bytes(2 << 20) + b"x" + bytes(1 << 20)
    path = await put(FilesystemStore("file", [(tmp_path, 0)], thin=True), data)
    assert path.read_bytes() == data
    assert path.stat().st_blocks * 512 < 400_000


# -- several folders -----------------------------------------------------------------------------------------


@in_loop
async def test_priority(tmp_path: Path) -> None:
    store = FilesystemStore("file", [(tmp_path / "low", 1), (tmp_path / "high", 5), (tmp_path / "zero", 0)])
    store.prepare()
    path = await put(store, b"abc")
    assert path.parent == tmp_path / "high"
    assert [item.url async for some in store.objects() for item in some] == [f"file://{path}"]


@in_loop
async def test_metadata_file(tmp_path: Path) -> None:
    entries = [{"id": "a", "mountpoint": str(tmp_path)}, {"id": "b", "mountpoint": str(tmp_path / "images")}]
    (tmp_path / "meta.json").write_text(json.dumps(entries))
    store = FilesystemStore(
        "fast",
        [(tmp_path / "images", 0)],
        metadata_file=tmp_path / "meta.json",
        location_metadata={"store": "fast"},
    )
    store.prepare()
    stored = await (await store.begin(new_id(), new_id(), None)).commit(granted)
    assert stored.metadata == {"store": "fast", "id": "b", "mountpoint": str(tmp_path / "images")}


def test_bad_metadata_file(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text('{"id": "a"}')
    with pytest.raises(ValueError, match="mountpoint"):
        FilesystemStore("file", [(tmp_path, 0)], metadata_file=tmp_path / "meta.json")


# -- a disk that is full, or away ----------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    with disks.small_disk(folder, 8):
        yield folder


@in_loop
async def test_full_disk(small_disk: Path) -> None:
    store = only_file(small_disk)
    with pytest.raises(StoreFull):
        await store.begin(new_id(), new_id(), 5 << 20)
    writer = await store.begin(new_id(), new_id(), None)
    for _ in range(3):
        await writer.write(bytes(1 << 20))
    with pytest.raises(StoreFull):
        await writer.write(bytes(2 << 20))  # of 8 MiB 4 are to stay free
    (small_disk / "other").write_bytes(bytes(2 << 20))
    with pytest.raises(StoreFull):
        await writer.commit(granted)
    (small_disk / "other").unlink()
    await writer.abort()
    assert os.listdir(small_disk) == []
    assert (await put(store, bytes(3 << 20))).stat().st_size == 3 << 20


@in_loop
async def test_the_folder_with_room_is_taken(small_disk: Path, tmp_path: Path) -> None:
    store = FilesystemStore("file", [(small_disk, 9), (tmp_path / "big", 1)])
    store.prepare()
    assert (await put(store, bytes(1000))).parent == small_disk
    assert (await put(store, bytes(5 << 20))).parent == tmp_path / "big"


@in_loop
async def test_of_equal_folders_the_emptier_is_taken(small_disk: Path, tmp_path: Path) -> None:
    store = FilesystemStore("file", [(small_disk, 1), (tmp_path / "big", 1)])
    store.prepare()
    assert (await put(store, bytes(1000))).parent == tmp_path / "big"


@in_loop
async def test_a_folder_that_is_away(tmp_path: Path) -> None:
    store = only_file(tmp_path / "images")
    (tmp_path / "images").rmdir()
    with pytest.raises(StoreUnavailable, match="missing"):
        await store.check()
    with pytest.raises(StoreUnavailable):
        await store.begin(new_id(), new_id(), None)
    with pytest.raises(StoreUnavailable):
        await store.size(f"file://{tmp_path}/images/{new_id()}")


def test_read_only_disk(small_disk: Path) -> None:
    store = only_file(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StoreUnavailable) as caught:
        asyncio.run(store.begin(new_id(), new_id(), None))
    assert str(small_disk) not in caught.value.message


@pytest.mark.parametrize("sizes", [[8192, 4096], [4096, 100], [100, 4096], [1 << 20, 4097, 4095, 1]])
def test_direct_writing_of_any_pieces(tmp_path: Path, sizes: list[int]) -> None:
    """From page-aligned memory, as the upload pipeline writes; what is not aligned goes through the page cache."""

    async def case() -> tuple[bytes, str]:
        writer = await only_file(tmp_path).begin(new_id(), new_id(), None)
        written = b""
        for size in sizes:
            memory = mmap.mmap(-1, size)
            memory[:] = os.urandom(size)
            written += memory[:]
            await writer.write(memoryview(memory))
        return written, (await writer.commit(granted)).url

    written, url = asyncio.run(case())
    assert len(written) == sum(sizes)
    assert only_file(tmp_path).path(url).read_bytes() == written


@pytest.mark.parametrize("refusal", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK])
@in_loop
async def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int) -> None:
    def refused(*_: object) -> None:
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(os, "link", refused)
    path = await put(made(FilesystemStore("file", [(tmp_path, 0)])), b"abc")
    assert path.read_bytes() == b"abc"
    assert os.listdir(tmp_path) == [path.name]


@in_loop
async def test_without_an_fsync_of_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on CIFS."""
    fsync = os.fsync

    def of_files(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", of_files)
    store = made(FilesystemStore("file", [(tmp_path, 0)]))
    assert (await put(store, b"abc")).read_bytes() == b"abc"
    writer = await store.begin(new_id(), new_id(), None)
    await writer.abort()
    assert len(os.listdir(tmp_path)) == 1


@in_loop
async def test_where_case_is_ignored_nobody_writes_over_the_image_whose_id_is_the_same_but_for_the_case(tmp_path: Path) -> None:
    image_id, upload_id = f"a{new_id()[1:]}", new_id()
    store = made(FilesystemStore("file", [(tmp_path, 0)]))
    # What a file system that ignores case would say is there.
    (tmp_path / f".{image_id.upper()}.{upload_id}.part".swapcase()).touch()
    with pytest.raises(InvalidValue, match="capital letters"):
        await store.begin(image_id.upper(), upload_id, None)
    assert len(os.listdir(tmp_path)) == 1
    assert (await put(store, b"abc", image_id)).read_bytes() == b"abc"
