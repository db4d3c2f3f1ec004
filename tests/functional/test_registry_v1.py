"""The registry API v1 (contract part B) as lists of requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.functional.registries import migrated
from tests.functional.registry_v1 import NOBODY, Client, run

FULL_KEYS = {
    *("id", "name", "status", "size", "virtual_size", "disk_format", "container_format", "checksum", "min_disk"),
    *("min_ram", "is_public", "protected", "deleted", "owner", "created_at", "updated_at", "deleted_at"),
    *("properties", "location", "location_data"),
}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return migrated(f"sqlite:///{tmp_path}/registry.db")


# -- every address and method -------------------------------------------------------------------------------------------

ROUTES = [
    ("GET", "/", 200),
    ("GET", "/images", 200),
    ("GET", "/images/detail", 200),
    ("GET", "/images/{a}", 200),
    ("GET", "/images/{a}/members", 200),
    ("GET", "/shared-images/t1", 200),
    ("GET", "/healthcheck", 200),
    ("GET", "/readiness", 200),
    ("GET", "/v1/images", 404),
    ("GET", "/nonsense", 404),
    ("HEAD", "/images/{a}", 404),
    ("HEAD", "/images", 404),
    ("PATCH", "/images/{a}", 404),
    ("POST", "/images/{a}", 404),
    ("POST", "/images/detail", 404),
    ("PUT", "/images", 404),
    ("DELETE", "/images", 404),
    ("POST", "/", 404),
    ("POST", "/images/{a}/members", 405),
    ("GET", "/images/{a}/members/t1", 405),
    ("POST", "/images/{a}/members/t1", 405),
    ("HEAD", "/images/{a}/members/t1", 404),
    ("PATCH", "/images/{a}/members/t1", 404),
    ("HEAD", "/images/{a}/members", 404),
    ("GET", f"/images/{NOBODY}", 404),
    ("GET", "/images/no-uuid", 404),
    ("PUT", f"/images/{NOBODY}", 404),
    ("DELETE", f"/images/{NOBODY}", 404),
    ("GET", f"/images/{NOBODY}/members", 404),
    ("PUT", f"/images/{NOBODY}/members/t1", 404),
    ("DELETE", "/images/{a}/members/t1", 404),
]


def test_routes(url: str) -> None:
    async def test(client: Client) -> None:
        image = await client.image(name="a")
        for method, path, status in ROUTES:
            body: object = {"image": {}} if method == "PUT" and "members" not in path else None
            answer = await client.ask(method, path.replace("{a}", image["id"]), body)
            assert answer.status == status, (method, path, answer.body)
            if status == 405:
                assert answer.headers["Allow"] == "PUT, DELETE"
            assert answer.headers["X-Openstack-Request-Id"].startswith("req-") or "health" in path

    run(url, test)


def test_readiness_names_what_it_needs(url: str) -> None:
    async def test(client: Client) -> None:
        assert (await client.ask("GET", "/readiness")).json == {"ready": True, "checks": {"database": "ok"}}

    run(url, test)


def test_readiness_without_a_schema(tmp_path: Path) -> None:
    async def test(client: Client) -> None:
        answer = await client.ask("GET", "/readiness")
        assert answer.status == 503
        assert "image-manage db sync" in answer.json["checks"]["database"]

    run(f"sqlite:///{tmp_path}/empty.db", test)


# -- images -------------------------------------------------------------------------------------------------------------

GOOD: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"status": "active", "is_public": False, "size": None, "properties": {}, "location": None, "owner": None}),
    ({"status": "queued", "name": "rg-u ☃"}, {"status": "queued", "name": "rg-u ☃"}),
    ({"id": NOBODY}, {"id": NOBODY}),
    ({"bogus": 1, "disk_format": "nope"}, {"disk_format": "nope"}),
    ({"size": -1}, {"size": -1}),
    ({"size": "64", "min_disk": "2", "min_ram": None}, {"size": 64, "min_disk": 2, "min_ram": 0}),
    ({"is_public": True, "protected": True, "owner": "t"}, {"is_public": True, "protected": True, "owner": "t"}),
    ({"properties": {"n": 5, "o": None, "u": "ü"}}, {"properties": {"n": "5", "o": None, "u": "ü"}}),
    ({"location": "file:///x"}, {"location": "file:///x"}),
    ({"location": None}, {"location": None, "location_data": []}),
    ({"locations": ["file:///a", "file:///b"]}, {"location": "file:///a"}),
]
BAD = [
    b"",
    b"{",
    b"[]",
    b'{"foo": 1}',
    b'{"image": 5}',
    b'{"image": {"id": "no-uuid"}}',
    b'{"image": {"status": "bogus"}}',
    b'{"image": {"min_ram": "x"}}',
    b'{"image": {"min_ram": 2147483648}}',
    b'{"image": {"name": {"a": 1}}}',
    b'{"image": {"properties": []}}',
    b'{"image": {"location_data": {}}}',
    b'{"image": {"location_data": [{"metadata": {}}]}}',
    b'{"image": {"location_data": [{"url": "file:///a", "metadata": 5}]}}',
]


def test_creating(url: str) -> None:
    async def test(client: Client) -> None:
        for values, wanted in GOOD:
            answer = await client.ask("POST", "/images", {"image": values})
            assert answer.status == 200, (values, answer.body)
            assert "Location" not in answer.headers
            image = answer.json["image"]
            assert image.keys() == FULL_KEYS
            assert {name: image[name] for name in wanted} == wanted
            assert (await client.ask("GET", f"/images/{image['id']}")).json["image"] == image
        for body in BAD:
            assert (await client.ask("POST", "/images", body)).status == 400, body
        assert (await client.ask("POST", "/images", {"image": {"id": NOBODY}})).status == 409

    run(url, test)


def test_changing(url: str) -> None:
    async def test(client: Client) -> None:
        data = [{"url": "file:///c", "metadata": {"m": 1}, "status": "active"}]
        image = await client.image(status="active", properties={"k": "v"}, location_data=data, is_public=True)
        path = f"/images/{image['id']}"

        async def put(values: object, status: int = 200, state: object = None, purge: str = "") -> dict[str, Any]:
            headers = {"X_Glance_Registry_Purge_Props": purge} if purge else {}
            body: dict[str, object] = {"image": values} | ({"from_state": state} if state is not None else {})
            answer = await client.ask("PUT", path, body, **headers)
            assert answer.status == status, answer.body
            found: dict[str, Any] = answer.json["image"] if status == 200 else {}
            return found

        assert (await put({"name": "n"}))["properties"] == {"k": "v"}
        assert (await put({"properties": {"k2": "v2"}}))["properties"] == {"k": "v", "k2": "v2"}
        assert (await put({"properties": {"k3": "v"}}, purge="True"))["properties"].keys() == {"k", "k2", "k3"}
        assert (await put({"properties": {"k4": "v"}}, purge="true"))["properties"] == {"k4": "v"}
        assert (await put({}, purge="true"))["properties"] == {}
        same = await put({"created_at": "2001-02-03T04:05:06", "deleted": True, "bogus": 1, "id": image["id"]})
        assert (same["created_at"], same["deleted"]) == (image["created_at"], False)
        assert same["location_data"] == image["location_data"]
        assert same["is_public"]
        assert not (await put({"is_public": False}))["is_public"]
        moved = await put({"location": "file:///y"})
        assert [at["url"] for at in moved["location_data"]] == ["file:///y"]
        await put({"status": "queued"}, 409, "saving")
        await put({"status": "queued"}, 409, "bogus")
        assert (await put({"status": "active"}, 200, ""))["status"] == "active"
        assert (await put({"status": "queued"}, 200, "active"))["status"] == "queued"
        await put({"status": "bogus"}, 400)
        # Answers have it in a header.
        for checksum in ("x\r\nX-Evil: 1", 'a"', "ü", "a b"):
            await put({"checksum": checksum}, 400)
        await put({"id": NOBODY}, 404)
        for body in (b"", b"{", b'{"foo": 1}'):
            assert (await client.ask("PUT", path, body)).status == 400

    run(url, test)


def test_deleting(url: str) -> None:
    async def test(client: Client) -> None:
        image = await client.image(name="x", protected=True, properties={"k": "v"}, is_public=True)
        path = f"/images/{image['id']}"
        for _ in range(2):
            gone = (await client.ask("DELETE", path)).json["image"]
            assert (gone["deleted"], gone["status"], gone["properties"]) == (True, "queued", {})
            assert gone["deleted_at"] is not None
        assert (await client.ask("GET", path)).json["image"] == gone
        moved = await client.ask("PUT", path, {"image": {"status": "deleted", "properties": {"a": "b"}}})
        assert (moved.json["image"]["status"], moved.json["image"]["properties"]) == ("deleted", {})
        assert (await client.ask("GET", "/images")).json == {"images": []}
        assert (await client.ask("POST", "/images", {"image": {"id": image["id"]}})).status == 409

    run(url, test)


# -- lists --------------------------------------------------------------------------------------------------------------

LISTS: list[tuple[str, int, list[str]]] = [
    ("", 200, ["c", "a"]),
    ("is_public=True", 200, ["c", "a"]),
    ("is_public=False", 200, ["e", "b"]),
    ("is_public=none", 200, ["e", "c", "b", "a"]),
    ("is_public=none&name=b", 200, ["b"]),
    ("is_public=none&status=killed", 200, []),
    ("is_public=none&deleted=True", 200, ["y", "x"]),
    # So an old glance-scrubber asks.
    ("is_public=none&deleted=True&status=pending_delete", 200, ["y"]),
    ("is_public=none&deleted=yes", 200, ["y", "x"]),
    ("is_public=none&deleted=False", 200, ["e", "c", "b", "a"]),
    ("is_public=none&deleted=False&status=killed", 200, []),
    ("is_public=none&deleted=none&name=x", 200, []),
    ("is_public=none&deleted=bogus&name=a", 200, ["a"]),
    ("is_public=none&changes-since=2001-01-01", 200, ["y", "x", "k", "e", "c", "b", "a"]),
    ("is_public=none&changes-since=2001-01-01&deleted=True", 200, ["y", "x"]),
    ("is_public=none&changes-since=2001-01-01&deleted=False", 200, ["e", "c", "b", "a"]),
    ("is_public=none&changes-since=2001-01-01T00:00:00%2B01:00&limit=1", 200, ["y"]),
    ("is_public=none&property-k=v", 200, ["b"]),
    ("is_public=none&size_min=2&size_max=3", 200, ["c", "b"]),
    ("is_public=none&min_ram=7", 200, ["c"]),
    ("min_ram=x", 200, []),
    ("protected=true", 200, ["c"]),
    ("is_public=none&sort_key=name&sort_dir=asc&limit=2", 200, ["a", "b"]),
    ("is_public=none&marker={b}&limit=1", 200, ["a"]),
    ("limit=0", 200, []),
    ("owner=nobody&bogus=1", 200, ["c", "a"]),
    ("limit=1&limit=2", 200, ["c", "a"]),
    ("is_public=x", 400, []),
    ("size_min=x", 400, []),
    ("protected=x", 400, []),
    ("changes-since=x", 400, []),
    ("changes-since=", 400, []),
    ("limit=x", 400, []),
    ("limit=-1", 400, []),
    ("marker=x", 400, []),
    (f"marker={NOBODY}", 400, []),
    ("sort_key=x", 400, []),
    ("sort_dir=x", 400, []),
]


def test_lists(url: str) -> None:
    async def test(client: Client) -> None:
        await client.image(name="a", is_public=True, size=1)
        b = await client.image(name="b", size=2, properties={"k": "v"})
        await client.image(name="c", is_public=True, size=3, min_ram=7, protected=True)
        await client.image(name="e", size=5)
        await client.image(name="k", status="killed")
        x = await client.image(name="x")
        await client.ask("DELETE", f"/images/{x['id']}")
        y = await client.image(name="y", status="active", location="file:///y")
        await client.ask("PUT", f"/images/{y['id']}", {"image": {"status": "pending_delete"}})
        await client.ask("DELETE", f"/images/{y['id']}")
        waiting = (await client.ask("GET", f"/images/{y['id']}")).json["image"]
        assert (waiting["deleted"], waiting["status"], waiting["location"]) == (True, "pending_delete", "file:///y")
        for query, status, names in LISTS:
            for path in ("/images", "/images/detail", "/"):
                answer = await client.ask("GET", f"{path}?{query.replace('{b}', b['id'])}")
                assert answer.status == status, (query, answer.body)
                if status == 200:
                    assert [image["name"] for image in answer.json["images"]] == names, query
        [image] = (await client.ask("GET", "/images?limit=1")).json["images"]
        assert image.keys() == {"id", "name", "size", "disk_format", "container_format", "checksum"}

    run(url, test)


# -- members ------------------------------------------------------------------------------------------------------------


def test_members(url: str) -> None:
    async def test(client: Client) -> None:
        image = await client.image(name="a")
        path = f"/images/{image['id']}/members"

        async def members() -> dict[str, bool]:
            listed = (await client.ask("GET", path)).json["members"]
            return {member["member_id"]: member["can_share"] for member in listed}

        rows: list[tuple[str, str, object, int, dict[str, bool]]] = [
            ("PUT", "/t1", None, 204, {"t1": False}),
            ("PUT", "/t1", {"member": {"can_share": True}}, 204, {"t1": True}),
            ("PUT", "/t1", None, 204, {"t1": True}),
            ("PUT", "/t2", {"member": {"can_share": 1}}, 204, {"t1": True, "t2": True}),
            ("PUT", "/t2", {"member": {}}, 400, {"t1": True, "t2": True}),
            ("PUT", "/t2", b"{", 400, {"t1": True, "t2": True}),
            ("DELETE", "/t2", None, 204, {"t1": True}),
            ("DELETE", "/t2", None, 404, {"t1": True}),
            ("PUT", "", {"memberships": [{"member_id": "t1"}, {"member_id": "t3"}]}, 204, {"t1": True, "t3": False}),
            ("PUT", "", {"memberships": [{"can_share": True}]}, 400, {"t1": True, "t3": False}),
            ("PUT", "", {"memberships": 5}, 400, {"t1": True, "t3": False}),
            ("PUT", "", b"", 400, {"t1": True, "t3": False}),
            ("PUT", "", {"memberships": []}, 204, {}),
        ]
        for method, member, body, status, wanted in rows:
            answer = await client.ask(method, path + member, body)
            assert answer.status == status, (method, member, body, answer.body)
            if status == 204:
                assert answer.body == b""
            assert await members() == wanted
        await client.ask("PUT", f"{path}/t9", {"member": {"can_share": True}})
        shared = (await client.ask("GET", "/shared-images/t9")).json
        assert shared == {"shared_images": [{"image_id": image["id"], "can_share": True}]}
        assert (await client.ask("GET", "/shared-images/nobody")).json == {"shared_images": []}

    run(url, test)


# -- who asks -----------------------------------------------------------------------------------------------------------


def identity(project: str, roles: str = "member") -> dict[str, str]:
    return {"X_Identity_Status": "Confirmed", "X_User_Id": "u", "X_Tenant_Id": project, "X_Roles": roles}


def test_who_may_do_what(url: str) -> None:
    admin, mine, other = identity("adm", "admin"), identity("p1"), identity("p2")

    async def test(client: Client) -> None:
        async def status(method: str, path: str, who: dict[str, str], body: object = None) -> int:
            return (await client.ask(method, path, body, **who)).status

        async def new(who: dict[str, str], **values: object) -> dict[str, Any]:
            image: dict[str, Any] = (await client.ask("POST", "/images", {"image": values}, **who)).json["image"]
            return image

        public, private = await new(mine, is_public=True), await new(mine, owner="p2")
        assert (public["owner"], private["owner"]) == ("p1", "p1")
        assert (await new(admin, owner="p9"))["owner"] == "p9"
        assert (await new(admin))["owner"] == "adm"
        gift: object = {"image": {"owner": "p2"}}
        given = [(await client.ask("PUT", f"/images/{private['id']}", gift, **who)).json["image"] for who in (mine, admin)]
        assert [image["owner"] for image in given] == ["p1", "p2"]
        assert await status("PUT", f"/images/{private['id']}", admin, {"image": {"owner": "p1"}}) == 200
        theirs, own = ({"location": f"file:///images/{image}"} for image in (public["id"], private["id"]))
        for said, who, wanted in ((theirs, mine, 403), (own, mine, 200), (theirs, admin, 200)):
            assert await status("PUT", f"/images/{private['id']}", who, {"image": said}) == wanted
        assert await status("POST", "/images", mine, {"image": theirs}) == 403
        rename: object = {"image": {"name": "n"}}
        rows: list[tuple[str, str, dict[str, str], object, int]] = [
            ("GET", f"/images/{private['id']}", mine, None, 200),
            ("GET", f"/images/{private['id']}", other, None, 404),
            ("GET", f"/images/{private['id']}", admin, None, 200),
            ("GET", f"/images/{public['id']}", other, None, 200),
            ("PUT", f"/images/{public['id']}", other, rename, 403),
            ("PUT", f"/images/{private['id']}", other, rename, 404),
            ("PUT", f"/images/{private['id']}", mine, rename, 200),
            ("DELETE", f"/images/{public['id']}", other, None, 403),
            ("DELETE", f"/images/{private['id']}", other, None, 404),
            ("PUT", f"/images/{private['id']}/members/p2", other, None, 404),
            ("PUT", f"/images/{private['id']}/members/p2", identity("p1", "reader"), None, 403),
            ("PUT", f"/images/{private['id']}/members/p2", mine, None, 204),
            ("GET", f"/images?marker={NOBODY}", other, None, 400),
            ("GET", f"/images/{private['id']}", other, None, 200),
            ("PUT", f"/images/{private['id']}", other, rename, 404),
            ("PUT", f"/images/{private['id']}/members/p3", other, None, 404),
            ("DELETE", f"/images/{private['id']}/members/p2", identity("p2", "reader"), None, 403),
            ("DELETE", f"/images/{private['id']}/members/p2", other, None, 204),
            ("GET", f"/images/{private['id']}", other, None, 404),
            ("DELETE", f"/images/{private['id']}", mine, None, 200),
            ("GET", f"/images/{private['id']}", mine, None, 404),
            ("GET", f"/images/{private['id']}", admin, None, 200),
            ("GET", "/images", {"X_Tenant_Id": "p1"}, None, 401),
            ("GET", "/images", {}, None, 401),
            ("GET", "/healthcheck", {}, None, 200),
        ]
        for method, path, who, body, wanted in rows:
            assert await status(method, path, who, body) == wanted, (method, path, who)
        # Only an administrator's is_public and deleted count.
        listed = (await client.ask("GET", "/images?is_public=none&deleted=True", **other)).json["images"]
        assert [image["id"] for image in listed] == [public["id"]]

    run(url, test, "trusted-auth")
