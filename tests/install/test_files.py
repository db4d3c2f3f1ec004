"""Users, folders and files: owners and modes (OpenStack security checklist Image-01 and Image-02)."""

from __future__ import annotations

import pytest

from tests.install.conftest import Deployment, Server

SERVICE = pytest.mark.on("image_registry", "image_api")
FOLDERS = {
    "/etc/glance": ("root", "glance", 0o750),
    "/var/lib/glance": ("glance", "glance", 0o750),
    "/var/lib/glance/images": ("glance", "glance", 0o750),
    "/var/lib/glance/image-cache": ("glance", "glance", 0o750),
    "/var/lib/glance/scrubber": ("glance", "glance", 0o750),
    "/var/lib/glance/staging": ("glance", "glance", 0o750),
    "/var/log/glance": ("glance", "glance", 0o750),
    "/run/glance": ("glance", "glance", 0o750),
    "/opt/image-service": ("root", "root", 0o755),
    "/opt/image-service/releases": ("root", "root", 0o755),
}


@SERVICE
def test_the_user_cannot_log_in(server: Server) -> None:
    user = server.host.user("glance")
    assert user.shell == "/usr/sbin/nologin"
    assert user.group == "glance"
    assert user.uid < 1000
    assert user.password in ("!", "!!", "*", "!*")


@SERVICE
@pytest.mark.parametrize("path", FOLDERS)
def test_folders_are_closed(server: Server, path: str) -> None:
    folder = server.host.file(path)
    owner, group, mode = FOLDERS[path]
    assert folder.is_directory
    assert (folder.user, folder.group, oct(folder.mode & 0o777)) == (owner, group, oct(mode))


@SERVICE
def test_configuration_is_read_by_the_service_and_written_by_root(server: Server) -> None:
    listing = server.host.check_output("find /etc/glance -type f -printf '%u %g %m %p\\n'").splitlines()
    assert listing
    wrong = [line for line in listing if line.split()[:3] != ["root", "glance", "640"]]
    assert wrong == []


@SERVICE
def test_nobody_else_writes_the_program(server: Server) -> None:
    found = server.host.check_output(r"find /opt/image-service -not -type l \( -not -user root -o -perm /022 \)")
    assert found == ""


@SERVICE
def test_the_release_is_complete_and_current(server: Server) -> None:
    current = server.host.file("/opt/image-service/current")
    assert current.is_symlink
    assert server.host.file(f"{current.linked_to}/.complete").exists


@SERVICE
def test_no_rollback_is_under_way(server: Server) -> None:
    """The next one would go where that went."""
    assert not server.host.file("/opt/image-service/going-back").is_symlink


@SERVICE
def test_logs_are_rotated(server: Server) -> None:
    assert server.host.run("logrotate --debug /etc/logrotate.d/image-service").rc == 0


@pytest.mark.on("image_api")
def test_the_proxy_reads_images_and_no_secret(server: Server, deployment: Deployment) -> None:
    if not deployment.is_alone(server.name):
        pytest.skip("the proxy sends no files itself")
    assert server.host.run("runuser -u www-data -- ls /var/lib/glance/images").rc == 0
    assert server.host.run("runuser -u www-data -- ls /etc/glance").rc != 0
