"""The calls of image-api to image-registry: the wall around them, and what happens when it is not there."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from image_service import config
from image_service.errors import NotFound, RegistryUnavailable
from image_service.model import Image, Status, Visibility, new_id
from image_service.registry.client import RemoteRegistry
from image_service.registry.database import DatabaseRegistry
from image_service.registry.engine import Database
from image_service.registry.interface import ImageQuery
from tests.certificates import self_signed, server_side
from tests.functional.registries import SECRET, migrated, served
from tests.functional.registry_v1 import NOBODY, Client, run


@pytest.fixture
def url(tmp_path: Path) -> str:
    return migrated(f"sqlite:///{tmp_path}/registry.db")


def test_the_calls_want_the_secret(url: str) -> None:
    async def test(client: Client) -> None:
        body = {"image_id": NOBODY}
        for given in ({}, {"X_Registry_Secret": ""}, {"X_Registry_Secret": SECRET[:-1]}, {"X_Registry_Secret": "ü"}):
            answer = await client.ask("POST", "/internal/get_image", body, **given)
            assert (answer.status, answer.json["code"]) == (401, "NotAuthenticated"), given
        right = {"X_Registry_Secret": SECRET}
        answer = await client.ask("POST", "/internal/get_image", body, **right)
        assert (answer.status, answer.json["code"]) == (404, "NotFound")
        for path, wrong, status in (
            ("/internal/close", {}, 503),
            ("/internal/_read", {}, 503),
            ("/internal/get_image", {}, 503),
            ("/internal/get_image", {"image_id": 5}, 503),
            ("/internal/get_image", {"image_id": "x", "more": 1}, 503),
            ("/internal/get_image", b"{", 503),
            ("/internal/list_images", {"query": {"sort": [{"column": 5}]}}, 503),
            ("/internal/list_images", {"query": {"nonsense": 1}}, 503),
        ):
            answer = await client.ask("POST", path, wrong, **right)
            assert answer.status == status, (path, wrong, answer.body)

    run(url, test)


def test_a_client_with_the_wrong_secret_is_told_to_ask_the_operator(url: str) -> None:
    async def test(client: Client) -> None:
        registry = RemoteRegistry(client.address, "00" * 32)
        with pytest.raises(RegistryUnavailable, match="operator"):
            await registry.get_image(NOBODY)
        await registry.aclose()

    run(url, test)


@pytest.mark.parametrize(
    ("lines", "trusted"),
    [
        ("registry_client_ca_file = FOLDER/cert.pem", True),
        ("registry_client_insecure = True", True),
        ("", False),
        ("registry_client_protocol = http", False),
    ],
)
def test_the_calls_go_through_tls_as_the_options_say(url: str, tmp_path: Path, lines: str, trusted: bool) -> None:
    tls = server_side(*self_signed(tmp_path))
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)

    async def test() -> None:
        async with served(DatabaseRegistry(Database(url)), tls=tls) as address:
            port = address.rpartition(":")[2]
            default = f"registry_client_protocol = https\nregistry_port = {port}\n{lines.replace('FOLDER', str(tmp_path))}\n"
            (tmp_path / "glance-api.conf").write_text(f"[DEFAULT]\n{default}[registry_link]\nsecret_file = {secret}\n")
            registry = RemoteRegistry.from_config(config.load("glance-api", [str(tmp_path / "glance-api.conf")]))
            with pytest.raises(NotFound if trusted else RegistryUnavailable):
                await registry.get_image(NOBODY)
            await registry.aclose()

    asyncio.run(test())


def test_a_new_secret_is_taken_from_its_file(url: str, tmp_path: Path) -> None:
    """An upload goes on in a worker that a reload has retired; it began with the secret of before."""

    async def test(client: Client) -> None:
        file = tmp_path / "secret"
        file.touch(0o600)
        registry = RemoteRegistry(client.address, "00" * 32, secret_file=str(file))
        for text, error in (("00" * 32, RegistryUnavailable), ("nonsense", RegistryUnavailable), (SECRET, NotFound)):
            file.write_text(text)
            with pytest.raises(error):
                await registry.get_image(NOBODY)
        await registry.aclose()

    run(url, test)


def test_all_calls_that_were_on_their_way_take_the_new_secret(url: str, tmp_path: Path) -> None:
    async def test(client: Client) -> None:
        file = tmp_path / "secret"
        file.touch(0o600)
        file.write_text(SECRET)
        registry = RemoteRegistry(client.address, "00" * 32, secret_file=str(file))
        answers = await asyncio.gather(*[registry.get_image(NOBODY) for _ in range(8)], return_exceptions=True)
        assert {type(answer) for answer in answers} == {NotFound}
        await registry.aclose()

    run(url, test)


def test_a_host_that_is_gone_is_given_up_long_before_a_slow_answer(url: str) -> None:
    async def test(client: Client) -> None:
        registry = RemoteRegistry(client.address, SECRET)
        await registry.check()
        pool: Any = registry._session.connector
        (connection,) = [pooled[0] for waiting in pool._conns.values() for pooled in waiting]
        made = connection.transport.get_extra_info("socket")
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        await registry.aclose()

    run(url, test)


def test_the_request_id_goes_along(url: str, caplog: pytest.LogCaptureFixture) -> None:
    from image_service import log

    async def test(client: Client) -> None:
        async def seen(_session: object, _context: object, parameters: aiohttp.TraceRequestEndParams) -> None:
            ids.append(parameters.response.headers["X-Openstack-Request-Id"])

        ids: list[str] = []
        registry = RemoteRegistry(client.address, SECRET)
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(seen)
        trace.freeze()
        registry._session.trace_configs.append(trace)
        log.request_id.set("req-of-the-api")
        with pytest.raises(NotFound):
            await registry.get_image(NOBODY)
        await registry.aclose()
        assert ids == ["req-of-the-api"]

    caplog.set_level(logging.INFO)
    run(url, test)


def test_a_registry_that_is_not_there_is_unavailable() -> None:
    async def body() -> None:
        server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        registry = RemoteRegistry(f"http://127.0.0.1:{port}", SECRET)
        for _ in range(2):
            # First somebody who hangs up, then nobody.
            for call in (registry.get_image(NOBODY), registry.create_image(Image(id=new_id()))):
                with pytest.raises(RegistryUnavailable):
                    await call
            server.close()
            await server.wait_closed()
        await registry.aclose()

    asyncio.run(body())


def test_what_broke_is_asked_again_but_for_a_write(url: str) -> None:
    """A server that hangs up after each second request was read: reads and renewals come through, a write is not done twice."""
    seen: list[bytes] = []

    async def body() -> None:
        async with served(DatabaseRegistry(Database(url))) as address:
            port = int(address.rpartition(":")[2])

            async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                payload = await reader.readexactly(length)
                seen.append(head.split(b" ")[1])
                if len(seen) % 2:
                    there, back = await asyncio.open_connection("127.0.0.1", port)
                    back.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + payload)
                    answer = await there.read()
                    back.close()
                    if len(seen) > 1:
                        writer.write(answer)
                writer.close()

            server = await asyncio.start_server(relay, "127.0.0.1", 0)
            registry = RemoteRegistry(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", SECRET)
            # Done, but the answer is lost: nobody may do it again.
            with pytest.raises(RegistryUnavailable):
                await registry.create_image(Image(id=NOBODY, visibility=Visibility.PUBLIC, status=Status.ACTIVE))
            assert seen == [b"/internal/create_image"]
            assert [image.id for image in await registry.list_images(ImageQuery())] == [NOBODY]
            assert await registry.renew_upload(NOBODY, NOBODY) is False
            asked = [name.removeprefix(b"/internal/").decode() for name in seen]
            assert asked == ["create_image", "list_images", "list_images", "renew_upload", "renew_upload"]
            await registry.aclose()
            server.close()
            await server.wait_closed()

    asyncio.run(body())


def test_a_lease_is_renewed_beside_any_number_of_slow_calls() -> None:
    async def body() -> None:
        clients: list[asyncio.StreamWriter] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            """Only of a renewal."""
            clients.append(writer)
            if b"renew_upload" in await reader.readuntil(b"\r\n\r\n"):
                writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"result":true}')

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        registry = RemoteRegistry(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", SECRET)
        slow = [asyncio.create_task(registry.list_images(ImageQuery())) for _ in range(200)]
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            assert await registry.renew_upload(NOBODY, NOBODY)
        assert not any(task.done() for task in slow)
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        await registry.aclose()
        for client in clients:
            client.close()
        server.close()

    asyncio.run(body())
