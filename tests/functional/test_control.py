"""``image-control`` and ``image-manage user``, as an administrator types them."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.running import BIN, PATIENCE, Running, eventually, running
from tests.functional.slow_clients import BigUpload
from tests.ports import free_port


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path, f"run_dir = {tmp_path}/run\nlog_file = {tmp_path}/api.log") as found:
        yield found
        control(found, "stop")


def control(server: Running, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    words: list[str | Path] = [BIN / "image-control", "--config-file", server.config, *arguments, "api", command]
    return subprocess.run(words, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)


def manage(server: Running, *words: str, password: str = "") -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [BIN / "image-manage", "--config-file", server.config, *words]
    return subprocess.run(command, input=password, capture_output=True, text=True, timeout=PATIENCE, check=False)


def pid_of(server: Running) -> int:
    return int((server.folder / "run" / "glance-api.pid").read_text().split()[0])


def command_line(pid: int) -> str:
    """What runs under ``pid`` now: nothing, or by now another process."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def test_start_status_restart_stop(server: Running) -> None:
    assert control(server, "status").returncode == 3
    assert control(server, "start").returncode == 0
    assert server.ask("GET", "/v2/images")[0] == 200  # start came back when it serves
    assert control(server, "status").returncode == 0
    first = pid_of(server)
    again = control(server, "start")
    assert (again.returncode, pid_of(server)) == (0, first)
    assert "already" in again.stdout
    assert control(server, "restart").returncode == 0
    assert pid_of(server) != first
    assert server.ask("GET", "/v2/images")[0] == 200
    assert control(server, "stop").returncode == 0
    assert control(server, "status").returncode == 3
    assert str(server.config) not in command_line(first)
    assert control(server, "stop").returncode == 0


def test_reload_takes_a_new_configuration(server: Running) -> None:
    assert control(server, "start").returncode == 0
    server.configure(f"run_dir = {server.folder}/run\nlog_file = {server.folder}/api.log\npublic_endpoint = http://new:1")
    assert control(server, "reload").returncode == 0
    eventually(lambda: b"http://new:1" in server.ask("GET", "/versions")[2], "the new configuration")


def test_a_start_that_fails_says_why(tmp_path: Path) -> None:
    server = Running(tmp_path)
    server.configure(f"run_dir = {tmp_path}/run\nlog_file = {tmp_path}/api.log")
    done = control(server, "start")
    assert done.returncode == 1
    assert "image-manage db sync" in done.stderr
    assert control(server, "status").returncode == 3


def test_a_start_says_that_the_port_is_taken(server: Running) -> None:
    with socket.create_server(("127.0.0.1", server.port)):
        done = control(server, "start")
    assert (done.returncode, f"Cannot listen on 127.0.0.1:{server.port}" in done.stderr) == (1, True), done.stderr


def test_a_server_whose_pid_cannot_be_written_does_not_run(server: Running) -> None:
    (server.folder / "run" / "glance-api.pid").mkdir(parents=True)
    assert control(server, "start").returncode == 1
    with pytest.raises(ConnectionError):
        server.ask("GET", "/healthcheck")


def test_stop_waits_for_a_running_upload(server: Running) -> None:
    assert control(server, "start").returncode == 0
    with BigUpload(server, 8) as up:
        up.send_piece()
        early = control(server, "stop", "--timeout", "1")
        assert early.returncode == 1
        assert "still finishes" in early.stderr
        with subprocess.Popen([BIN / "image-control", "--config-file", server.config, "api", "stop"]) as stopping:
            up.send_rest()
            assert stopping.wait(PATIENCE) == 0
    assert control(server, "status").returncode == 3


