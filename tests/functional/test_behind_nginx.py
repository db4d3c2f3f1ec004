"""Behind nginx: where it sends the bytes (``[api] sendfile_header``) no answer differs; and as docs/configuration.md shows it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.functional.registries import migrated
from tests.functional.running import PATIENCE, eventually
from tests.functional.service import Answer, Service, ask, running_service
from tests.functional.test_v2_download import CONDITIONS, DATA, OLD_RANGES, RANGES
from tests.ports import free_port

CONFIGURATION = """
daemon off; pid {folder}/pid; error_log stderr; worker_processes 1; user root;
events {{}}
http {{
    access_log off;
    {temporary}
    %s
}}
"""
# As in the role image_proxy; docs/configuration.md has another.
SERVER = """
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{api};
            proxy_set_header Host $http_host;
            proxy_set_header X-Sendfile-Type X-Accel-Redirect;
        }}
        location /internal-images{images}/ {{
            internal;
            alias {images}/;
            sendfile on;
            etag off;
            add_header ETag $upstream_http_etag;
            add_header Content-MD5 $upstream_http_content_md5;
        }}
    }}
"""
PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
TIMES = ["Sat, 01 Jan 2000 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"]
ASKED: list[dict[str, str]] = [
    {},
    *({"Range": wanted} for wanted, _, _ in RANGES),
    *({"Content-Range": wanted} for wanted, _, _ in OLD_RANGES),
    *(headers for headers, _ in CONDITIONS),
    *({name: time} for name in ("If-Modified-Since", "If-Unmodified-Since") for time in TIMES),
    *({"If-Range": time, "Range": "bytes=0-9"} for time in TIMES),
]
COMPARED = ("content-length", "content-range", "content-type", "etag", "content-md5", "accept-ranges")


@dataclass(frozen=True)
class Behind:
    """A service, the port of the nginx in front, and an image in it."""

    service: Service
    port: int
    path: str


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    folder = tmp_path_factory.mktemp("behind-nginx")
    header = "[api]\nsendfile_header = X-Accel-Redirect:/internal-images\n"
    database = migrated(f"sqlite:///{folder}/registry.db")
    with running_service(folder, database, sections=header) as service, _nginx(folder, service) as port:
        yield Behind(service, port, f"/v2/images/{service.image(DATA)['id']}/file")


@contextlib.contextmanager
def _nginx(folder: Path, service: Service, *, server: str = SERVER, prefix: str = "") -> Iterator[int]:
    port, log = free_port(), folder / "nginx.log"
    temporary = "".join(f"{kind}_temp_path {folder};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    configuration = folder / "nginx.conf"
    places = {"folder": folder, "port": port, "api": service.port, "images": service.images, "temporary": temporary}
    configuration.write_text((CONFIGURATION % server).format(**places))
    with log.open("wb") as said:
        process = subprocess.Popen(["/usr/sbin/nginx", "-e", "stderr", "-c", str(configuration)], stderr=said)

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError):
            return ask(port, "GET", f"{prefix}/readiness").status == 200
        return False

    try:
        eventually(answers, "nginx answers")
        yield port
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _seen(answer: Answer) -> tuple[object, ...]:
    return answer.status, answer.body, {name: answer.headers.get(name) for name in COMPARED}


@pytest.mark.parametrize("headers", ASKED, ids=str)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_client_cannot_tell_who_sends_the_bytes(behind: Behind, method: str, headers: dict[str, str]) -> None:
    directly = ask(behind.service.port, method, behind.path, headers=headers)
    assert _seen(ask(behind.port, method, behind.path, headers=headers)) == _seen(directly)


def test_by_v1_the_metadata_come_with_the_bytes(behind: Behind) -> None:
    """nginx keeps only a few of an answer's headers when it sends a file."""
    path = behind.path.replace("v2", "v1").removesuffix("/file")
    direct, found = (ask(port, "GET", path) for port in (behind.service.port, behind.port))
    told = {name: value for name, value in direct.headers.items() if name.startswith(("x-image-meta-", "etag"))}
    assert "x-image-meta-checksum" in told
    assert (found.status, found.body, {name: found.headers.get(name) for name in told}) == (200, DATA, told)


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=10-"}, {"Range": "bytes=0-9"}], ids=str)
def test_what_clients_commonly_ask_is_sent_by_nginx(behind: Behind, headers: dict[str, str]) -> None:
    answer = behind.service.ask("GET", behind.path, headers={"X-Sendfile-Type": "X-Accel-Redirect", **headers})
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["x-accel-redirect"].startswith(f"/internal-images{behind.service.images}/")


def test_the_page_shows_how_to_serve_below_a_folder(tmp_path: Path) -> None:
    page = PAGE.read_text()
    server = page.partition("```nginx\n")[2].partition("```")[0].replace("{", "{{").replace("}", "}}")
    server = server.replace("listen 80", "listen 127.0.0.1:{port}").replace("127.0.0.1:9292", "127.0.0.1:{api}")
    believing = "[oslo_middleware]\nenable_proxy_headers_parsing = true\n"
    database = migrated(f"sqlite:///{tmp_path}/registry.db")
    with (
        running_service(tmp_path, database, sections=believing) as service,
        _nginx(tmp_path, service, server=server, prefix="/images") as port,
    ):
        headers = {f"x-image-meta-{name}_format": value for name, value in (("disk", "raw"), ("container", "bare"))}
        headers |= {"x-image-meta-name": "x", "Content-Type": "application/octet-stream"}
        data = bytes(2 << 20)
        made = ask(port, "POST", "/images/v1/images", data, headers)
        assert made.status == 201, made.text
        path = f"/images/v1/images/{made.json['image']['id']}"
        assert made.headers["location"] == f"http://127.0.0.1:{port}{path}"
        assert ask(port, "GET", path).body == data
        versions = ask(port, "GET", "/images/versions").json["versions"]
        assert versions[0]["links"][0]["href"] == f"http://127.0.0.1:{port}/images/v2/"
