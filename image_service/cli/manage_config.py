"""``image-manage config check`` and ``image-manage registry-secret``.

Exit codes of ``config check``: 0 the service can start with it (warnings may be printed), 1 it could not, or not safely, 2 the
file cannot be read.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from oslo_config import cfg

from image_service import config
from image_service.cli.config_findings import Finding, findings
from image_service.registry.secret import make_secret

_REGISTRYS_LINE = re.compile(r"^[ \t]*(bind_port[ \t]*=[ \t]*9191[ \t]*$|log_file[ \t]*=.*registry)", re.MULTILINE)


def check_config(args: argparse.Namespace) -> int:
    """Print what there is to say; the exit code."""
    files = [args.file] if args.file else args.config_file
    program = args.program or program_of(files)
    try:
        conf = config.load(program, files, args.config_dir)
        found = list(findings(conf, program))
    except cfg.ConfigFileValueError as error:
        found = [Finding("error", str(error))]
    for finding in found:
        print(f"{finding.level}: {finding.sentence}", file=sys.stderr if finding.level == "error" else sys.stdout)
    errors = sum(finding.level == "error" or args.strict for finding in found)
    names = ", ".join(files or config.load(program).config_file or []) or "no file, defaults only"
    print(f"{program} ({names}): {errors} errors, {len(found) - errors} warnings")
    return 1 if errors else 0


def program_of(files: list[str] | None) -> str:
    """Whose a file is: a check before the file gets its name (Ansible's ``validate``) has only its content to go by."""
    return "glance-registry" if any(_is_registrys(Path(name)) for name in files or []) else "glance-api"


def _is_registrys(path: Path) -> bool:
    if "registry" in path.name:
        return True
    if path.name.startswith("glance-api") or not path.exists():
        return False
    return bool(_REGISTRYS_LINE.search(path.read_text(encoding="utf-8", errors="replace")))


def make_secret_file(args: argparse.Namespace) -> int:
    """Make the secret of image-api and image-registry; the exit code."""
    path = args.file or config.load("glance-api", args.config_file, args.config_dir).registry_link.secret_file
    try:
        make_secret(path)
    except FileExistsError:
        print(f"{path} exists. Remove it first if image-api and image-registry shall get a new secret.", file=sys.stderr)
        return 1
    print(f"{os.path.abspath(path)} was made; copy it to every host of image-api and image-registry")
    return 0
