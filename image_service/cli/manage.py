"""``image-manage``: everything an administrator does beside the API. Here is only who does what; see the ``manage_*`` modules.

Exit codes: 0 done, 1 it failed, 2 wrong arguments or configuration; ``db check`` has 3, 4 and 5 besides.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from oslo_config import cfg

from image_service import __version__
from image_service.errors import ImageServiceError
from image_service.serving.arguments import add_config_arguments

# Command -> module and function that adds it. Only the one that is asked for is imported: the database's are large.
_COMMANDS = {
    "db": "manage_db:add_db_commands",
    "verify": "manage_verify:add_verify_command",
    "config": "manage_config:add_config_commands",
    "user": "manage_user:add_user_commands",
    "registry-secret": "manage_config:add_secret_command",
}

_OLD_SPELLINGS = ("db_sync", "db_upgrade", "db_version")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; ends the process."""
    words = modern(sys.argv[1:] if arguments is None else arguments)
    args = _parser(words).parse_args(words)
    try:
        sys.exit(args.handler(args))
    except cfg.Error as error:
        _fail(str(error), 2)
    except ImageServiceError as error:
        _fail(error.message, 1)
    except OSError as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        sys.exit(130)


def modern(words: Sequence[str]) -> list[str]:
    """glance-manage's old spelling ``db_sync`` is ``db sync``."""
    return [part for word in words for part in (word.split("_", 1) if word in _OLD_SPELLINGS else [word])]


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="image-manage", description="Administers the image service.")
    parser.add_argument("--version", action="version", version=__version__)
    add_config_arguments(parser, "glance-api")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    asked = [name for name in _COMMANDS if name in words]
    for name in asked or _COMMANDS:
        module, _, function = _COMMANDS[name].partition(":")
        add: Callable[[Any], None] = getattr(import_module(f"image_service.cli.{module}"), function)
        add(subparsers)
    return parser


def _fail(sentence: str, code: int) -> None:
    print(f"image-manage: {sentence}", file=sys.stderr)
    sys.exit(code)
