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
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bcrypt
import orjson
from oslo_config import cfg

from image_service import config
from image_service.api.middleware.identities import LONGEST_PASSWORD, parse_identities
from image_service.errors import Conflict, InvalidValue, NotFound

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

SHORTEST_PASSWORD = 8


def add_user_commands(subparsers: Subparsers) -> None:
    """Add ``user add``, ``passwd``, ``disable``, ``enable``, ``list``."""
    parser = subparsers.add_parser("user", help="users of flavor http_basic")
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = commands.add_parser("add", help="a new user; the password is asked for, or read from standard input")
    add.add_argument("name")
    add.add_argument("--project", help="owns what the user creates; default: the user's name")
    add.add_argument("--role", action="append", help="may be repeated; default: member; the role admin makes an administrator")
    add.set_defaults(handler=_add)
    for word, handler, text in (
        ("passwd", _passwd, "a new password"),
        ("disable", _disable, "the user may not log in any more"),
        ("enable", _enable, "the user may log in again"),
    ):
        command = commands.add_parser(word, help=text)
        command.add_argument("name")
        command.set_defaults(handler=handler)
    commands.add_parser("list", help="all users").set_defaults(handler=_list)


class UserFiles:
    """Both files, while nobody else changes them."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._password_path = Path(conf.oslo_middleware.http_basic_auth_user_file)
        self._identity_path = Path(conf.http_basic.identity_file)
        self.lines: list[str] = _read(self._password_path).splitlines()
        self.identities: dict[str, Any] = orjson.loads(_read(self._identity_path) or "{}")
        parse_identities(orjson.dumps(self.identities).decode())

    def names(self) -> list[str]:
        """Users that have a password."""
        return [line.partition(":")[0] for line in self.lines if ":" in line and not line.startswith("#")]

    def set_password(self, name: str, password: bytes) -> None:
        """Replace or add the line of ``name``."""
        line = f"{name}:{bcrypt.hashpw(password, bcrypt.gensalt(12)).decode()}"
        if name in self.names():
            self.lines = [line if old.partition(":")[0] == name else old for old in self.lines]
        else:
            self.lines.append(line)

    def write(self) -> None:
        """Identities first: a user who can log in must have his project."""
        identities = orjson.dumps(self.identities, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
        _replace(self._identity_path, identities + b"\n")
        _replace(self._password_path, "".join(f"{line}\n" for line in self.lines).encode())


@contextlib.contextmanager
def _files(args: argparse.Namespace) -> Iterator[UserFiles]:
    conf = config.load("glance-api", args.config_file, args.config_dir)
    folder = os.open(Path(conf.oslo_middleware.http_basic_auth_user_file).parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        try:
            yield UserFiles(conf)
        except ValueError as error:
            raise InvalidValue(f"{conf.http_basic.identity_file}: {error}") from error
    finally:
        os.close(folder)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _replace(path: Path, content: bytes) -> None:
    """Put a new file in the place of the old one, with its owner and mode; where there was none, the folder's group and 0640."""
    like = path.stat() if path.exists() else None
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            owner, group = (like.st_uid, like.st_gid) if like else (-1, path.parent.stat().st_gid)
            with contextlib.suppress(PermissionError):
                os.fchown(file.fileno(), owner, group)
            os.fchmod(file.fileno(), like.st_mode & 0o640 if like else 0o640)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _add(args: argparse.Namespace) -> int:
    _check_name(args.name)
    roles = [role.lower() for role in args.role or ["member"]]
    with _files(args) as files:
        if args.name in files.names():
            raise Conflict(f"There is a user {args.name} already. A new password: image-manage user passwd {args.name}")
        files.set_password(args.name, _ask_password(args.name))
        files.identities[args.name] = {"project": args.project or args.name, "roles": roles}
        files.write()
    print(f"User {args.name} was added: project {args.project or args.name}, roles {', '.join(roles)}")
    return 0


def _passwd(args: argparse.Namespace) -> int:
    with _files(args) as files:
        _require(files, args.name)
        files.set_password(args.name, _ask_password(args.name))
        files.write()
    print(f"User {args.name} has a new password")
    return 0


def _disable(args: argparse.Namespace) -> int:
    return _switch(args, disabled=True)


def _enable(args: argparse.Namespace) -> int:
    return _switch(args, disabled=False)


def _switch(args: argparse.Namespace, *, disabled: bool) -> int:
    with _files(args) as files:
        _require(files, args.name)
        files.identities.setdefault(args.name, {})["disabled"] = disabled
        files.write()
    print(f"User {args.name} is {'disabled' if disabled else 'enabled'}")
    return 0


def _list(args: argparse.Namespace) -> int:
    with _files(args) as files:
        for name in sorted(files.names()):
            entry = files.identities.get(name, {})
            state = "disabled" if entry.get("disabled") else "enabled"
            print(f"{name}\t{entry.get('project') or '-'}\t{','.join(entry.get('roles', [])) or '-'}\t{state}")
    return 0


def _require(files: UserFiles, name: str) -> None:
    if name not in files.names():
        raise NotFound(f"There is no user {name}. image-manage user list names them all")


def _check_name(name: str) -> None:
    if not name or ":" in name or name.startswith("#") or not name.isprintable() or name != name.strip():
        raise InvalidValue(
            "A user's name must not be empty, begin with #, or hold colons, control characters, or blanks at an end."
        )


def _ask_password(name: str) -> bytes:
    """From the terminal, twice; else the first line of standard input. ``InvalidValue`` for one that is no good."""
    if sys.stdin.isatty():
        password = getpass.getpass(f"Password of {name}: ")
        if getpass.getpass("Again: ") != password:
            raise InvalidValue("The two passwords are not the same.")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    encoded = password.encode()
    if len(password) < SHORTEST_PASSWORD or len(encoded) > LONGEST_PASSWORD or b"\0" in encoded:
        raise InvalidValue(
            f"A password must have at least {SHORTEST_PASSWORD} characters, and at most {LONGEST_PASSWORD} bytes:"
            " bcrypt reads no more."
        )
    return encoded
