"""What the roles run in a shell."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

ROLES = Path(__file__).resolve().parents[2] / "roles"

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
    tasks = yaml.safe_load((ROLES / file).read_text(encoding="utf-8"))
    (found,) = [task for task in tasks if task["name"] == name]
    script: str = found["ansible.builtin.shell"]
    return script


@pytest.mark.parametrize(("stays", "image", "found"), [(True, True, False), (False, False, False), (False, True, True)])
def test_images_in_the_folder_of_before_are_found(tmp_path: Path, stays: bool, image: bool, found: bool) -> None:
    """Also beside stores with names, whose folders are not the role's."""
    before, conf = tmp_path / "before", tmp_path / "glance-api.conf"
    (before / "fast").mkdir(parents=True)
    conf.write_text(CONF.format(before=before))
    if image:
        (before / "image").touch()
    script = _script("image_api/tasks/preflight.yml", "Look for images in the folder of before")
    environment = {"CONF": str(conf), "STORE": str(before if stays else tmp_path / "now"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["/bin/sh", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{before}/image\n" if found else ""), done.stderr
