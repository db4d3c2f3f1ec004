"""``image-manage db ...``: the schema of the registry's database, and what deleted images leave in it.

Exit codes: 0 done, 1 failed, 2 wrong arguments or configuration. ``db check``: 0 nothing to do, 3 expand, 4
migrate, 5 contract is next.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from oslo_config import cfg

from image_service import config
from image_service.registry import purge, schema
from image_service.registry.engine import Database, connect_patiently

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

Handler = Callable[[argparse.Namespace], int]

# Contract D.5.
CHECK_CODES = {None: 0, "expand": 3, "migrate": 4, "contract": 5}
_LARGEST_AGE = 365_000


def add_db_commands(subparsers: Subparsers) -> None:
    """Add ``db``; ``handler`` among a parser's defaults runs it and returns the exit
    code.
    """
    commands = subparsers.add_parser("db", help="the schema of the registry's database").add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )
    for name, handler, text in (
        ("sync", _sync, "create the schema, or bring it to this release (expand, migrate, contract)"),
        ("upgrade", _sync, "the same as sync"),
        ("version", _version, "print what is applied"),
        ("check", _check, "say which step is next: exit code 0 none, 3 expand, 4 migrate, 5 contract"),
        ("expand", _expand, "add what this release needs; the release before keeps running"),
        ("migrate", _migrate, "move data, while both releases run"),
        ("contract", _contract, "remove what this release no longer reads"),
    ):
        commands.add_parser(name, help=text, description=text).set_defaults(handler=handler)
    _add_purge(commands)


def _add_purge(commands: Subparsers) -> None:
    text = "erase what the rows of deleted images still say; an id is never given out again"
    parser = commands.add_parser("purge", help=text, description=text)
    parser.add_argument("--age_in_days", "--age-in-days", type=_days, default=30, metavar="DAYS", help="only older ones (30)")
    parser.add_argument("--max_rows", "--max-rows", type=_rows, default=100, metavar="ROWS", help="at most; -1: all (100)")
    parser.set_defaults(handler=_purge)


def _days(text: str) -> int:
    days = int(text)
    if not 0 <= days <= _LARGEST_AGE:
        raise argparse.ArgumentTypeError(f"must be 0 to {_LARGEST_AGE}")
    return days


def _rows(text: str) -> int:
    rows = int(text)
    if rows < -1 or rows == 0:
        raise argparse.ArgumentTypeError("must be 1 or more, or -1 for all")
    return rows


def _load(args: argparse.Namespace) -> cfg.ConfigOpts:
    """The configuration that names a database:

    the files that are given, else glance-registry.conf, else glance-api.conf.
    """
    files, folders = args.config_file, getattr(args, "config_dir", None)
    conf = config.load("glance-registry", files, folders)
    return conf if files or conf.database.connection else config.load("glance-api", files, folders)


@contextmanager
def _database(args: argparse.Namespace) -> Iterator[Database]:
    options = _load(args).database
    try:
        database = Database.from_config(options)
    except ValueError as error:
        raise cfg.Error(str(error)) from error
    try:
        connect_patiently(database, options.max_retries, options.retry_interval)
        yield database
    finally:
        database.close()


def _sync(args: argparse.Namespace) -> int:
    with _database(args) as database:
        changed = schema.sync(database)
        found = database.read(schema.version)
        print(f"The database is at {found}; {'it was changed' if changed else 'nothing was to do'}.")
    return 0


def _version(args: argparse.Namespace) -> int:
    with _database(args) as database:
        print(database.read(schema.version))
    return 0


def _check(args: argparse.Namespace) -> int:
    with _database(args) as database:
        step = database.read(schema.next_step)
    print("The database is up to date." if step is None else f"Next: image-manage db {step}")
    return CHECK_CODES[step]


def _expand(args: argparse.Namespace) -> int:
    with _database(args) as database:
        schema.expand(database)
        print(f"The database is at {database.read(schema.version)}.")
    return 0


def _migrate(args: argparse.Namespace) -> int:
    with _database(args) as database:
        print(f"{schema.migrate(database)} rows were moved.")
    return 0


def _contract(args: argparse.Namespace) -> int:
    with _database(args) as database:
        try:
            schema.contract(database)
        except ValueError as error:
            print(error)
            return 1
        print(f"The database is at {database.read(schema.version)}.")
    return 0


def _purge(args: argparse.Namespace) -> int:
    left: int = args.max_rows if args.max_rows > 0 else 2**62
    purged = 0
    with _database(args) as database:
        while left > 0:
            count = database.write(lambda connection, most=left: purge.erase(connection, args.age_in_days, most))  # type: ignore[misc]
            if count == 0:
                break
            purged, left = purged + count, left - count
    print(f"{purged} deleted images were erased but for their ids.")
    return 0
