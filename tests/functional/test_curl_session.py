"""The curl session of a blog post of 2014, with the real curl. An image goes up as base64 and raw, is listed, read, deleted.

The image is generated: 15,138,816 bytes, of which ``base64`` prints 20,450,682. What is stored is the image, not its text.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import shutil
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.functional.service import Service
from tests.functional.v1 import files_of, state, unique

SIZE = 15_138_816
TEXT_SIZE = 20_450_682
pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@dataclass(frozen=True)
class Files:
    """The image and its base64 text on disk, and the hashes of the image."""

    image: Path
    text: Path
    md5: str
    sha512: str


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """An image of the size of the post's CirrOS."""
    folder = tmp_path_factory.mktemp("curl")
    data = random.Random(2014).randbytes(SIZE)
    image, text = folder / "cirros.img", folder / "cirros.base64"
    image.write_bytes(data)
    with text.open("wb") as out:
        subprocess.run(["base64", str(image)], stdout=out, check=True)
    assert text.stat().st_size == TEXT_SIZE
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return Files(image, text, md5, hashlib.sha512(data).hexdigest())


def curl(*arguments: str) -> str:
    """What curl prints; it must end well."""
    run = subprocess.run(["curl", "-sS", "--max-time", "60", *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def _url(service: Service, path: str = "") -> str:
    return f"http://127.0.0.1:{service.port}{path}"


def _status(answer: str) -> int:
    """The status of the last answer in the output of ``curl -i``."""
    return int([line for line in answer.splitlines() if line.startswith("HTTP/")][-1].split()[1])


def _body(answer: str) -> Any:
    return json.loads(answer.replace("\r\n", "\n").rpartition("\n\n")[2])


def _headers(name: str, *more: str) -> list[str]:
    """The post's headers, each behind its -H."""
    headers = [f"x-image-meta-name: {name}", "x-image-meta-disk_format: qcow2", "x-image-meta-container_format: bare", *more]
    return [word for header in headers for word in ("-H", header)]


def _is_stored(service: Service, image: dict[str, Any], files: Files, tmp_path: Path) -> None:
    """The image is active, is the image in the list, in HEAD, in GET and on disk, and API v2 knows its other hash."""
    wanted = (SIZE, files.md5, "active")
    assert (image["size"], image["checksum"], image["status"]) == wanted
    listed = json.loads(curl(_url(service, f"/v1/images/detail?name={image['name']}")))["images"]
    assert [(found["id"], found["size"], found["checksum"]) for found in listed] == [(image["id"], SIZE, files.md5)]
    head = curl("-I", _url(service, f"/v1/images/{image['id']}"))
    assert {f"X-Image-Meta-Size: {SIZE}", f"X-Image-Meta-Checksum: {files.md5}", f"Etag: {files.md5}"} <= set(head.splitlines())
    copy = tmp_path / "copy"
    curl("-f", "-o", str(copy), _url(service, f"/v1/images/{image['id']}"))
    assert copy.read_bytes() == files.image.read_bytes()
    (stored,) = files_of(service, image["id"])
    assert Path(stored).read_bytes() == files.image.read_bytes()
    assert json.loads(curl(_url(service, f"/v2/images/{image['id']}")))["os_hash_value"] == files.sha512


def test_the_session_of_the_post(service: Service, files: Files, tmp_path: Path) -> None:
    name = unique()
    versions = json.loads(curl(_url(service, "/")))["versions"]
    assert {"v1.0", "v1.1", "v2.0"} <= {version["id"] for version in versions}
    upload = [*_headers(name, "Content-Type: application/octet-stream", "Content-Transfer-Encoding: base64"), "-i"]
    made = curl("-X", "POST", *upload, "--data-binary", f"@{files.text}", _url(service, "/v1/images"))
    assert _status(made) == 201
    image = _body(made)["image"]
    _is_stored(service, image, files, tmp_path)
    assert name in curl(_url(service, "/v1/images"))
    public = curl("-i", "-X", "PUT", "-H", "x-image-meta-is_public: True", _url(service, f"/v1/images/{image['id']}"))
    assert (_status(public), _body(public)["image"]["is_public"]) == (200, True)
    assert image["id"] in curl(_url(service, f"/v1/images/detail?is_public=true&name={name}"))
    assert _status(curl("-i", "-X", "DELETE", _url(service, f"/v1/images/{image['id']}"))) == 200
    assert json.loads(curl(_url(service, f"/v1/images/detail?name={name}"))) == {"images": []}
    assert files_of(service, image["id"]) == []


# Ways to send an image with curl: arguments, in which IMAGE, TEXT and URL stand for the files and the address.
BASE64 = ["-H", "Content-Transfer-Encoding: base64"]
OCTETS = ["-H", "Content-Type: application/octet-stream"]
WAYS = {
    "raw with --data-binary": [*OCTETS, "--data-binary", "@IMAGE"],
    "raw with -T and POST": [*OCTETS, "-X", "POST", "-T", "IMAGE"],
    "raw with -T in chunks": [*OCTETS, "-H", "Transfer-Encoding: chunked", "-X", "POST", "-T", "IMAGE"],
    "raw and its checksum": [*OCTETS, "-H", "x-image-meta-checksum: MD5", "--data-binary", "@IMAGE"],
    "raw and public at once": [*OCTETS, "-H", "x-image-meta-is_public: True", "--data-binary", "@IMAGE"],
    "raw without Expect": [*OCTETS, "-H", "Expect:", "--data-binary", "@IMAGE"],
    "raw over HTTP/1.0": [*OCTETS, "-0", "--data-binary", "@IMAGE"],
    "base64 with -T": [*OCTETS, *BASE64, "-X", "POST", "-T", "TEXT"],
    "base64 with -T in chunks": [*OCTETS, *BASE64, "-H", "Transfer-Encoding: chunked", "-X", "POST", "-T", "TEXT"],
    "base64 with the line ends that -d removes": [*OCTETS, *BASE64, "-d", "@TEXT"],
}


@pytest.mark.parametrize("way", WAYS)
def test_an_image_can_be_sent(embedded: Service, files: Files, tmp_path: Path, way: str) -> None:
    words = {"IMAGE": str(files.image), "TEXT": str(files.text), "MD5": files.md5}
    arguments = []
    for argument in WAYS[way]:
        for word, value in words.items():
            argument = argument.replace(word, value) if argument.endswith(word) else argument  # noqa: PLW2901
        arguments.append(argument)
    made = curl("-i", *_headers(unique()), *arguments, _url(embedded, "/v1/images"))
    assert _status(made) == 201, made
    image = _body(made)["image"]
    _is_stored(embedded, image, files, tmp_path)
    assert _status(curl("-i", "-X", "DELETE", _url(embedded, f"/v1/images/{image['id']}"))) == 200


def test_a_put_fills_a_queued_image(embedded: Service, files: Files, tmp_path: Path) -> None:
    image = _body(curl("-i", "-X", "POST", *_headers(unique()), _url(embedded, "/v1/images")))["image"]
    assert image["status"] == "queued"
    url = _url(embedded, f"/v1/images/{image['id']}")
    done = curl("-i", "-H", "Content-Type: application/octet-stream", "-T", str(files.image), url)
    assert _status(done) == 200
    _is_stored(embedded, _body(done)["image"], files, tmp_path)


@pytest.mark.parametrize("option", ["-d", "--data", "--data-binary", "--data-urlencode", "-F"])
def test_a_form_is_told_the_right_option_and_leaves_nothing(embedded: Service, files: Files, option: str) -> None:
    name = unique()
    value = f"x=@{files.text}" if option == "-F" else f"@{files.text}"
    answer = curl("-i", *_headers(name), option, value, _url(embedded, "/v1/images"))
    assert _status(answer) == 400
    assert "application/octet-stream" in answer
    assert "--data-binary @FILE" in answer
    assert json.loads(curl(_url(embedded, f"/v1/images?name={name}&changes-since=2001-01-01"))) == {"images": []}


def _broken(files: Files, kind: str) -> bytes:
    text = files.text.read_bytes()
    return {
        "a foreign character": text[:5_000_000] + b"!" + text[5_000_000:],
        "cut off": text.rstrip()[:-5],
        "two texts": base64.b64encode(b"x") + text,
        "the image itself": files.image.read_bytes(),
    }[kind]


@pytest.mark.parametrize("kind", ["a foreign character", "cut off", "two texts", "the image itself"])
def test_broken_base64_is_a_400_and_nothing_is_stored(embedded: Service, files: Files, tmp_path: Path, kind: str) -> None:
    broken, image_id = tmp_path / "broken", str(uuid.uuid4())
    broken.write_bytes(_broken(files, kind))
    headers = _headers(
        unique(), "Content-Type: application/octet-stream", "Content-Transfer-Encoding: base64", f"x-image-meta-id: {image_id}"
    )
    answer = curl("-i", *headers, "--data-binary", f"@{broken}", _url(embedded, "/v1/images"))
    assert _status(answer) == 400
    assert "base64" in answer
    assert state(embedded, image_id) == "killed"
    assert files_of(embedded, image_id) == []


def test_curl_is_told_what_is_wrong_in_html_that_names_it(embedded: Service) -> None:
    answer = curl("-i", "-X", "POST", "-H", "x-image-meta-bogus: 1", _url(embedded, "/v1/images"))
    assert _status(answer) == 400
    assert "<h1>400 Bad Request</h1>" in answer
    assert "Bad header: x-image-meta-bogus" in answer
