"""``image-manage config check`` and ``image-manage registry-secret``.

Exit codes of ``config check``: 0 the service can start with it (warnings may be printed), 1 it could not, or not safely, 2 the
file cannot be read.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from oslo_config import cfg

from image_service import config
from image_service.cli.config_findings import Finding, findings

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_config_commands(subparsers: Subparsers) -> None:
    """Add ``config check [FILE]``."""
    parser = subparsers.add_parser("config", help="look at the configuration")
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = commands.add_parser("check", help="say what is wrong with a configuration, and what to do")
    check.add_argument("file", nargs="?", help="default: the file that image-api would read")
    check.add_argument("--program", choices=list(config.GROUPS), help="whose file it is; default: as its name or content says")
    check.add_argument("--strict", action="store_true", help="a warning counts as an error")
    check.set_defaults(handler=check_config)


def add_secret_command(subparsers: Subparsers) -> None:
    """Add ``registry-secret``."""
    parser = subparsers.add_parser("registry-secret", help="make the secret that image-api and image-registry share")
    parser.add_argument("file", nargs="?", help="default: [registry_link] secret_file")
    parser.set_defaults(handler=_make_secret)


def check_config(args: argparse.Namespace) -> int:
    """Print what there is to say; the exit code."""
    files = [args.file] if args.file else args.config_file
    program = args.program or program_of(files)
    try:
        conf = config.load(program, files, args.config_dir)
        found = list(findings(conf, program))
    except cfg.ConfigFileValueError as error:
        found = [Finding("error", str(error))]
    _print(found)
    errors = sum(finding.level == "error" or args.strict for finding in found)
    names = ", ".join(files or _files_read(program)) or "no file, defaults only"
    print(f"{program} ({names}): {errors} errors, {len(found) - errors} warnings")
    return 1 if errors else 0


def _print(found: list[Finding]) -> None:
    for finding in found:
        print(f"{finding.level}: {finding.sentence}", file=sys.stderr if finding.level == "error" else sys.stdout)


def _files_read(program: str) -> list[str]:
    return list(config.load(program).config_file or [])


def program_of(files: list[str] | None) -> str:
    """Whose a file is: a check before the file gets its name (Ansible's ``validate``) has only its content to go by."""
    return "glance-registry" if any(_is_registrys(Path(name)) for name in files or []) else "glance-api"


def _is_registrys(path: Path) -> bool:
    if "registry" in path.name:
        return True
    if path.name.startswith("glance-api") or not path.exists():
        return False
    lines = list(_meaningful(path))
    return ("bind_port", "9191") in lines or any(name == "log_file" and "registry" in value for name, value in lines)


def _meaningful(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            yield name.strip(), value.strip()


def _make_secret(args: argparse.Namespace) -> int:
    from image_service.registry.secret import make_secret

    path = args.file or config.load("glance-api", args.config_file, args.config_dir).registry_link.secret_file
    try:
        make_secret(path)
    except FileExistsError:
        print(f"{path} exists. Remove it first if image-api and image-registry shall get a new secret.", file=sys.stderr)
        return 1
    print(f"{os.path.abspath(path)} was made; copy it to every host of image-api and image-registry")
    return 0