@pytest.mark.parametrize("since", ["12345", "", "{since}"], ids=["other time", "no time", "same time, other program"])
def test_a_process_that_is_not_ours_is_never_touched(server: Running, since: str) -> None:
    (server.folder / "run").mkdir()
    with subprocess.Popen(["sleep", "600"]) as bystander:
        started = Path(f"/proc/{bystander.pid}/stat").read_text().rpartition(")")[2].split()[19]
        pid_file = server.folder / "run" / "glance-api.pid"
        pid_file.write_text(f"{bystander.pid} {since.format(since=started)}\n")
        assert control(server, "status").returncode == 3
        assert control(server, "stop").returncode == 0
        pid_file.write_text(f"{bystander.pid} {since.format(since=started)}\n")
        assert control(server, "start").returncode == 0
        assert pid_of(server) != bystander.pid
        assert bystander.poll() is None
        bystander.terminate()


@pytest.mark.parametrize("command", ["start", "stop", "restart"])
def test_a_file_that_is_no_pid_file_is_left_alone(server: Running, command: str) -> None:
    server.configure()
    before = server.config.read_bytes()
    words: list[str | Path] = [BIN / "image-control", "--config-file", server.config, "--pid-file", server.config, "api", command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, "is no pid file" in done.stderr) == (2, True), done.stderr
    assert server.config.read_bytes() == before


def test_a_killed_server_leaves_a_pid_file_that_does_no_harm(server: Running) -> None:
    assert control(server, "start").returncode == 0
    pid = pid_of(server)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: control(server, "status").returncode == 3, "seen as not running")
    eventually(lambda: control(server, "start").returncode == 0, "started again")


def test_all_needs_no_registry_that_nobody_configured(server: Running, tmp_path: Path) -> None:
    (tmp_path / ".glance").mkdir()
    server.config.rename(tmp_path / ".glance" / "glance-api.conf")
    environment = {**os.environ, "HOME": str(tmp_path)}

    def everything(command: str) -> int:
        return subprocess.run([BIN / "image-control", "all", command], env=environment, timeout=PATIENCE, check=False).returncode

    assert everything("start") == 0
    assert everything("status") == 0
    assert everything("stop") == 0
    assert everything("status") == 3
    (tmp_path / ".glance" / "glance-api.conf").rename(server.config)


