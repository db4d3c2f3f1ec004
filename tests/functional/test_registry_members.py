"""Members of images: what every registry promises (``registry/interface.py``), in all four places."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import delete

from image_service.errors import Duplicate, LimitExceeded, NotFound
from image_service.model import Member, MemberStatus
from image_service.registry.database import DatabaseRegistry
from image_service.registry.engine import Database
from image_service.registry.interface import Registry
from image_service.registry.tables import IMAGE_MEMBERS
from tests.functional.registries import add, migrated, with_registry
from tests.functional.running import eventually
from tests.mariadb import MariaDB


@with_registry
async def test_members(registry: Registry) -> None:
    [image_id, other] = await add(registry, 2)
    first = await registry.create_member(Member(image_id, "p1", can_share=True))
    second = await registry.create_member(Member(image_id, "P1"))
    await registry.create_member(Member(other, "p1"))
    with pytest.raises(Duplicate):
        await registry.create_member(Member(image_id, "p1"))
    assert await registry.list_members(image_id) == [first, second]
    assert await registry.get_member(image_id, "p1") == first
    assert [member.image_id for member in await registry.list_shared("p1")] == [image_id, other]
    answered = await registry.update_member(image_id, "p1", status=MemberStatus.ACCEPTED)
    assert (answered.can_share, answered.status, answered.created_at) == (True, MemberStatus.ACCEPTED, first.created_at)
    assert answered.updated_at > first.updated_at
    changed = await registry.update_member(image_id, "p1", can_share=False)
    assert (changed.can_share, changed.status) == (False, MemberStatus.ACCEPTED)
    assert await registry.get_member(image_id, "P1") == second
    assert await registry.get_member(image_id, "p1") == changed
    await registry.delete_member(image_id, "p1")
    assert await registry.get_member(image_id, "p1") is None
    for call in (registry.delete_member(image_id, "p1"), registry.update_member(image_id, "p1", can_share=True)):
        with pytest.raises(NotFound):
            await call


@with_registry
async def test_members_are_counted_in_the_transaction(registry: Registry) -> None:
    [image_id] = await add(registry)
    calls = [registry.create_member(Member(image_id, f"p{n}"), most=2) for n in range(9)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(result, Member) for result in results) == 2
    assert sum(isinstance(result, LimitExceeded) for result in results) == 7
    await registry.create_member(Member(image_id, "more"), most=-1)
    assert len(await registry.list_members(image_id)) == 3


@with_registry
async def test_replaced_members_keep_what_they_said(registry: Registry) -> None:
    [image_id] = await add(registry)
    kept = await registry.create_member(Member(image_id, "kept", status=MemberStatus.ACCEPTED))
    await registry.create_member(Member(image_id, "gone"))
    await registry.replace_members(
        image_id, [Member(image_id, "kept", can_share=True), Member(image_id, "new"), Member(image_id, "new")]
    )
    members = {member.member_id: member for member in await registry.list_members(image_id)}
    assert members.keys() == {"kept", "new"}
    assert (members["kept"].can_share, members["kept"].status) == (True, MemberStatus.ACCEPTED)
    assert members["kept"].created_at == kept.created_at
    await registry.replace_members(image_id, [])
    assert await registry.list_members(image_id) == []


def test_members_who_answer_or_leave_while_members_are_replaced(mariadb: MariaDB) -> None:
    """SQLite has one writer at a time."""
    url = migrated(mariadb.new_database())
    database = Database(url)

    async def body() -> None:
        registry = DatabaseRegistry(Database(url))
        [image_id] = await add(registry)
        for name in ("leaves", "answers"):
            await registry.create_member(Member(image_id, name))
        with database.engine.connect() as leaving:
            leaving.exec_driver_sql("START TRANSACTION")
            leaving.execute(delete(IMAGE_MEMBERS).where(IMAGE_MEMBERS.c.member == "leaves"))
            replacing = asyncio.create_task(registry.replace_members(image_id, [Member(image_id, "answers", can_share=True)]))
            waits = "SELECT 1 FROM information_schema.innodb_lock_waits"
            await asyncio.to_thread(eventually, lambda: mariadb.execute(waits), "members were read, and the one is waited for")
            await registry.update_member(image_id, "answers", status=MemberStatus.ACCEPTED)
            leaving.exec_driver_sql("COMMIT")
        await replacing
        [member] = await registry.list_members(image_id)
        assert (member.member_id, member.can_share, member.status) == ("answers", True, MemberStatus.ACCEPTED)
        await registry.aclose()

    asyncio.run(body())
    database.close()
