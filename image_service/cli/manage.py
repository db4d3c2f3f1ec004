"""``image-manage``: everything an administrator does beside the API. Here are the words; the ``manage_*`` modules do the work.

Exit codes: 0 done, 1 it failed, 2 wrong arguments or configuration; ``db check`` has 3, 4 and 5 besides.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from image_service import config
from image_service.cli.command import make_parser, run
from image_service.model import MAX_NAME

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_DB_STEPS = {
    "sync": "create the schema, or bring it to this release (expand, contract)",
    "upgrade": "the same as sync",
    "version": "print what is applied",
    "check": "say which step is next: exit code 0 none, 3 expand, 4 migrate, 5 contract",
    "expand": "add what this release needs; the release before keeps running",
    "migrate": "move data, while both releases run",
    "contract": "remove what this release no longer reads",
}
_OLD_SPELLINGS = ("db_sync", "db_upgrade", "db_version")
_LARGEST_AGE = 365_000


def main() -> None:
    """Run one command; ends the process."""
    args = _parser().parse_args(modern(sys.argv[1:]))
    # Only the module that is asked for is imported: the database's are large.
    module, _, function = args.handler.partition(":")
    handler: Callable[[argparse.Namespace], int | None] = getattr(import_module(f"image_service.cli.{module}"), function)
    run("image-manage", lambda: handler(args))


def modern(words: Sequence[str]) -> list[str]:
    """glance-manage's old spelling ``db_sync`` is ``db sync``."""
    return [part for word in words for part in (word.split("_", 1) if word in _OLD_SPELLINGS else [word])]


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("image-manage", "Administers the image service.", "glance-api")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_db(_group(commands, "db", "manage_db:run", "the schema of the registry's database"))
    _add_user(_group(commands, "user", "manage_user:run", "users of flavor http_basic"))
    _add_check(_group(commands, "config", "manage_config:check_config", "look at the configuration"))
    verify = commands.add_parser("verify", help="read images back and compare them with their hashes")
    verify.set_defaults(handler="manage_verify:run")
    sample_help = "only a random part of the images, like 10%%; default: all"
    verify.add_argument("--sample", metavar="N%", type=_share, default=1.0, help=sample_help)
    secret = commands.add_parser("registry-secret", help="make the secret that image-api and image-registry share")
    secret.set_defaults(handler="manage_config:make_secret_file")
    secret.add_argument("file", nargs="?", help="default: [registry_link] secret_file")
    return parser


def _group(commands: Subparsers, name: str, handler: str, text: str) -> Subparsers:
    """A command that has actions, all of which ``handler`` (MODULE:FUNCTION) does."""
    group = commands.add_parser(name, help=text)
    group.set_defaults(handler=handler)
    return group.add_subparsers(dest="action", metavar="ACTION", required=True)


def _add_db(actions: Subparsers) -> None:
    for name, text in _DB_STEPS.items():
        actions.add_parser(name, help=text, description=text)
    text = "erase what the rows of deleted images still say; an id is never given out again"
    purge = actions.add_parser("purge", help=text, description=text)
    purge.add_argument("--age_in_days", "--age-in-days", type=days, default=30, metavar="DAYS", help="only older ones (30)")
    purge.add_argument("--max_rows", "--max-rows", type=rows, default=100, metavar="ROWS", help="at most; -1: all (100)")


def _add_user(actions: Subparsers) -> None:
    add = actions.add_parser("add", help="a new user; the password is asked for, or read from standard input")
    add.add_argument("--project", type=printable, help="owns what the user creates; default: the user's name")
    add.add_argument(
        "--role", type=role, action="append", help="may be repeated; default: member; the role admin makes an administrator"
    )
    passwd = actions.add_parser("passwd", help="a new password")
    disable = actions.add_parser("disable", help="the user may not log in any more")
    enable = actions.add_parser("enable", help="the user may log in again")
    add.add_argument("name", type=user_name)
    for action in (passwd, disable, enable):
        action.add_argument("name")
    actions.add_parser("list", help="all users")


def _add_check(actions: Subparsers) -> None:
    check = actions.add_parser("check", help="say what is wrong with a configuration, and what to do")
    check.add_argument("file", nargs="?", help="default: the file that image-api would read")
    check.add_argument("--program", choices=list(config.GROUPS), help="whose file it is; default: as its name says")
    check.add_argument("--strict", action="store_true", help="a warning counts as an error")


def user_name(text: str) -> str:
    """``argparse.ArgumentTypeError`` for what no line of a password file can begin with."""
    if not text or ":" in text or text.startswith("#") or text != printable(text).strip():
        raise argparse.ArgumentTypeError("must not be empty, begin with #, or hold colons or blanks at an end")
    return text


def role(text: str) -> str:
    if not text.strip() or "," in text:
        raise argparse.ArgumentTypeError("must be one role: give --role again for another")
    return printable(text)


def printable(text: str) -> str:
    if not text.isprintable():
        raise argparse.ArgumentTypeError("must not hold control characters, or bytes that are no UTF-8")
    if len(text) > MAX_NAME:
        raise argparse.ArgumentTypeError(f"must not have more than {MAX_NAME} characters: no image could have such an owner")
    return text


def days(text: str) -> int:
    days = int(text)
    if not 0 <= days <= _LARGEST_AGE:
        raise argparse.ArgumentTypeError(f"must be 0 to {_LARGEST_AGE}")
    return days


def rows(text: str) -> int:
    rows = int(text)
    if rows < -1 or rows == 0:
        raise argparse.ArgumentTypeError("must be 1 or more, or -1 for all")
    return rows


def _share(text: str) -> float:
    """``10%`` as 0.1."""
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = 0
    if not 0 < percent <= 100:
        raise argparse.ArgumentTypeError(f"{text} is no percentage: give one above 0 and up to 100, like 10%.")
    return percent / 100
