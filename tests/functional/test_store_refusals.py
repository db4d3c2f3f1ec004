"""What clients are told when a store refuses, or fails in a way that nobody thought of (contract A.9, C.2, C.6, C.13)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from image_service import config
from image_service.api.app import make_api_app
from image_service.errors import Forbidden, ImageServiceError, StoreInUse, StoreUnavailable
from image_service.model import Location, new_id
from image_service.registry.database import DatabaseRegistry
from image_service.registry.engine import Database
from image_service.store.filesystem import FilesystemStore
from image_service.store.interface import Confirm, StoreWriter
from image_service.store.stores import Stores
from tests.functional.house import House
from tests.functional.service import OCTET_STREAM, Answer
from tests.functional.v1 import RAW, meta

Ask = Callable[..., Awaitable[Answer]]


def run(house: House, store: FilesystemStore, test: Callable[[Ask], Awaitable[None]]) -> None:
    """``test`` against image-api on ``store``; whose ``ask`` is :meth:`Service.ask`."""

    async def body() -> None:
        app = make_api_app(config.load("glance-api", [], []), DatabaseRegistry(Database(house.url)), Stores([store], "file"))
        async with TestClient(TestServer(app)) as client:

            async def ask(method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
                async with client.request(method, path, data=body, headers=headers) as answer:
                    found = {name.lower(): value for name, value in answer.headers.items()}
                    return Answer(answer.status, found, await answer.read())

            await test(ask)

    asyncio.run(body())


@pytest.mark.parametrize(("refusal", "status"), [(StoreInUse, 409), (Forbidden, 403), (StoreUnavailable, 503)])
def test_a_delete_that_the_store_refuses_is_told_and_the_image_stays(
    house: House, refusal: type[ImageServiceError], status: int
) -> None:
    class Refusing(FilesystemStore):
        async def delete(self, url: str) -> None:
            raise refusal("another image needs these bytes")

    async def test(ask: Ask) -> None:
        made = await ask("POST", "/v1/images", b"data", {**OCTET_STREAM, **meta(**RAW)})
        image_id = made.json["image"]["id"]
        for version in ("v1", "v2"):
            answer = await ask("DELETE", f"/{version}/images/{image_id}")
            assert (answer.status, "another image needs these bytes" in answer.text) == (status, True)
        assert (await ask("GET", f"/v2/images/{image_id}/file")).body == b"data"

    run(house, Refusing("file", [(house.images, 0)]), test)


class FailingWriter(StoreWriter):
    """Takes a part file, and no bytes."""

    def __init__(self, writer: StoreWriter) -> None:
        self._writer = writer

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        raise RuntimeError("a bug of ours")

    async def commit(self, confirm: Confirm) -> Location:
        return await self._writer.commit(confirm)

    async def abort(self) -> None:
        await self._writer.abort()


def test_a_failure_that_nobody_thought_of_is_a_500_that_leaves_nothing(house: House, caplog: pytest.LogCaptureFixture) -> None:
    class Failing(FilesystemStore):
        async def begin(self, image_id: str, upload_id: str, size: int | None) -> StoreWriter:
            return FailingWriter(await super().begin(image_id, upload_id, size))

    async def test(ask: Ask) -> None:
        made = await ask("POST", "/v2/images", b'{"disk_format": "raw", "container_format": "bare"}')
        queued, killed = made.json["id"], new_id()
        put = await ask("PUT", f"/v2/images/{queued}/file", b"data", OCTET_STREAM)
        post = await ask("POST", "/v1/images", b"data", {**OCTET_STREAM, **meta(id=killed, **RAW)})
        for answer in (put, post):
            assert (answer.status, "a bug of ours" in answer.text) == (500, False)
            assert f"log tells why under {answer.headers['x-openstack-request-id']}" in answer.text
        statuses = [(await ask("HEAD", f"/v1/images/{each}")).headers["x-image-meta-status"] for each in (queued, killed)]
        assert statuses == ["queued", "killed"]

    run(house, Failing("file", [(house.images, 0)]), test)
    assert house.files() == set()
    assert caplog.text.count("RuntimeError: a bug of ours") == 2
