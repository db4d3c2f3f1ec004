"""Log lines: no secrets, one line each, nothing lost."""

from __future__ import annotations

import json
import logging
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from image_service import config, log
from tests.functional.running import eventually


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers, root.level
    yield
    root.handlers, root.level = before


def set_up(tmp_path: Path, text: str = "") -> Path:
    (tmp_path / "a.conf").write_text(f"[DEFAULT]\nlog_file = api.log\nlog_dir = {tmp_path}\n{text}\n")
    log.setup(config.load("glance-api", [str(tmp_path / "a.conf")], []), "image-api")
    return tmp_path / "api.log"


@pytest.mark.parametrize("program", ["glance-api", "glance-registry"])
def test_a_folder_alone_is_enough(tmp_path: Path, program: str) -> None:
    """As oslo.log has it, and deployment tools write it."""
    (tmp_path / "a.conf").write_text(f"[DEFAULT]\nlog_dir = {tmp_path}\n")
    log.setup(config.load(program, [str(tmp_path / "a.conf")], []), program)
    logging.getLogger("x").warning("said")
    assert "said" in (tmp_path / f"{program}.log").read_text()


@pytest.mark.parametrize(
    "text",
    [
        "mysql://glance:HIDDEN@db/glance",
        "mysql+pymysql://glance:HIDDEN@1/2@db:3306/glance",
        "cannot open 'mysql://glance:HID@HIDDEN@db/glance' now",
        "http://user:HIDDEN@store/path",
        "Authorization: Basic HIDDEN",
        "authorization: Bearer HIDDEN.x-y",
        "{'X-Auth-Token': 'HIDDEN', 'Accept': 'x'}",
        '{"password": "HIDDEN"}',
        "x-registry-secret=HIDDEN",
        "X-Service-Token: HIDDEN",
        "password = HIDDEN",
    ],
)
def test_secrets_are_not_logged(tmp_path: Path, text: str) -> None:
    path = set_up(tmp_path)
    logging.getLogger("x").error("%s", text)
    try:
        raise ValueError(text)
    except ValueError:
        logging.getLogger("x").exception("failed")
    assert "HIDDEN" not in path.read_text()
    assert "***" in path.read_text()


@pytest.mark.parametrize(
    "text",
    [
        "GET /v2/images?name=a@b",
        "http://host:9292/v2/images/x@y",
        "sqlite:////var/lib/glance/x.db",
        "the password is wrong",
        "file:///var/lib/glance/images/1",
    ],
)
def test_other_text_stays(text: str) -> None:
    assert log.redact(text) == text


@pytest.mark.parametrize("text", ["a+", "a://b:", "http://b:"])
def test_what_only_begins_like_a_secret_takes_no_time(text: str) -> None:
    """Each may begin one: where all that follows was read for each, this took hours."""
    line = "/v2/images?x=" + text * (500_000 // len(text))
    assert log.redact(line) == line


def test_a_line_says_when_who_where_and_for_which_request(tmp_path: Path) -> None:
    path = set_up(tmp_path)
    log.request_id.set("req-7")
    logging.getLogger("image_service.x").warning("%s images", 3)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} WARNING pid=\d+ logger=image_service\.x request_id=req-7 message=3 images\n",
        path.read_text(),
    )


def test_nobody_forges_a_line(tmp_path: Path) -> None:
    path = set_up(tmp_path)
    logging.getLogger("x").warning("name %s", "a\n2026-01-01 00:00:00.000 INFO forged\rback")
    lines = path.read_text().splitlines()
    assert [line.startswith("2026-01-01") for line in lines] == [False, False]
    assert lines[1].startswith("    ")
    assert "\\r" in lines[1]


def test_json_is_one_object_a_line_also_with_a_trace(tmp_path: Path) -> None:
    path = set_up(tmp_path, "use_json = True")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("x").exception("failed")
    (line,) = path.read_text().splitlines()
    found = json.loads(line)
    assert found["level"] == "ERROR"
    assert found["logger"] == "x"
    assert "Traceback" in found["message"]


def test_bytes_that_are_no_utf8_break_no_line(tmp_path: Path) -> None:
    path = set_up(tmp_path, "use_json = True\nverbose = True")
    log.event("access", "req-1", {"user": "J\udcfcrgen", "status": 200})
    logging.getLogger("x").warning("J\udcfcrgen")
    first, second = map(json.loads, path.read_text().splitlines())
    assert (first["user"], second["message"]) == ("J?rgen", "J?rgen")
    log.to_syslog([(logging.INFO, "J\udcfcrgen")])


@pytest.mark.parametrize(("text", "levels"), [("", "iwe"), ("debug = True", "diwe"), ("verbose = False", "we")])
def test_levels(tmp_path: Path, text: str, levels: str) -> None:
    path = set_up(tmp_path, text)
    for level in ("debug", "info", "warning", "error"):
        getattr(logging.getLogger("image_service.x"), level)("said")
    assert "".join(line.split()[2][0].lower() for line in path.read_text().splitlines()) == levels


