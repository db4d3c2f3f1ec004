"""Configuration files: those that people have, what is said about mistakes, and what ``config check`` finds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from oslo_config import cfg

from image_service import config, log
from image_service.cli.manage_config import findings, program_of
from image_service.config_check import Finding, is_loopback, require_closed_door, require_valid, unknown_options
from image_service.registry.engine import database_url, mysql_arguments
from image_service.store.stores import Stores
from scripts.options_table import PAGE, page

# Word for word from the post of 2014 whose installation this service replaces.
API_OF_2014 = """
[DEFAULT]
debug = True
sql_connection = mysql://root:123work@localhost/glance
default_store = file
image_cache_dir = /var/lib/glance/image-cache/
log_file = /var/log/glance/api.log

[paste_deploy]
# here I dont use keystone
flavor =

[glance_store]
stores = glance.store.filesystem.Store
"""
REGISTRY_OF_2014 = """
[DEFAULT]
debug = True
sql_connection = mysql://root:123work@localhost/glance
default_store = file
image_cache_dir = /var/lib/glance/image-cache/
log_file = /var/log/glance/registry.log

[paste_deploy]
flavor =
"""
BIN = Path(sys.executable).parent


def load(tmp_path: Path, text: str, program: str = "glance-api") -> cfg.ConfigOpts:
    file = tmp_path / f"{program}.conf"
    file.write_text(text)
    file.chmod(0o640)
    return config.load(program, [str(file)], [])


def test_the_folder_of_a_file_store_may_stand_where_juno_had_it(tmp_path: Path) -> None:
    conf = load(tmp_path, f"[DEFAULT]\nfilesystem_store_datadir = {tmp_path}/images\nfilesystem_store_file_perm = 640\n")
    [store, _] = Stores.from_config(conf).all()
    assert store.details()["data_dir"] == f"{tmp_path}/images"
    assert conf.glance_store.filesystem_store_file_perm == 640
    assert [*unknown_options(conf, "glance-api")] == []
    named = f"[DEFAULT]\nenabled_backends = a:file\nfilesystem_store_datadir = {tmp_path}/images\n"
    [store] = Stores.from_config(load(tmp_path, named)).all()
    assert store.details()["data_dir"] == "/var/lib/glance/a"


@pytest.mark.parametrize(("program", "text"), [("glance-api", API_OF_2014), ("glance-registry", REGISTRY_OF_2014)])
def test_the_files_of_2014_mean_what_they_meant(tmp_path: Path, program: str, text: str) -> None:
    conf = load(tmp_path, text, program)
    require_valid(conf)
    require_closed_door(conf)
    assert conf.debug is True
    url = database_url(conf.database.connection)
    assert (url.drivername, url.username, url.password, url.host, url.database) == (
        "mysql+pymysql",
        "root",
        "123work",
        "localhost",
        "glance",
    )
    assert conf.paste_deploy.flavor == ""
    assert log.log_path(conf) == f"/var/log/glance/{'api' if program == 'glance-api' else 'registry'}.log"
    assert conf.bind_port == (9292 if program == "glance-api" else 9191)
    said = list(unknown_options(conf, program))
    assert {finding.level for finding in said} == {"warning"}, said
    assert any("image_cache_dir belongs to a feature" in finding.sentence for finding in said)
    assert all(finding.level == "warning" or "not there" in finding.sentence for finding in findings(conf, program))


def test_the_store_of_2014_is_the_file_store(tmp_path: Path) -> None:
    [store] = Stores.from_config(load(tmp_path, API_OF_2014)).all()
    assert store.details()["data_dir"] == "/var/lib/glance/images"


# ---- options without effect -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[DEFAULT]\nwokers = 2", "[DEFAULT] wokers is not an option (did you mean [DEFAULT] workers?)"),
        ("[DEFAULT]\nregistry_hots = h", "did you mean [DEFAULT] registry_host?"),
        ("[glance_store]\nfilesystem_store_dataddir = /x", "did you mean [glance_store] filesystem_store_datadir?"),
        ("[DEFAULT]\nhttps_insecure = True", "did you mean [glance_store] https_insecure?"),
        ("[DEFAULT]\nflavor = http_basic", "did you mean [paste_deploy] flavor?"),
        ("[database]\nconection = sqlite:////x", "did you mean [database] connection?"),
        ("[DEFAULT]\nzzz = 1", "[DEFAULT] zzz is not an option; it has no effect"),
        ("[keystone_authtoken]\nauth_url = http://k", "belongs to a feature that this release does not have"),
        ("[glance_store]\nswift_store_user = x", "belongs to a feature that this release does not have"),
        ("[task]\nwhatever = x", "belongs to a feature that this release does not have"),
        # As distributions and deployment tools write it.
        ("[database]\nbackend = sqlalchemy", "belongs to a feature that this release does not have"),
        ("[database]\ndb_max_retries = -1", "belongs to a feature that this release does not have"),
        ("[DEFAULT]\nlogging_context_format_string = x", "belongs to a feature that this release does not have"),
    ],
)
def test_an_option_without_effect_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    (said,) = unknown_options(load(tmp_path, text), "glance-api")
    assert sentence in said.sentence
    assert str(tmp_path / "glance-api.conf") in said.sentence
    assert said.level == ("warning" if "this release" in sentence else "error")


@pytest.mark.parametrize(
    "text",
    [
        "[DEFAULT]\nsql_connection = sqlite:////x",
        "[database]\nsql_connection = sqlite:////x\nidle_timeout = 3",
        "[DEFAULT]\nsql_max_pool_size = 3\nsql_max_overflow = 4\nsql_max_retries = 5\nsql_retry_interval = 6",
        "[DEFAULT]\ndefault_store = file\nknown_stores = file",
        "[DEFAULT]\nlogfile = /x\nlogdir = /y",
        "[DEFAULT]\ndisk_formats = raw",
        "[DEFAULT]\nenabled_backends = a:file, b:http\n[a]\nfilesystem_store_datadir = /x\n[glance_store]\ndefault_backend = a",
    ],
)
def test_old_names_and_named_stores_are_known(tmp_path: Path, text: str) -> None:
    assert list(unknown_options(load(tmp_path, text), "glance-api")) == []


def test_every_option_of_the_sample_files_is_known(tmp_path: Path) -> None:
    for program in config.GROUPS:
        sample = Path(__file__).parents[2] / "etc" / f"{program}.conf.sample"
        lines = [re.sub(r"^#(?=\w+ =)", "", line) for line in sample.read_text().splitlines()]
        text = "\n".join(line for line in lines if "<not set>" not in line)
        assert list(unknown_options(load(tmp_path, text, program), program)) == []


def test_further_files_of_the_folder_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "more.d").mkdir()
    (tmp_path / "more.d" / "10.conf").write_text("[DEFAULT]\nwokers = 2\n")
    (tmp_path / "a.conf").write_text("")
    conf = config.load("glance-api", [str(tmp_path / "a.conf")], [str(tmp_path / "more.d")])
    assert len(list(unknown_options(conf, "glance-api"))) == 1


def test_a_file_that_is_named_has_its_own_folder_and_none_of_an_installed_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else `make run` and tests would work in the database of a service that this host has."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for folder, port in (("home/.glance/glance-api.conf.d", 1), ("my.conf.d", 2)):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.conf").write_text(f"[DEFAULT]\nbind_port = {port}\n")
    mine, other = (tmp_path / "my.conf", tmp_path / "other.conf")
    for file in (mine, other):
        file.write_text("[DEFAULT]\nworkers = 3\n")
    ports = [config.load("glance-api", files).bind_port for files in (None, [str(mine)], [str(other)])]
    assert ports == [1, 2, 9292]


# ---- the door -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "open_to_strangers"),
    [
        ("", False),
        ("bind_host = localhost", False),
        ("bind_host = 127.8.8.8", False),
        ("bind_host = ::1", False),
        ("bind_host = 0.0.0.0", True),
        ("bind_host = ::", True),
        ("bind_host = 192.0.2.1", True),
        ("bind_host = images.example.org", True),
        ("bind_host = 0.0.0.0\nallow_unauthenticated_access = True", False),
        ("bind_host = 0.0.0.0\n[paste_deploy]\nflavor = caching", True),
        ("bind_host = 0.0.0.0\n[paste_deploy]\nflavor = http_basic", False),
        ("bind_host = 0.0.0.0\n[paste_deploy]\nflavor = trusted-auth+caching", False),
    ],
)
def test_strangers_are_kept_out_where_nobody_is_asked(tmp_path: Path, text: str, open_to_strangers: bool) -> None:
    conf = load(tmp_path, f"[DEFAULT]\n{text}")
    if not open_to_strangers:
        require_closed_door(conf)
        return
    with pytest.raises(cfg.Error, match="allow_unauthenticated_access"):
        require_closed_door(conf)


@pytest.mark.parametrize(
    ("program", "flavors"), [("glance-api", "http_basic or trusted-auth"), ("glance-registry", "trusted-auth")]
)
def test_who_opens_the_door_is_told_the_flavors_of_this_server(tmp_path: Path, program: str, flavors: str) -> None:
    with pytest.raises(cfg.Error, match=f"Set flavor to {flavors}, or bind_host"):
        require_closed_door(load(tmp_path, "[DEFAULT]\nbind_host = ::", program))


def test_sockets_that_are_open_already_count_by_their_address(tmp_path: Path) -> None:
    conf = load(tmp_path, "[DEFAULT]\nbind_host = 127.0.0.1")
    require_closed_door(conf, [("127.0.0.1", 1), ("::1", 1, 0, 0), "/run/socket"])
    with pytest.raises(cfg.Error):
        require_closed_door(conf, [("127.0.0.1", 1), ("0.0.0.0", 1)])  # noqa: S104 - that is what must be refused


def test_a_name_is_not_taken_for_loopback() -> None:
    assert [is_loopback(host) for host in ("localhost", "[::1]", "127.0.0.1", "localhost.example.org")] == [
        True,
        True,
        True,
        False,
    ]


# ---- config check ---------------------------------------------------------------------------------------------


@pytest.fixture
def good(tmp_path: Path) -> str:
    return f"[database]\nconnection = sqlite:///{tmp_path}/x.db\n[glance_store]\nfilesystem_store_datadir = {tmp_path}\n"


def check(tmp_path: Path, text: str, program: str = "glance-api") -> list[Finding]:
    return list(findings(load(tmp_path, text, program), program))


def test_nothing_is_said_about_a_good_file(tmp_path: Path, good: str) -> None:
    assert check(tmp_path, good) == []


@pytest.mark.parametrize(
    ("text", "level", "sentence"),
    [
        ("[DEFAULT]\nwokers = 2", "error", "workers"),
        ("[DEFAULT]\nimage_cache_dir = /x", "warning", "image_cache_dir"),
        ("[DEFAULT]\nbind_host = 0.0.0.0", "error", "allow_unauthenticated_access"),
        ("[DEFAULT]\nbind_host = 0.0.0.0\nallow_unauthenticated_access = True", "warning", "administrator"),
        ("[DEFAULT]\nlog_file = /nowhere/at/all/api.log", "error", "/nowhere/at/all is not there"),
        ("[DEFAULT]\nlog_file = api.log", "error", "log_dir"),
        ("[DEFAULT]\nenable_v1_api = False\nenable_v2_api = False", "error", "nothing would be served"),
        ("[DEFAULT]\npublic_endpoint = images.example.org", "error", "https://HOST"),
        ("[DEFAULT]\nlimit_param_default = 2000", "warning", "api_limit_max"),
        ("[DEFAULT]\nowner_is_tenant = False", "warning", "owner_is_tenant"),
        ("[DEFAULT]\ndefault_store = swift", "error", "default_store"),
        ("[DEFAULT]\nenabled_backends = a:tape", "error", "enabled_backends"),
        ("[glance_store]\nfilesystem_store_file_perm = 999", "error", "like 640"),
        ("[glance_store]\nhttp_allowed_networks = inside", "error", "'inside' does not appear to be an IPv4 or IPv6 network"),
        ("[image_format]\ndisk_formats = raw,qcow", "warning", "did you mean qcow2?"),
        ("[api]\nsendfile_header = X-Accel-Redirect", "error", "X-Accel-Redirect:/PREFIX"),
        ("[database]\nconnection = postgresql://u:p@h/g", "error", "postgresql"),
        ("[database]\nconnection = mysql://u:p@localhost", "error", "names no database"),
        ("[database]\nconnection = mysql://u@localhost/g", "warning", "no password"),
        ("[database]\nconnection = mysql://u:p@db.example.org/g", "warning", "ssl_ca"),
        ("[database]\nconnection = sqlite:////nowhere/x.db", "error", "/nowhere is not there"),
        ("[database]\nconnection = sqlite:////etc", "error", "is a folder"),
        ("[database]\nconnection = sqlite:///x.db", "error", "write the whole path"),
        ("[glance_store]\nfilesystem_store_datadir = /etc/hostname", "error", "no folder"),
        ("[paste_deploy]\nflavor = keystone", "error", "Keystone"),
        ("[paste_deploy]\nflavor = caching", "warning", "no cache"),
        ("[paste_deploy]\nflavor = trusted-auth\n[trusted_auth]\ntrusted_addresses = 0.0.0.0/0", "error", "everybody"),
        (
            "[paste_deploy]\nflavor = http_basic\n[oslo_middleware]\nhttp_basic_auth_user_file = /nowhere",
            "warning",
            "image-manage user add",
        ),
        ("[DEFAULT]\ndata_api = registry\n[registry_link]\nsecret_file = /nowhere", "warning", "registry-secret"),
        ("[DEFAULT]\ndata_api = glance.db.registry.api", "warning", "does not know the password"),
    ],
)
def test_a_finding_names_the_fix(tmp_path: Path, good: str, text: str, level: str, sentence: str) -> None:
    found = check(tmp_path, f"{good}{text}\n")
    assert any(finding.level == level and sentence in finding.sentence for finding in found), found


@pytest.mark.parametrize(
    "text",
    [
        "[DEFAULT]\nworkers = many",
        "[DEFAULT]\nworkers = 0",
        "[DEFAULT]\nuser_storage_quota = 5XB",
        "[DEFAULT]\nbind_port = 99999",
        "[DEFAULT]\nbacklog = 9999999999",
        "[DEFAULT]\nhashing_algorithm = sha51",
        "[DEFAULT]\nhashing_algorithm = shake_128",
        "[DEFAULT]\ndata_api = nowhere",
    ],
)
def test_a_value_that_is_not_allowed_is_an_error(tmp_path: Path, good: str, text: str) -> None:
    found = check(tmp_path, f"{good}{text}\n")
    name = text.rpartition("\n")[2].partition(" ")[0]
    assert any(finding.level == "error" and name in finding.sentence for finding in found), found


def test_all_values_that_are_not_allowed_are_named(tmp_path: Path) -> None:
    conf = load(tmp_path, "[DEFAULT]\nbind_port = abc\n[paste_deploy]\nflavor = pa$word\n[database]\nmax_pool_size = x\n")
    with pytest.raises(cfg.Error) as caught:
        require_valid(conf)
    for name in ("[DEFAULT] bind_port", "[paste_deploy] flavor", "[database] max_pool_size"):
        assert f"{name} is not allowed: " in str(caught.value)
    assert "LocationInfo" not in str(caught.value)
    assert [finding.level for finding in findings(conf, "glance-api")] == ["error"] * 3


def test_passwords_that_everybody_can_read_are_found(tmp_path: Path) -> None:
    text = f"[database]\nconnection = mysql://u:hidden@localhost/glance\n[glance_store]\nfilesystem_store_datadir = {tmp_path}\n"
    conf = load(tmp_path, text)
    file = tmp_path / "glance-api.conf"
    file.chmod(0o644)
    found = list(findings(conf, "glance-api"))
    assert [finding.level for finding in found] == ["error"]
    assert f"chmod 0640 {file}" in found[0].sentence
    assert "hidden" not in found[0].sentence
    file.chmod(0o640)
    assert list(findings(conf, "glance-api")) == []


def test_image_registry_has_no_passwords_of_users(tmp_path: Path) -> None:
    text = f"[database]\nconnection = sqlite:///{tmp_path}/x.db\n[paste_deploy]\nflavor = http_basic\n"
    assert any(
        finding.level == "error" and "trusted-auth" in finding.sentence for finding in check(tmp_path, text, "glance-registry")
    )


def test_whose_file_it_is_shows_in_its_name() -> None:
    assert program_of(["a/glance-registry.conf"]) == "glance-registry"
    assert program_of(["registry/glance-api.conf"]) == "glance-api"


@pytest.mark.parametrize(
    ("text", "words", "code"),
    [
        ("", [], 0),
        ("[DEFAULT]\nimage_cache_dir = /x", [], 0),
        ("[DEFAULT]\nimage_cache_dir = /x", ["--strict"], 1),
        ("[DEFAULT]\nwokers = 2", [], 1),
        ("[DEFAULT]\nworkers = many", [], 1),
        ("no option at all", [], 2),
        ("[DEFAULT]\nadmin_role = pa$word", [], 1),
        ("", ["--config-dir", "/nowhere"], 2),
    ],
)
def test_the_exit_code_says_whether_the_service_can_start(
    tmp_path: Path, good: str, text: str, words: list[str], code: int
) -> None:
    (tmp_path / "glance-api.conf").write_text(f"{good}{text}\n")
    command: list[str | Path] = [BIN / "image-manage", "config", "check", *words, tmp_path / "glance-api.conf"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_not_there_is_a_wrong_argument(tmp_path: Path) -> None:
    done = subprocess.run(
        [BIN / "image-manage", "config", "check", tmp_path / "no.conf"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no.conf" in done.stderr


def test_the_page_of_options_is_current() -> None:
    assert PAGE.read_text() == page(PAGE.read_text()), "run `make samples`"
    assert all(
        f"`{option.dest}`" in PAGE.read_text() for groups in config.GROUPS.values() for some in groups.values() for option in some
    )


@pytest.mark.parametrize("password", ["$word", "pa$wo.rd", "pa$database"])
def test_a_dollar_sign_in_a_password_is_named_and_nothing_of_it_told(tmp_path: Path, password: str) -> None:
    conf = load(tmp_path, f"[database]\nconnection = mysql://glance:{password}@localhost/glance\n")
    [finding] = findings(conf, "glance-api")
    assert re.match(r"\[database\] connection .*\$\$", finding.sentence)
    assert password.partition("$")[2].partition(".")[0] not in finding.sentence.replace("[database] connection", "")
    command: list[str | Path] = [BIN / "image-manage", "--config-file", tmp_path / "glance-api.conf", "db", "version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, "Traceback" in done.stderr, "word" in done.stderr) == (2, False, False)


@pytest.mark.parametrize("program", ["glance-api", "glance-registry"])
def test_the_sample_files_hold_no_password(tmp_path: Path, program: str) -> None:
    sample = Path("etc", f"{program}.conf.sample").read_text()
    conf = load(tmp_path, f"{sample}\n[database]\nconnection = sqlite:///{tmp_path}/x.db\n", program)
    (tmp_path / f"{program}.conf").chmod(0o644)
    assert [found.sentence for found in findings(conf, program) if "password" in found.sentence] == []


@pytest.mark.parametrize(
    ("place", "without_tls"),
    [
        ("127.0.0.1", True),
        ("localhost:3307", True),
        ("[::1]", True),
        ("192.0.2.1", False),
        ("db.example.org", False),
    ],
)
def test_a_database_on_this_host_is_asked_without_tls_where_nobody_wants_it(place: str, without_tls: bool) -> None:
    url = database_url(f"mysql://glance@{place}/glance")
    assert mysql_arguments(url, None).get("ssl_disabled", False) is without_tls
    for wanted in (mysql_arguments(url, "/ca.pem"), mysql_arguments(url.update_query_dict({"ssl_verify_cert": "false"}), None)):
        assert "ssl_disabled" not in wanted
