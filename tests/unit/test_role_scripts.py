"""What the roles and playbooks run in a shell, and compute."""

from __future__ import annotations

import ast
import os
import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import jinja2
import jinja2.nativetypes
import pytest
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[2]

CONF = """
[DEFAULT]
enabled_backends = fast:file

[glance_store]
filesystem_store_datadir = {before}
default_backend = fast

[fast]
filesystem_store_datadir = {before}/fast
"""


def _script(file: str, name: str) -> str:
    tasks: list[dict[str, Any]] = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))
    for play in list(tasks):
        tasks += play.get("tasks", [])
    (found,) = [task for task in tasks if task["name"] == name]
    script: str = found["ansible.builtin.shell"]
    return script


def _run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    words, names = ["/bin/bash", "-c", script], {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(words, env=names, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("stays", "image", "found"), [(True, True, False), (False, False, False), (False, True, True)])
def test_images_in_the_folder_of_before_are_found(tmp_path: Path, stays: bool, image: bool, found: bool) -> None:
    """Also beside stores with names, whose folders are not the role's."""
    before, conf = tmp_path / "before", tmp_path / "glance-api.conf"
    (before / "fast").mkdir(parents=True)
    conf.write_text(CONF.format(before=before))
    if image:
        (before / "image").touch()
    script = _script("roles/image_api/tasks/preflight.yml", "Look for images in the folder of before")
    done = _run(script, CONF=str(conf), STORE=str(before if stays else tmp_path / "now"))
    assert (done.returncode, done.stdout) == (0, f"{before}/image\n" if found else ""), done.stderr


@pytest.mark.parametrize(
    ("has", "wanted", "found"),
    [
        ("", "mysql glance", ""),
        ("mysql://glance:word@127.0.0.1:3306/glance", "mysql glance", ""),
        ("mysql://glance:word@127.0.0.1:3306/glance", "mysql other", "mysql glance: {file}\n"),
        ("mysql://glance:word@127.0.0.1:3306/glance", "sqlite glance.sqlite", "mysql glance: {file}\n"),
        ("sqlite:////var/lib/glance/glance.sqlite", "sqlite glance.sqlite", ""),
        ("sqlite:////var/lib/glance/glance.sqlite", "mysql glance", "sqlite glance.sqlite: {file}\n"),
    ],
)
def test_another_database_is_found(tmp_path: Path, has: str, wanted: str, found: str) -> None:
    """And its password is not said."""
    file = tmp_path / "glance-api.conf.d" / "00-database.conf"
    file.parent.mkdir()
    if has:
        file.write_text(f"[database]\nconnection = {has}\n")
    script = _script("roles/image_host/tasks/preflight.yml", "Look for another database")
    done = _run(script, CONF=str(tmp_path), STATE=str(tmp_path), WANTED=wanted)
    assert (done.returncode, done.stdout) == (0, found.format(file=file)), done.stderr


def test_a_backup_is_read_without_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may lie on a file system that is mounted read-only."""
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("database.sqlite")) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE images (id VARCHAR(36))")
    script = _script("playbooks/restore.yml", "Read all of it")
    done = _run(script, PARTS="database.sqlite")
    assert (done.returncode, os.listdir()) == (0, ["database.sqlite"]), done.stderr
    os.truncate("database.sqlite", 4096)
    done = _run(script, PARTS="database.sqlite")
    assert (done.returncode, done.stdout) == (1, "database.sqlite is damaged. Nothing was touched.\n")


@pytest.mark.parametrize(
    ("bound", "proxies", "address"),
    [
        ({}, ["one"], "127.0.0.1"),
        ({}, ["two"], "192.0.2.1"),
        ({"image_api_bind_host": "192.0.2.7"}, ["two"], "192.0.2.7"),
        ({"image_api_bind_host": "::1"}, ["one"], "[::1]"),
        ({"image_api_bind_host": "::"}, ["one"], "127.0.0.1"),
        ({"image_api_bind_host": "0.0.0.0"}, ["two"], "192.0.2.1"),  # noqa: S104
    ],
)
def test_the_proxy_knows_where_the_api_listens(bound: dict[str, str], proxies: list[str], address: str) -> None:
    """On another host, every address of the API's would be every address of the proxy's own."""
    variables = yaml.safe_load((ROOT / "roles/image_service/vars/main.yml").read_text(encoding="utf-8"))
    text = jinja2.Template(variables["image_service_api_addresses"], autoescape=False).render(
        inventory_hostname=proxies[0],
        image_service_proxies=proxies,
        image_service_apis=["one"],
        image_service_url_addresses={"one": "192.0.2.1"},
        hostvars={"one": bound},
    )
    assert ast.literal_eval(text.strip()) == {"one": address}


@pytest.mark.parametrize(
    ("said", "facts", "address"),
    [
        ({}, {"default_ipv4": {"address": "192.0.2.1"}, "all_ipv4_addresses": ["198.51.100.1", "192.0.2.1"]}, "192.0.2.1"),
        ({}, {"default_ipv4": {}, "all_ipv4_addresses": ["192.0.2.1"]}, "192.0.2.1"),
        ({}, {"default_ipv4": {}, "all_ipv4_addresses": ["198.51.100.1", "192.0.2.1"]}, "127.0.0.1"),
        ({}, {"default_ipv4": {}, "all_ipv4_addresses": []}, "127.0.0.1"),
        ({}, {}, "127.0.0.1"),
        ({"image_service_address": "2001:db8::1"}, {"default_ipv4": {"address": "192.0.2.1"}}, "2001:db8::1"),
    ],
)
def test_the_address_of_a_host(said: dict[str, str], facts: dict[str, Any], address: str) -> None:
    """A network that leads nowhere else has no default route."""
    variables = yaml.safe_load((ROOT / "roles/image_service/vars/main.yml").read_text(encoding="utf-8"))
    text = jinja2.Template(variables["image_service_addresses"], autoescape=False).render(
        image_service_databases=[],
        image_service_registries=[],
        image_service_proxies=["one"],
        image_service_apis=["one"],
        image_service_address_default="127.0.0.1",
        hostvars={"one": {"ansible_facts": facts, **said}},
    )
    assert ast.literal_eval(text.strip()) == {"one": address}


@pytest.mark.parametrize(("host", "written"), [("images.example", "images.example"), ("2001:db8::1", "[2001:db8::1]")])
def test_an_address_in_a_url(host: str, written: str) -> None:
    variables = yaml.safe_load((ROOT / "roles/image_service/vars/main.yml").read_text(encoding="utf-8"))
    environment = jinja2.Environment(autoescape=False)  # noqa: S701
    environment.filters.update(ternary=lambda value, yes, no: yes if value else no)
    values = {
        "image_service_addresses": {"one": host},
        "image_service_public_name": host,
        "image_service_public_port": 443,
        "image_service_proxies": ["one"],
        "image_service_database_kind": "mariadb",
        "image_service_database_host": host,
        "image_service_database_user": "glance",
        "image_service_database_secret": "word",
        "image_service_database_port": 3306,
        "image_service_database_name": "glance",
    }
    assert [
        environment.from_string(variables[f"image_service_{name}"]).render(values).strip()
        for name in ("url_addresses", "public_endpoint", "database_url")
    ] == [str({"one": written}), f"https://{written}", f"mysql://glance:word@{written}:3306/glance"]


@pytest.mark.parametrize(
    ("name", "covered"),
    [
        ("images.example", True),
        ("Images.Example", True),
        ("a.lab.example", True),
        ("192.0.2.1", True),
        ("2001:db8::1", True),
        ("lab.example", False),
        ("a.b.lab.example", False),
        ("192.0.2.2", False),
        ("2.0.2.1", False),
    ],
)
def test_a_certificate_of_another_name_is_noticed(name: str, covered: bool) -> None:
    tasks = yaml.safe_load((ROOT / "roles/image_proxy/tasks/preflight.yml").read_text(encoding="utf-8"))
    (block,) = [task["block"] for task in tasks if task["name"] == "Read the given certificate and its key"]
    task = block[-1]
    environment = jinja2.nativetypes.NativeEnvironment()
    environment.filters.update(
        intersect=lambda one, other: list({*one} & {*other}),
        regex_replace=lambda text, pattern, new: re.sub(pattern, new, text),
    )
    environment.tests.update(match=lambda text, pattern: re.match(pattern, text) is not None)
    names = ["DNS:images.example", "DNS:*.lab.example", "DNS:*.0.2.1", "IP:192.0.2.1", "IP:2001:db8::1"]
    values: dict[str, Any] = {"image_service_public_name": name, "image_proxy_given": {"subject_alt_name": names}}
    for key, text in task["vars"].items():
        values[key] = environment.from_string(text).render(values)
    answer: object = environment.from_string("{{ " + task["ansible.builtin.assert"]["that"] + " }}").render(values)
    assert answer is covered
