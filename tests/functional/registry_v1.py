"""A client of the registry API v1."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from image_service.registry.database import DatabaseRegistry
from image_service.registry.engine import Database
from tests.functional.registries import served

NOBODY = "11111111-2222-3333-4444-555555555555"


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    """Talks to one registry."""

    session: aiohttp.ClientSession
    address: str

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """``body``: bytes as they are, anything else as JSON. Underscores in header names are dashes."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, self.address + path, data=data, headers=named) as response:
            return Answer(response.status, response.headers, await response.read())

    async def image(self, **values: object) -> dict[str, Any]:
        """Register one."""
        answer = await self.ask("POST", "/images", {"image": {"status": "queued", **values}})
        assert answer.status == 200, answer.body
        image: dict[str, Any] = answer.json["image"]
        return image


Test = Callable[[Client], Awaitable[None]]


def run(url: str, test: Test, flavor: str = "") -> None:
    """``test`` against an empty registry on ``url``."""

    async def body() -> None:
        async with served(DatabaseRegistry(Database(url)), flavor) as address, aiohttp.ClientSession() as session:
            await test(Client(session, address))

    asyncio.run(body())
