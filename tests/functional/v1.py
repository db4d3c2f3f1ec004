"""What the tests of API v1 share: requests with metadata in headers, and what must be left of an image afterwards."""

from __future__ import annotations

import hashlib
import http.client
import http.server
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.functional.running import eventually
from tests.functional.service import OCTET_STREAM, Answer, Service

DATA = b"0123456789abcdef" * 4
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
RAW: dict[str, Any] = {"disk_format": "raw", "container_format": "bare"}
Headers = Mapping[str, str]

INDEX_KEYS = {"id", "name", "size", "disk_format", "container_format", "checksum"}
DETAIL_KEYS = INDEX_KEYS | {
    "status", "virtual_size", "min_disk", "min_ram", "is_public", "protected", "deleted", "owner",
    "created_at", "updated_at", "deleted_at", "properties",
}  # fmt: skip


def meta(**fields: object) -> dict[str, str]:
    """``x-image-meta-`` headers: ``meta(name="a", property_os="b")``; a property is ``property_NAME``."""
    return {f"x-image-meta-{name.replace('property_', 'property-', 1)}": str(value) for name, value in fields.items()}


def post(service: Service, data: Any = None, headers: Headers | None = None, **fields: object) -> Answer:
    """``POST /v1/images``; data goes as octet-stream, raw in bare, unless ``headers`` or ``fields`` say otherwise."""
    formats = RAW if data is not None else {}
    kind = OCTET_STREAM if data is not None else {}
    return service.ask("POST", "/v1/images", data, {**kind, **meta(**{**formats, **fields}), **(headers or {})})


def put(service: Service, image_id: str, data: Any = None, headers: Headers | None = None, **fields: object) -> Answer:
    """``PUT /v1/images/ID``; properties that are not mentioned stay unless ``headers`` say otherwise."""
    kind = OCTET_STREAM if data is not None else {}
    keep = {"x-glance-registry-purge-props": "false"}
    return service.ask("PUT", f"/v1/images/{image_id}", data, {**kind, **keep, **meta(**fields), **(headers or {})})


def make(service: Service, data: Any = None, headers: Headers | None = None, **fields: object) -> dict[str, Any]:
    """The JSON of a new image."""
    answer = post(service, data, headers, **{"name": unique(), **fields})
    assert answer.status == 201, answer.text
    image: dict[str, Any] = answer.json["image"]
    return image


def head(service: Service, image_id: str, headers: Headers | None = None) -> Answer:
    """``HEAD /v1/images/ID``."""
    return service.ask("HEAD", f"/v1/images/{image_id}", headers=headers)


def state(service: Service, image_id: str) -> str:
    """The status that HEAD tells, or ``absent``."""
    answer = head(service, image_id)
    return answer.headers["x-image-meta-status"] if answer.status == 200 else "absent"


def status_becomes(service: Service, image_id: str, wanted: str) -> None:
    """Wait until the image has the status ``wanted``."""
    eventually(lambda: state(service, image_id) == wanted, f"image {image_id} is {wanted}")


def files_of(service: Service, image_id: str) -> list[str]:
    """Files of the store, temporary ones too, that belong to an image."""
    return [str(path) for path in service.images.rglob("*") if image_id in path.name]


def unique() -> str:
    """A name that no other image has."""
    return f"v1-{uuid.uuid4()}"


def listed(service: Service, query: str, headers: Headers | None = None, kind: str = "images") -> list[dict[str, Any]]:
    """The images of a list."""
    answer = service.ask("GET", f"/v1/{kind}?{query}", headers=headers)
    assert answer.status == 200, answer.text
    images: list[dict[str, Any]] = answer.json["images"]
    return images


def identity(project: str, *roles: str, user: str = "u") -> dict[str, str]:
    """The headers of a front that has asked who it is."""
    return {
        "X-Identity-Status": "Confirmed",
        "X-User-Id": f"{project}-{user}",
        "X-Tenant-Id": project,
        "X-Roles": ",".join(roles or ("member",)),
    }


@dataclass
class Web:
    """A web server on loopback: ``/data`` has :data:`DATA`, ``/cut`` breaks off, ``/short`` does without a sign, ``/no-length``
    does not say how long it is, ``/wait`` sends when ``go`` is set.
    """

    port: int
    go: threading.Event

    def url(self, path: str) -> str:
        """Its address of ``path``."""
        return f"http://127.0.0.1:{self.port}{path}"


@contextmanager
def web_server() -> Iterator[Web]:
    """Run a :class:`Web` for images that lie elsewhere."""
    go = threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(go))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Web(server.server_port, go)
    finally:
        go.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(go: threading.Event) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            found = self.path in ("/data", "/cut", "/short", "/wait", "/no-length")
            self.send_response(200 if found else 404)
            if (self.command, self.path) != ("GET", "/short") and self.path != "/no-length":
                self.send_header("Content-Length", str(len(DATA) if found else 0))
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            if self.path == "/wait":
                go.wait(30)
            if self.path in ("/data", "/wait"):
                self.wfile.write(DATA)
            elif self.path in ("/cut", "/short"):
                self.wfile.write(DATA[:10])

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    return Handler