def test_a_bad_call_does_not_fail_its_caller(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up(tmp_path)
    logging.getLogger("x").warning("%d", "no number")
    assert "no number" in capsys.readouterr().err


def test_a_rotated_file_is_opened_anew(tmp_path: Path) -> None:
    path = set_up(tmp_path)
    logging.getLogger("x").warning("one")
    path.rename(tmp_path / "api.log.1")
    logging.getLogger("x").warning("two")
    assert "two" in path.read_text()
    assert "one" in (tmp_path / "api.log.1").read_text()


def test_the_thread_writes_everything_in_order(tmp_path: Path) -> None:
    path = set_up(tmp_path)
    log.start_writer()
    for number in range(5000):
        logging.getLogger("x").warning("%d", number)
    log.stop_writer()
    logging.getLogger("x").warning("after")
    assert [line.rpartition("=")[2] for line in path.read_text().splitlines()] == [*map(str, range(5000)), "after"]


def test_nothing_is_lost_when_many_threads_log(tmp_path: Path) -> None:
    path = set_up(tmp_path)
    log.start_writer()

    def say() -> None:
        for _ in range(2000):
            logging.getLogger("x").warning("said")

    threads = [threading.Thread(target=say) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.stop_writer()
    assert len(path.read_text().splitlines()) == 8000


def test_lines_that_cannot_be_kept_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = set_up(tmp_path)
    monkeypatch.setattr(log, "MOST_WAITING", 3)
    monkeypatch.setattr(log, "GATHER_SECONDS", 0.5)
    log.start_writer()
    for number in range(10):
        logging.getLogger("x").warning("%d", number)
    log.stop_writer()
    *kept, last = path.read_text().splitlines()
    assert len(kept) in (3, 4)  # The thread may have taken one already.
    assert f"message={10 - len(kept)} log lines were lost" in last


def test_where_the_new_file_cannot_be_opened_the_old_one_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    path = set_up(folder)
    folder.rename(tmp_path / "elsewhere")
    logging.getLogger("x").warning("one")
    (tmp_path / "elsewhere").rename(folder)
    logging.getLogger("x").warning("two")
    assert [line.rpartition("=")[2] for line in path.read_text().splitlines()] == ["one", "two"]


def test_who_does_not_log_lets_go_of_a_rotated_file_too(tmp_path: Path) -> None:
    path = set_up(tmp_path)
    before = path.stat().st_ino
    path.rename(tmp_path / "api.log.1")
    log.look()
    assert path.stat().st_ino != before
    assert "api.log.1" not in str([os.path.realpath(entry) for entry in os.scandir("/proc/self/fd")])


def test_a_thread_that_has_nothing_to_write_lets_go_of_a_rotated_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "LOOK_SECONDS", 0.01)
    path = set_up(tmp_path)
    before = path.stat().st_ino
    log.start_writer()
    path.rename(tmp_path / "api.log.1")
    eventually(lambda: path.exists() and path.stat().st_ino != before, "the new file is open")
    logging.getLogger("x").warning("late")
    log.stop_writer()
    assert "late" in path.read_text()


def test_lines_that_a_full_disk_lost_are_counted(tmp_path: Path) -> None:
    path = set_up(tmp_path)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limit[1]))
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for _ in range(3):
            logging.getLogger("x").warning("lost")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    logging.getLogger("x").warning("kept")
    kept, note = path.read_text().splitlines()
    assert kept.endswith("message=kept")
    assert "message=3 log lines were lost" in note


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"user": "u project=adm", "project": "p"}, 'user="u project=adm" project=p'),
        ({"path": "/v2/images?name=a", "status": 200, "user": "zoë"}, "path=/v2/images?name=a status=200 user=zoë"),
    ],
)
def test_a_name_does_not_look_like_further_fields(tmp_path: Path, fields: dict[str, object], words: str) -> None:
    path = set_up(tmp_path, "verbose = True")
    log.event("access", "req-1", fields)
    assert path.read_text().rstrip().endswith(f"request_id=req-1 {words}")


def test_a_full_disk_does_not_fail_who_logs(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("[DEFAULT]\nlog_file = /dev/full\n")
    program = (
        "import logging; from image_service import config, log; import sys;"
        "log.setup(config.load('glance-api', [sys.argv[1]], []), 'x'); logging.getLogger('x').warning('said')"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.conf")], check=False)
    assert done.returncode == 0


def test_a_line_that_a_full_disk_cut_spoils_no_other(tmp_path: Path) -> None:
    """``RLIMIT_FSIZE`` ends a write in the middle, as a full disk does."""
    program = """
import contextlib, resource, sys
from image_service.log import LogFile
file = LogFile(sys.argv[1])
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
with contextlib.suppress(OSError):
    file([(20, "first and too long")])
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
file([(20, "second")])
file([(20, "third")])
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "log")], check=True)
    assert (tmp_path / "log").read_text().splitlines() == ["first and ", "second", "third"]


@pytest.mark.parametrize("facility", ["LOG_LOCAL0", "local0", "daemon"])
def test_a_facility_may_be_written_without_its_prefix(tmp_path: Path, facility: str) -> None:
    set_up(tmp_path, f"use_syslog = True\nsyslog_log_facility = {facility}")


def test_another_facility_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="LOG_UPTO"):
        set_up(tmp_path, "use_syslog = True\nsyslog_log_facility = LOG_UPTO")
