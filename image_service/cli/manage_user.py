"""``image-manage user``: the users of flavor http_basic, in the two files that the configuration names.

A password comes from the terminal, or from standard input (its first line), never from the command line, where everybody on the
host reads it. Files are replaced in one step; running servers notice.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import getpass
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bcrypt
import orjson
from oslo_config import cfg

from image_service import config
from image_service.api.middleware.http_basic import LONGEST_PASSWORD, parse_identities, parse_passwords
from image_service.durable import fsync_folder
from image_service.errors import Conflict, InvalidValue, NotFound

SHORTEST_PASSWORD = 8


def run(args: argparse.Namespace) -> None:
    """Do ``args.action``. The files are changed while no other command changes them, but nobody waits for who types."""
    conf = config.load("glance-api", args.config_file, args.config_dir)
    files = UserFiles(conf)
    if args.action == "list":
        _list(files)
        return
    _require_possible(files, args)
    hashed = bcrypt.hashpw(_ask_password(args.name), bcrypt.gensalt(12)).decode() if args.action in ("add", "passwd") else ""
    folder = os.open(files.folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        files = UserFiles(conf)
        _require_possible(files, args)
        said = _change(files, args, hashed)
        files.write()
        print(said)
    finally:
        os.close(folder)


def _require_good(path: Path, content: bytes, parse: Callable[[str], object]) -> None:
    try:
        parse(content.decode())
    except ValueError as error:
        raise InvalidValue(f"{path}: {error}") from error


class UserFiles:
    """Both files as they are now. ``InvalidValue`` where they cannot be."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        # Of a link, what it leads to.
        self._password_path = Path(conf.oslo_middleware.http_basic_auth_user_file).resolve()
        self._identity_path = Path(conf.http_basic.identity_file).resolve()
        self.folder = self._password_path.parent
        if not self.folder.is_dir():
            sentence = f"There is no folder {self.folder}: make it, or name the configuration with --config-file"
            raise InvalidValue(f"{sentence} ([oslo_middleware] http_basic_auth_user_file).")
        passwords = self._password_path.read_bytes() if self._password_path.exists() else b""
        identities = (self._identity_path.read_bytes() if self._identity_path.exists() else b"") or b"{}"
        # What the service cannot read it does not use: nobody shall think that his change counts.
        _require_good(self._password_path, passwords, parse_passwords)
        _require_good(self._identity_path, identities, parse_identities)
        self.lines = passwords.decode().splitlines()
        self.identities: dict[str, Any] = orjson.loads(identities)

    def names(self) -> list[str]:
        """Users that have a password."""
        return [line.partition(":")[0] for line in self.lines if ":" in line and not line.startswith("#")]

    def set_password(self, name: str, hashed: str) -> None:
        """Replace or add the line of ``name``."""
        line = f"{name}:{hashed}"
        if name in self.names():
            self.lines = [line if old.partition(":")[0] == name else old for old in self.lines]
        else:
            self.lines.append(line)

    def write(self) -> None:
        """Identities first: a user who can log in must have his project."""
        identities = orjson.dumps(self.identities, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
        _replace(self._identity_path, identities + b"\n")
        _replace(self._password_path, "".join(f"{line}\n" for line in self.lines).encode())


def _replace(path: Path, content: bytes) -> None:
    """Put a new file in the place of the old one, with its owner and mode; where there was none, the folder's group and 0640."""
    like = path.stat() if path.exists() else None
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder, open(f"{folder}/new", "xb") as file:
        owner, group = (like.st_uid, like.st_gid) if like else (-1, path.parent.stat().st_gid)
        with contextlib.suppress(PermissionError):
            os.fchown(file.fileno(), owner, group)
        os.fchmod(file.fileno(), like.st_mode & 0o640 if like else 0o640)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        Path(file.name).replace(path)
        fsync_folder(path.parent)


def _require_possible(files: UserFiles, args: argparse.Namespace) -> None:
    """``NotFound`` or ``Conflict`` unless ``args`` can be done."""
    name = args.name
    if args.action != "add" and name not in files.names():
        raise NotFound(f"There is no user {name}. image-manage user list names them all")
    if args.action == "add" and name in files.names():
        raise Conflict(f"There is a user {name} already; image-manage user passwd changes how he logs in")


def _change(files: UserFiles, args: argparse.Namespace, hashed: str) -> str:
    """Do it; what is to be said of it."""
    name = args.name
    if hashed:
        files.set_password(name, hashed)
    if args.action == "passwd":
        return f"User {name} has a new password"
    if args.action == "add":
        project, roles = args.project or name, [role.lower() for role in args.role or ["member"]]
        files.identities[name] = {"project": project, "roles": roles}
        return f"User {name} was added: project {project}, roles {', '.join(roles)}"
    files.identities.setdefault(name, {})["disabled"] = args.action == "disable"
    return f"User {name} is {args.action}d"


def _list(files: UserFiles) -> None:
    for name in sorted(files.names()):
        entry = files.identities.get(name, {})
        state = "disabled" if entry.get("disabled") else "enabled"
        print(f"{name}\t{entry.get('project') or '-'}\t{','.join(entry.get('roles', [])) or '-'}\t{state}")


def _ask_password(name: str) -> bytes:
    """From the terminal, twice; else the first line of standard input. ``InvalidValue`` for one that is no good."""
    if sys.stdin.isatty():
        try:
            encoded, again = (getpass.getpass(words).encode() for words in (f"Password of {name}: ", "Again: "))
        except (UnicodeError, EOFError):
            raise InvalidValue("No password was given, or one that is no UTF-8.") from None
        if again != encoded:
            raise InvalidValue("The two passwords are not the same.")
    else:
        encoded = sys.stdin.buffer.readline().rstrip(b"\r\n")
    if len(encoded.decode(errors="replace")) < SHORTEST_PASSWORD or len(encoded) > LONGEST_PASSWORD or b"\0" in encoded:
        limits = f"at least {SHORTEST_PASSWORD} characters, and at most {LONGEST_PASSWORD} bytes: bcrypt reads no more."
        raise InvalidValue(f"A password must have {limits}")
    return encoded
