"""Images API v1, contract A.7 to A.9: caps, quotas and full disks, and what of a refused image is left."""

from __future__ import annotations

import base64
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import running
from tests.functional.service import Service
from tests.functional.v1 import DATA, RAW, Web, files_of, head, listed, make, post, put, state, status_becomes, unique, web_server

CAP = 50
QUOTA = 80
SMALL = (
    f"image_size_cap = {CAP}\nuser_storage_quota = {QUOTA}B\nimage_property_quota = 3\nimage_member_quota = 2\n"
    "limit_param_default = 2\napi_limit_max = 3"
)
BASE64 = {"Content-Transfer-Encoding": "base64"}


@pytest.fixture(params=["sqlite", "mariadb"])
def small(
    request: pytest.FixtureRequest, services: dict[tuple[str, str], Service], tmp_path_factory: pytest.TempPathFactory
) -> Service:
    """A service whose limits are reached soon."""
    return running(request.param, "small", request, services, tmp_path_factory, SMALL)


@pytest.fixture
def unlimited(
    request: pytest.FixtureRequest, services: dict[tuple[str, str], Service], tmp_path_factory: pytest.TempPathFactory
) -> Service:
    """A service without quotas."""
    options = "image_property_quota = -1\nimage_member_quota = -1\nuser_storage_quota = 0"
    return running("sqlite", "unlimited", request, services, tmp_path_factory, options)


@pytest.fixture
def web() -> Iterator[Web]:
    """A web server with an image that is over the cap."""
    with web_server() as server:
        yield server


def _in_chunks(data: bytes) -> Any:
    return iter([data])


def _is(service: Service, image_id: str, status: str) -> bool:
    return state(service, image_id) == status and files_of(service, image_id) == []


# -- the cap ---------------------------------------------------------------------------------------------------------------


def test_as_much_as_the_cap_is_taken(small: Service) -> None:
    owner = unique()
    assert make(small, b"x" * CAP, owner=owner)["size"] == CAP
    assert make(small, _in_chunks(b"x" * (QUOTA - CAP)), owner=owner)["status"] == "active"


@pytest.mark.parametrize(("data", "fields"), [(b"x" * (CAP + 1), {}), ("chunks", {"size": CAP + 1})])
def test_a_length_over_the_cap_is_refused_before_anything_is_registered(
    small: Service, data: Any, fields: dict[str, Any]
) -> None:
    image_id = str(uuid.uuid4())
    body = _in_chunks(b"x" * (CAP + 1)) if data == "chunks" else data
    answer = post(small, body, id=image_id, owner=unique(), **fields)
    assert answer.status == 400
    assert f"Denying attempt to upload image larger than {CAP} bytes." in answer.text
    assert _is(small, image_id, "absent")


def test_a_length_over_the_cap_leaves_a_queued_image_queued(small: Service) -> None:
    image = make(small, owner=unique(), **RAW)
    assert put(small, image["id"], b"x" * (CAP + 1)).status == 400
    assert _is(small, image["id"], "queued")


def test_a_declared_size_over_the_cap_is_refused_without_bytes_too(small: Service) -> None:
    image_id = str(uuid.uuid4())
    assert post(small, id=image_id, owner=unique(), size=CAP + 1, **RAW).status == 400
    assert _is(small, image_id, "absent")
    image = make(small, owner=unique(), **RAW)
    assert put(small, image["id"], size=CAP + 1).status == 400


def test_chunks_over_the_cap_kill_the_image(small: Service) -> None:
    image_id = str(uuid.uuid4())
    assert post(small, _in_chunks(b"x" * (CAP + 1)), id=image_id, owner=unique()).status == 413
    assert _is(small, image_id, "killed")


def test_chunks_over_the_cap_kill_a_queued_image(small: Service) -> None:
    image = make(small, owner=unique(), **RAW)
    assert put(small, image["id"], _in_chunks(b"x" * (CAP + 1))).status == 413
    assert _is(small, image["id"], "killed")


def test_the_cap_is_about_the_image_and_not_about_its_base64(small: Service) -> None:
    answer = post(small, base64.b64encode(b"x" * CAP), BASE64, owner=unique())
    assert (answer.status, answer.json["image"]["size"]) == (201, CAP)
    image_id = str(uuid.uuid4())
    assert post(small, base64.b64encode(b"x" * (CAP + 1)), BASE64, id=image_id, owner=unique()).status == 413
    assert _is(small, image_id, "killed")


def test_a_copy_over_the_cap_leaves_nothing(small: Service, web: Web) -> None:
    image_id = str(uuid.uuid4())
    answer = post(small, None, {"x-glance-api-copy-from": web.url("/data")}, id=image_id, owner=unique(), **RAW)
    assert answer.status in (400, 413)
    assert _is(small, image_id, "absent")


# -- quotas ----------------------------------------------------------------------------------------------------------------


