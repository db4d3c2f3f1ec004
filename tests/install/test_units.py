"""Units: they run, they start at boot, and their sandboxes score."""

from __future__ import annotations

import re

import pytest

from tests.install.conftest import DEPLOYMENT, Server

MOST_EXPOSURE = 2.0
UNITS = {
    "image_registry": ["image-registry.service"],
    "image_api": ["image-api.service"],
    "image_database": ["mariadb.service"],
    "image_proxy": ["nginx.service"],
}
OURS = ("image-api.service", "image-registry.service", "image-scrubber.service")


def units(server: Server) -> list[str]:
    """The units that have to run on ``server``."""
    found = [unit for group in sorted(server.groups) for unit in UNITS[group]]
    if DEPLOYMENT is not None and server.name == DEPLOYMENT.groups["image_api"][0]:
        found.append("image-scrubber.timer")
    return found


def test_units_run_and_start_at_boot(server: Server) -> None:
    for unit in units(server):
        assert server.host.check_output(f"systemctl is-active {unit}") == "active"
        assert server.host.check_output(f"systemctl is-enabled {unit}") == "enabled"


def test_no_unit_has_failed(server: Server) -> None:
    failed = server.host.check_output("systemctl list-units --failed --plain --no-legend 'image-*' nginx* mariadb*")
    assert failed == ""


@pytest.mark.on("image_registry", "image_api")
def test_sandboxes(server: Server) -> None:
    ours = [unit for unit in OURS if server.host.file(f"/etc/systemd/system/{unit}").exists]
    assert ours
    scores = {}
    for unit in ours:
        report = server.host.check_output(f"systemd-analyze security --no-pager {unit}")
        found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", report)
        assert found, report
        scores[unit] = float(found.group(1))
    print(f"exposure on {server.name}: {scores}")
    assert max(scores.values()) <= MOST_EXPOSURE, scores


@pytest.mark.on("image_registry", "image_api")
def test_services_notify_and_are_accounted_for(server: Server) -> None:
    for unit in (unit for unit in units(server) if unit in OURS):
        shown = server.host.check_output(f"systemctl show {unit} -p Type,Restart,MemoryAccounting,User,LimitNOFILE")
        settings = dict(line.split("=", 1) for line in shown.splitlines())
        assert settings["Type"] == "notify"
        assert settings["Restart"] == "on-failure"
        assert settings["MemoryAccounting"] == "yes"
        assert settings["User"] == "glance"
        assert int(settings["LimitNOFILE"]) >= 16384


@pytest.mark.on("image_api")
def test_no_image_is_written_below_a_mount_that_is_not_there_yet(server: Server) -> None:
    for unit in ("image-api.service", "image-scrubber.service"):
        mounts = server.host.check_output(f"systemctl show {unit} --property=RequiresMountsFor --value")
        assert "/var/lib/glance/images" in mounts.split(), unit


@pytest.mark.on("image_api")
def test_a_restart_that_an_interrupted_run_owed_is_known_after_a_reload(server: Server) -> None:
    """Systemd knows the unit file already, and the process has read its configuration since."""
    server.host.check_output("sleep 2; touch /etc/systemd/system/image-api.service && systemctl daemon-reload; sleep 2")
    server.host.check_output("systemctl reload image-api")
    owed = server.host.check_output("/opt/image-service/bin/changed-since-start image-api /opt/image-service/current")
    server.host.check_output("systemctl restart image-api")
    assert owed == "the unit file of image-api"
    assert server.host.check_output("/opt/image-service/bin/changed-since-start image-api") == ""


@pytest.mark.on("image_api")
def test_the_scrubber_works_when_its_time_comes(server: Server) -> None:
    if server.host.run("systemctl is-enabled image-scrubber.timer").rc != 0:
        pytest.skip("another host runs the scrubber")
    done = server.host.run("systemctl start image-scrubber.service")
    assert done.rc == 0, done.stderr
