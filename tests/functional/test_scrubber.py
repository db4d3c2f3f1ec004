"""The commands image-scrubber and image-manage verify, against a real registry and real files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from image_service import config
from image_service.errors import NotFound
from image_service.model import Image, Status, new_id
from image_service.operations.downloads import open_bytes
from image_service.operations.service import Service
from image_service.operations.sweep import reconcile
from image_service.operations.verify import verify
from image_service.registry.database import DatabaseRegistry
from image_service.registry.engine import Database
from image_service.registry.interface import ImageChange, ImageQuery
from tests.functional.house import DATA, House, Rooms, litter
from tests.functional.running import eventually

# -- verify --------------------------------------------------------------------------------------------------


def test_verify(house: House) -> None:
    async def work(rooms: Rooms) -> None:
        good, flipped, cut, gone = [await rooms.active() for _ in range(4)]
        data = bytearray(DATA)
        data[12345] ^= 1
        (house.images / flipped.id).write_bytes(data)
        os.truncate(house.images / cut.id, 10)
        (house.images / gone.id).unlink()
        problems = {v.image.id: v.problem or "" async for v in verify(rooms.registry, rooms.stores)}
        assert problems[good.id] == ""
        assert "checksum is" in problems[flipped.id]
        assert "os_hash_value is" in problems[flipped.id]
        assert "size is 10, should be 300000" in problems[cut.id]
        assert "not in the store" in problems[gone.id]

    house.run(work)


def test_an_image_that_is_deleted_meanwhile_is_not_lost(house: House) -> None:
    async def work(rooms: Rooms) -> None:
        read_before = await rooms.active()
        await rooms.registry.delete_image(read_before.id)
        (house.images / read_before.id).unlink()

        class Before(DatabaseRegistry):
            async def list_images(self, query: ImageQuery) -> list[Image]:
                return [read_before] if query.marker is None and query.equal == {"status": "active"} else []

        registry = Before(Database(house.url))
        assert [verdict async for verdict in verify(registry, rooms.stores)] == []
        assert (await reconcile(registry, rooms.stores, 0, dry_run=True)).lost == {}
        service = Service(config.load("glance-api", [], []), registry, rooms.stores)
        with pytest.raises(NotFound):
            await open_bytes(service, read_before)
        await registry.aclose()

    house.run(work)


def test_who_only_looks_makes_no_folder(house: House) -> None:
    house.images.rmdir()
    for words in (("image-manage", "verify"), ("image-scrubber", "--dry-run"), ("image-scrubber",)):
        run(house, *words)
    assert not house.images.exists()


def test_verify_a_sample(house: House) -> None:
    async def work(rooms: Rooms) -> None:
        for _ in range(40):
            await rooms.active()
        seen = [verdict async for verdict in verify(rooms.registry, rooms.stores, 0.5)]
        assert 0 < len(seen) < 40
        assert len([verdict async for verdict in verify(rooms.registry, rooms.stores, 1e-12)]) == 1

    house.run(work)


@pytest.mark.parametrize("broken", [False, True])
def test_verify_command(house: House, broken: bool) -> None:
    made: list[str] = []

    async def work(rooms: Rooms) -> None:
        made.extend([(await rooms.active()).id for _ in range(2)])

    house.run(work)
    if broken:
        os.truncate(house.images / made[0], 10)
    code, said = run(house, "image-manage", "verify")
    assert code == (1 if broken else 0)
    assert (f"BROKEN {made[0]} in store file: size is 10, should be 300000" in said) is broken
    assert ("2 verified: 1 good, 1 broken" if broken else "2 verified: 2 good, 0 broken") in said
    assert run(house, "image-manage", "verify", "--sample", "100%")[0] == code


@pytest.mark.parametrize("share", ["0%", "101%", "some", "-1%"])
def test_verify_bad_usage(house: House, share: str) -> None:
    assert run(house, "image-manage", "verify", f"--sample={share}")[0] == 2


# -- the commands --------------------------------------------------------------------------------------------


def command(house: House, *arguments: str, lease: int = 30, more: str = "") -> list[str]:
    conf = house.folder / "glance-api.conf"
    conf.write_text(
        f"[DEFAULT]\nupload_lease = {lease}\nwakeup_time = 1\n{more}\n[database]\nconnection = {house.url}\n"
        f"[glance_store]\nfilesystem_store_datadir = {house.images}\n"
    )
    program, *rest = arguments
    return [str(Path(sys.executable).parent / program), "--config-file", str(conf), *rest]


def run(house: House, *arguments: str, **options: Any) -> tuple[int, str]:
    done = subprocess.run(command(house, *arguments, **options), capture_output=True, text=True, check=False, timeout=180)
    return done.returncode, done.stdout


def test_scrubber(house: House) -> None:
    kept: set[str] = set()
    orphans: set[str] = set()
    marked: list[str] = []

    async def work(rooms: Rooms) -> None:
        kept_here, orphans_here = await litter(house, rooms)
        image = await rooms.active()
        await rooms.registry.update_image(image.id, ImageChange({"status": Status.PENDING_DELETE}))
        house.age()
        marked.append(image.id)
        kept.update(kept_here)
        orphans.update(orphans_here)

    async def stay_young(rooms: Rooms) -> None:
        """Whatever this machine takes for a command."""
        for lease in await rooms.registry.live_uploads():
            await rooms.registry.renew_upload(lease.image_id, lease.upload_id)
        for name in kept:
            os.utime(house.images / name)
            with contextlib.suppress(NotFound):  # the name of no image
                await rooms.registry.update_image(name, ImageChange({"name": new_id()}))

    house.run(work)
    before = house.files()
    code, said = run(house, "image-scrubber", "--dry-run")
    assert (code, house.files()) == (0, before)
    assert f"would have removed image {marked[0]}" in said
    house.run(stay_young)
    code, said = run(house, "image-scrubber", lease=60)
    assert f"removed image {marked[0]}" in said
    assert said.count("removed orphaned bytes") >= len(orphans)
    assert code == 0
    assert not house.files() & orphans
    kept.intersection_update(house.files())
    house.run(stay_young)
    assert run(house, "image-scrubber", lease=60) == (0, "Nothing was cleaned up.\n")


def test_a_marked_image_is_kept_for_scrub_time(house: House) -> None:
    async def mark(rooms: Rooms) -> None:
        image = await rooms.active()
        await rooms.registry.update_image(image.id, ImageChange({"status": Status.PENDING_DELETE}))

    house.run(mark)
    house.age()
    assert run(house, "image-scrubber", more="scrub_time = 3600") == (0, "Nothing was cleaned up.\n")
    assert len(house.files()) == 1
    assert run(house, "image-scrubber", more="scrub_time = 0")[1].startswith("removed image ")
    assert house.files() == set()


def test_scrubber_tells_of_lost_data(house: House) -> None:
    lost: list[str] = []

    async def work(rooms: Rooms) -> None:
        lost.append((await rooms.active()).id)
        (house.images / lost[0]).unlink()

    house.run(work)
    code, said = run(house, "image-scrubber")
    assert code == 1
    assert f"LOST DATA of image {lost[0]}" in said


def test_scrubber_tells_what_it_could_not_clean_up(house: House) -> None:
    stuck: list[str] = []

    async def work(rooms: Rooms) -> None:
        stuck.append((await rooms.queued()).image_id)
        (house.images / stuck[0]).mkdir()  # no file, and so not removed as one
        await asyncio.sleep(2.1)

    house.run(work)
    code, said = run(house, "image-scrubber", lease=2)
    assert f"could not clean up after the dead upload of image {stuck[0]}: see the log\n" in said
    assert "Nothing was cleaned up." not in said
    assert code == 1


def test_scrubber_daemon(house: House) -> None:
    with subprocess.Popen(command(house, "image-scrubber", "--daemon"), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for _ in range(2):
                name = house.images / f".{new_id()}.{new_id()}.part"
                name.write_bytes(b"orphan")
                house.age()
                assert "removed orphaned bytes" in process.stdout.readline()
                assert not name.exists()
            process.terminate()
            assert process.wait(30) == -signal.SIGTERM
        finally:
            process.kill()


def test_scrubber_daemon_lets_go_of_a_rotated_log(house: House) -> None:
    path = house.folder / "scrubber.log"
    with subprocess.Popen(command(house, "image-scrubber", "--daemon", more=f"log_file = {path}")) as process:
        try:
            eventually(path.exists, "the log is open")
            path.unlink()
            eventually(path.exists, "the log is opened anew")
        finally:
            process.kill()


@pytest.mark.parametrize("arguments", [["--nonsense"], ["extra"]])
def test_scrubber_bad_usage(house: House, arguments: list[str]) -> None:
    assert run(house, "image-scrubber", *arguments)[0] == 2


def test_scrubber_without_a_database(house: House) -> None:
    (house.folder / "registry.db").unlink()
    done = subprocess.run(command(house, "image-scrubber"), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "image-manage db sync" in done.stderr