def test_the_storage_quota_counts_what_an_owner_has(small: Service) -> None:
    owner, image_id = unique(), str(uuid.uuid4())
    first = make(small, b"x" * CAP, owner=owner)
    answer = post(small, b"x" * (QUOTA - CAP + 1), id=image_id, owner=owner)
    assert answer.status == 413
    assert "quota" in answer.text
    assert _is(small, image_id, "absent")
    declared = post(small, _in_chunks(b"x"), id=image_id, owner=owner, size=QUOTA - CAP + 1)
    assert (declared.status, _is(small, image_id, "absent")) == (413, True)
    assert make(small, b"x" * (QUOTA - CAP), owner=owner)["status"] == "active"
    assert make(small, b"x" * CAP, owner=unique())["status"] == "active"
    assert small.ask("DELETE", f"/v1/images/{first['id']}").status == 200
    assert make(small, b"x" * CAP, owner=owner)["status"] == "active"


def test_chunks_over_the_storage_quota_kill_the_image(small: Service) -> None:
    owner, image_id = unique(), str(uuid.uuid4())
    make(small, b"x" * CAP, owner=owner)
    assert post(small, _in_chunks(b"x" * (QUOTA - CAP + 1)), id=image_id, owner=owner).status == 413
    assert _is(small, image_id, "killed")


def test_data_over_the_storage_quota_leave_a_queued_image_queued(small: Service) -> None:
    owner = unique()
    make(small, b"x" * CAP, owner=owner)
    image = make(small, owner=owner, **RAW)
    assert put(small, image["id"], b"x" * CAP).status == 413
    assert _is(small, image["id"], "queued")


def test_a_copy_over_the_storage_quota_leaves_nothing(
    request: pytest.FixtureRequest, services: dict[tuple[str, str], Service], tmp_path_factory: pytest.TempPathFactory, web: Web
) -> None:
    service = running("sqlite", "small-quota", request, services, tmp_path_factory, "user_storage_quota = 100B")
    owner, image_id, copy = unique(), str(uuid.uuid4()), {"x-glance-api-copy-from": web.url("/data")}
    first = make(service, None, copy, owner=owner, **RAW)
    status_becomes(service, first["id"], "active")
    assert post(service, None, copy, id=image_id, owner=owner, **RAW).status == 413
    assert _is(service, image_id, "absent")


def test_an_image_may_have_three_properties_here(small: Service) -> None:
    image_id = str(uuid.uuid4())
    four: dict[str, Any] = {f"property_p{number}": "x" for number in range(4)}
    answer = post(small, b"x", id=image_id, owner=unique(), **four)
    assert answer.status == 413
    sentence = "The limit has been exceeded on the number of allowed image properties. Attempted: 4, Maximum: 3"
    assert sentence in answer.text
    assert _is(small, image_id, "absent")
    image = make(small, property_p0="x", property_p1="x", property_p2="x")
    answer = put(small, image["id"], property_p3="x")
    assert (answer.status, sentence in answer.text) == (413, True)
    assert put(small, image["id"], headers={"x-glance-registry-purge-props": "true"}, property_p3="x").status == 200


def test_an_image_may_have_two_members_here(small: Service) -> None:
    members = f"/v1/images/{make(small)['id']}/members"
    statuses = [small.ask("PUT", f"{members}/{member}").status for member in ("a", "b", "a", "c")]
    assert statuses == [204, 204, 204, 413]
    three = {"memberships": [{"member_id": member} for member in "xyz"]}
    assert small.ask("PUT", members, three).status == 413
    assert {member["member_id"] for member in small.ask("GET", members).json["members"]} == {"a", "b"}


def test_a_negative_quota_is_none(unlimited: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("http.client._MAXHEADERS", 1000)  # Python's own client takes 100
    image = make(unlimited, DATA, headers={f"x-image-meta-property-p{number}": "x" for number in range(200)})
    told = head(unlimited, image["id"]).headers
    assert sum(name.startswith("x-image-meta-property-") for name in told) == 200
    members = {"memberships": [{"member_id": f"m{number}"} for number in range(200)]}
    assert unlimited.ask("PUT", f"/v1/images/{image['id']}/members", members).status == 204
    assert len(unlimited.ask("GET", f"/v1/images/{image['id']}/members").json["members"]) == 200


# -- pages -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "wanted"), [("", 2), ("&limit=1", 1), ("&limit=3", 3), ("&limit=1000", 3), ("&limit=0", 0)])
def test_a_page_has_a_default_and_a_greatest_length(small: Service, limit: str, wanted: int) -> None:
    name = unique()
    for _ in range(5):
        make(small, name=name)
    assert len(listed(small, f"name={name}{limit}")) == wanted
    assert len(listed(small, f"name={name}{limit}", kind="images/detail")) == wanted


# -- a disk that is full, or does not take anything ------------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True])
def test_a_full_disk_is_a_413_that_leaves_no_bytes(full_soon: Service, chunked: bool) -> None:
    image_id, data = str(uuid.uuid4()), b"x" * (2 << 20)
    answer = post(full_soon, _in_chunks(data) if chunked else data, id=image_id)
    assert answer.status == 413
    assert _is(full_soon, image_id, "killed")
    assert make(full_soon, b"x" * 100_000)["status"] == "active"


def test_a_store_that_may_not_write_is_a_503_that_leaves_no_bytes(full_soon: Service) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(full_soon.images)], check=True)
    image_id = str(uuid.uuid4())
    assert post(full_soon, DATA, id=image_id).status == 503
    assert _is(full_soon, image_id, "killed")
    subprocess.run(["mount", "-o", "remount,rw", str(full_soon.images)], check=True)
    assert make(full_soon, DATA)["status"] == "active"
