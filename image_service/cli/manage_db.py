"""``image-manage db ...``: the schema of the registry's database, and what deleted images leave in it.

Exit codes: 0 done, 1 failed, 2 wrong arguments or configuration. ``db check``: 0 nothing to do, 3 expand, 4 migrate, 5 contract
is next.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

from oslo_config import cfg
from sqlalchemy import Connection

from image_service import config
from image_service.registry import schema, writes
from image_service.registry.engine import Database, open_database

# Contract D.5.
CHECK_CODES = {None: 0, "expand": 3, "contract": 5}
_MOVES = {"sync": (), "upgrade": (), "expand": ("expand",), "contract": ("contract",)}


def run(args: argparse.Namespace) -> int:
    """Do ``args.action`` with the database that the configuration names; the exit code."""
    database = asyncio.run(open_database(_load(args).database))
    try:
        return _purge(database, args.age_in_days, args.max_rows) if args.action == "purge" else _step(database, args.action)
    finally:
        database.close()


def _load(args: argparse.Namespace) -> cfg.ConfigOpts:
    """The configuration that names a database: the files that are given, else glance-registry.conf, else glance-api.conf."""
    conf = config.load("glance-registry", args.config_file, args.config_dir)
    found = args.config_file or conf.database.connection
    return conf if found else config.load("glance-api", args.config_file, args.config_dir)


def _step(database: Database, action: str) -> int:
    if action in _MOVES:
        changed = schema.sync(database, *_MOVES[action])
        print(
            f"The database is at {database.read(schema.version)}; {'it was changed' if changed else 'there was nothing to do'}."
        )
    elif action == "version":
        print(database.read(schema.version))
    elif action == "check":
        step = database.read(schema.next_step)
        print("The database is up to date." if step is None else f"Next: image-manage db {step}")
        return CHECK_CODES[step]
    else:
        print("This release has no data to move.")
    return 0


def _purge(database: Database, age_in_days: int, max_rows: int) -> int:
    database.read(schema.require_fit)
    wanted = max_rows if max_rows > 0 else 2**62
    purged, last = 0, ""

    def erase(connection: Connection) -> Sequence[str]:
        return writes.erase_deleted(connection, age_in_days, wanted - purged, after=last)

    while ids := database.write(erase):
        purged, last = purged + len(ids), ids[-1]
    print(f"{purged} deleted images were erased but for their ids.")
    return 0
