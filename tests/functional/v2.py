"""Words of the Images API v2 that its tests share: who asks, media types, and what many tests do first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tests.functional.service import OCTET_STREAM, Answer, Service

V20 = {"Content-Type": "application/openstack-images-v2.0-json-patch"}
V21 = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
JSON = {"Content-Type": "application/json"}
NOBODY = "11111111-2222-3333-4444-555555555555"
"""An id that no image ever has."""
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def person(project: str, roles: str = "member,reader") -> dict[str, str]:
    """The headers of a front that has asked who it is; the user has the project's name."""
    return {"X-Identity-Status": "Confirmed", "X-User-Id": f"user-{project}", "X-Project-Id": project, "X-Roles": roles}


A = person("project-a")
B = person("project-b")
C = person("project-c")
READER = person("project-a", "reader")
ROLELESS = person("project-a", "")
SERVICE = person("project-s", "service")
ADMIN = person("project-admin", "admin,member,reader")


def patch(service: Service, image_id: str, operations: Any, headers: Mapping[str, str] | None = None) -> Answer:
    """PATCH in the media type v2.1 unless ``headers`` say otherwise."""
    return service.ask("PATCH", f"/v2/images/{image_id}", operations, {**V21, **(headers or {})})


def upload(service: Service, image_id: str, data: Any, headers: Mapping[str, str] | None = None) -> Answer:
    """PUT of an image's data: bytes with a length, an iterator in chunks."""
    return service.ask("PUT", f"/v2/images/{image_id}/file", data, {**OCTET_STREAM, **(headers or {})})


def show(service: Service, image_id: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The image as JSON."""
    answer = service.ask("GET", f"/v2/images/{image_id}", headers=headers)
    assert answer.status == 200, answer.text
    found: dict[str, Any] = answer.json
    return found


def download(service: Service, image_id: str, headers: Mapping[str, str] | None = None) -> Answer:
    """GET of an image's data."""
    return service.ask("GET", f"/v2/images/{image_id}/file", headers=headers)