def test_all_starts_and_stops_the_registry_and_the_api_that_asks_it(tmp_path: Path) -> None:
    server, port = Running(tmp_path), free_port()
    server.make_schema()
    (tmp_path / ".glance").mkdir()
    common = f"[registry_link]\nsecret_file = {tmp_path}/secret\n[DEFAULT]\nrun_dir = {tmp_path}/run\n"
    files = {
        "glance-api": f"bind_port = {server.port}\ndata_api = registry\nregistry_port = {port}\n"
        f"[glance_store]\nfilesystem_store_datadir = {tmp_path}/images\n",
        "glance-registry": f"bind_port = {port}\n[database]\nconnection = {server.database}\n",
    }
    for name, text in files.items():
        (tmp_path / ".glance" / f"{name}.conf").write_text(common + text)

    def run(*words: str) -> int:
        environment = {**os.environ, "HOME": str(tmp_path)}
        return subprocess.run([BIN / words[0], *words[1:]], env=environment, timeout=PATIENCE, check=False).returncode

    assert run("image-manage", "registry-secret") == 0
    assert run("image-manage", "registry-secret") == 1  # never replaced by accident
    try:
        assert run("image-control", "all", "start") == 0
        assert server.ask("GET", "/v2/images")[0] == 200
        assert run("image-control", "registry", "stop") == 0
        assert run("image-control", "all", "status") == 3
        assert server.ask("GET", "/v2/images")[0] == 503
        assert server.ask("GET", "/readiness")[0] == 503
        assert run("image-control", "all", "start") == 0
        assert server.ask("GET", "/v2/images")[0] == 200
        assert server.ask("GET", "/readiness")[0] == 200
    finally:
        assert run("image-control", "all", "stop") == 0
    assert run("image-control", "all", "status") == 3


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--config-file", "x", "all"], "name it"),
        (["--pid-file", "/nowhere/x.pid", "api"], "no such folder"),
        (["--timeout", "-1", "api"], "0 or more"),
        (["--timeout", "nan", "api"], "0 or more"),
        (["--timeout", "soon", "api"], "soon"),
    ],
)
def test_wrong_arguments_are_named(words: list[str], sentence: str) -> None:
    done = subprocess.run([BIN / "image-control", *words, "start"], capture_output=True, text=True, check=False)
    assert (done.returncode, sentence in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr


# ---- users ----------------------------------------------------------------------------------------------------


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[Running]:
    """An image-api with flavor http_basic and no users yet."""
    sections = (
        f"[paste_deploy]\nflavor = http_basic\n[oslo_middleware]\nhttp_basic_auth_user_file = {tmp_path}/htpasswd\n"
        f"[http_basic]\nidentity_file = {tmp_path}/identities.json\n"
    )
    with running(tmp_path, sections=sections) as found:
        yield found


def status_of(server: Running, user: str, password: str) -> int:
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    return server.ask("GET", "/v2/images", headers={"Authorization": f"Basic {credentials}"})[0]


def test_users_are_added_changed_disabled_and_listed_while_the_service_runs(asking: Running) -> None:
    assert manage(asking, "user", "add", "alice", "--project", "p1", "--role", "admin", password="first secret\n").returncode == 0
    asking.start_and_wait()
    assert asking.ask("GET", "/v2/images")[:2][1]["WWW-Authenticate"] == 'Basic realm="image"'
    assert asking.ask("GET", "/v2/images")[0] == 401
    assert status_of(asking, "alice", "first secret") == 200
    assert status_of(asking, "alice", "First secret") == 401
    assert status_of(asking, "bob", "second secret") == 401
    assert manage(asking, "user", "add", "bob", "--role", "reader", password="second secret\n").returncode == 0
    assert status_of(asking, "bob", "second secret") == 200
    assert manage(asking, "user", "passwd", "bob", password="third secret\n").returncode == 0
    assert status_of(asking, "bob", "second secret") == 401
    assert status_of(asking, "bob", "third secret") == 200
    assert manage(asking, "user", "disable", "bob").returncode == 0
    assert status_of(asking, "bob", "third secret") == 401
    listed = manage(asking, "user", "list").stdout
    assert listed.splitlines() == ["alice\tp1\tadmin\tenabled", "bob\tbob\treader\tdisabled"]
    assert manage(asking, "user", "enable", "bob").returncode == 0
    assert status_of(asking, "bob", "third secret") == 200
    assert "secret" not in asking.log


def test_health_is_told_without_a_password(asking: Running) -> None:
    manage(asking, "user", "add", "alice", password="first secret\n")
    asking.start_and_wait()
    assert asking.ask("GET", "/healthcheck")[0::2] == (200, b"OK")
    assert asking.ask("HEAD", "/healthcheck")[0] == 204
    status, _, body = asking.ask("GET", "/readiness")
    assert (status, json.loads(body)["ready"]) == (200, True)
    assert set(json.loads(body)["checks"]) >= {"registry", "store:file"}
    (asking.folder / "images").rename(asking.folder / "gone")
    status, _, body = asking.ask("GET", "/readiness")
    assert (status, json.loads(body)["ready"]) == (503, False)
    assert json.loads(body)["checks"]["registry"] == "ok"
    assert "missing" in json.loads(body)["checks"]["store:file"]
    assert str(asking.folder).encode() not in body, "whoever asks is not told how the disk is laid out"
    eventually(lambda: f"{asking.folder}/images is missing" in asking.log, "the log says which")


@pytest.mark.parametrize(
    ("words", "password", "code", "sentence"),
    [
        (["user", "add", "alice"], "long enough\n", 1, "already; image-manage user passwd changes"),
        (["user", "add", "carol"], "short\n", 2, "at least 8"),
        (["user", "add", "carol"], "x" * 73 + "\n", 2, "72 bytes"),
        (["user", "add", "carol"], "", 2, "at least 8"),
        (["user", "add", "ca:rol"], "", 2, "colon"),
        (["user", "add", ""], "", 2, "empty"),
        (["user", "add", " carol"], "", 2, "blanks"),
        (["user", "add", "carol", "--project", "a\nb"], "", 2, "control characters"),
        (["user", "add", "carol", "--role", "\udcff"], "", 2, "no UTF-8"),
        (["user", "add", "carol", "--role", " "], "", 2, "one role"),
        (["user", "add", "carol", "--role", "member,admin"], "", 2, "one role"),
        (["user", "add", "carol", "--project", "p" * 256], "", 2, "255 characters"),
        (["user", "add", "c" * 256], "", 2, "255 characters"),
        (["user", "passwd", "nobody"], "long enough\n", 1, "no user"),
        (["user", "disable", "nobody"], "", 1, "no user"),
        (["user", "add", "carol", "--password", "long enough"], "", 2, "--password"),
        (["user"], "", 2, "ACTION"),
    ],
)
def test_what_cannot_be_done_with_users(asking: Running, words: list[str], password: str, code: int, sentence: str) -> None:
    manage(asking, "user", "add", "alice", password="first secret\n")
    before = [(asking.folder / name).read_bytes() for name in ("htpasswd", "identities.json")]
    done = manage(asking, *words, password=password)
    assert (done.returncode, sentence in done.stderr) == (code, True), done.stderr
    assert [(asking.folder / name).read_bytes() for name in ("htpasswd", "identities.json")] == before
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("line", [b"bob:$apr1$abc$def\n", b"Z\xfcrich:$2b$12$abc\n"])
def test_nothing_is_changed_beside_a_line_that_the_service_cannot_read(asking: Running, line: bytes) -> None:
    manage(asking, "user", "add", "alice", password="first secret\n")
    path = asking.folder / "htpasswd"
    path.write_bytes(path.read_bytes() + line)
    before = path.read_bytes()
    for words in (["passwd", "alice"], ["add", "carol"], ["disable", "alice"], ["list"]):
        done = manage(asking, "user", *words, password="second secret\n")
        assert (done.returncode, str(path) in done.stderr, done.stdout) == (2, True, ""), done.stderr
        assert path.read_bytes() == before


def test_nobody_waits_for_who_types_a_password(asking: Running) -> None:
    for name in ("alice", "carol"):
        manage(asking, "user", "add", name, password="first secret\n")
    command: list[str | Path] = [BIN / "image-manage", "--config-file", asking.config, "user", "passwd", "alice"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as typing:
        assert manage(asking, "user", "disable", "carol").returncode == 0
        assert "carol\tcarol\tmember\tdisabled" in manage(asking, "user", "list").stdout
        assert typing.poll() is None
        typing.communicate(b"second secret\n", PATIENCE)
    assert typing.returncode == 0
    asking.start_and_wait()
    assert status_of(asking, "alice", "second secret") == 200
    assert status_of(asking, "carol", "first secret") == 401


def test_files_of_users_may_be_links(asking: Running) -> None:
    elsewhere = asking.folder / "shared"
    elsewhere.mkdir()
    (asking.folder / "htpasswd").symlink_to(elsewhere / "htpasswd")
    assert manage(asking, "user", "add", "alice", password="first secret\n").returncode == 0
    assert (asking.folder / "htpasswd").is_symlink()
    assert (elsewhere / "htpasswd").read_text().startswith("alice:")


def test_a_folder_that_is_not_there_is_named(asking: Running) -> None:
    config = Path(asking.config)
    config.write_text(config.read_text().replace(f"{asking.folder}/htpasswd", "/no/such/htpasswd"))
    for words in (["list"], ["add", "alice"]):
        done = manage(asking, "user", *words, password="first secret\n")
        assert (done.returncode, "There is no folder /no/such" in done.stderr) == (2, True)


def test_user_files_are_for_nobody_else_and_keep_their_mode(asking: Running) -> None:
    manage(asking, "user", "add", "alice", password="first secret\n")
    for name in ("htpasswd", "identities.json"):
        path = asking.folder / name
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o600)
    manage(asking, "user", "add", "bob", password="second secret\n")
    assert {stat.S_IMODE((asking.folder / name).stat().st_mode) for name in ("htpasswd", "identities.json")} == {0o600}
    assert not list(asking.folder.glob(".htpasswd*"))
