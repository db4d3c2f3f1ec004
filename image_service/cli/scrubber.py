"""``image-scrubber``: delayed deletes, what crashes left, and bytes and images that lost each other.

One pass, or with ``--daemon`` one every ``wakeup_time`` seconds. Exit codes: 0 all is well, 1 something could not be removed or
an active image has lost its bytes, 2 wrong arguments or configuration.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Never

from oslo_config import cfg

from image_service import config, log
from image_service.cli.command import make_parser, run
from image_service.errors import ImageServiceError
from image_service.model import Status
from image_service.operations import sweep
from image_service.registry.interface import Registry
from image_service.registry.opening import open_registry
from image_service.store.stores import Stores

NAME = "image-scrubber"


def main() -> None:
    """Run; ends the process."""
    parser = make_parser(NAME, "Removes what deletes and crashes left in the stores, and reports lost data.", "glance-api")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, change nothing")
    parser.add_argument("--daemon", action="store_true", help="one pass every wakeup_time seconds, until SIGTERM")
    trust_help = "remove bytes of unknown images even where most of a store is unknown (else a wrong database would empty it)"
    parser.add_argument("--trust-registry", action="store_true", help=trust_help)
    args = parser.parse_args()

    def scrub() -> int:
        conf = config.load("glance-api", args.config_file, args.config_dir)
        log.setup(conf, NAME)
        return asyncio.run(_run(conf, args))

    run(NAME, scrub)


async def _run(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    async with aclosing(Stores.from_config(conf)) as stores, aclosing(await open_registry(conf)) as registry:
        if args.daemon:
            await _repeat(conf, args, registry, stores)
        return 0 if await _once(conf, args, registry, stores) else 1


async def _repeat(conf: cfg.ConfigOpts, args: argparse.Namespace, registry: Registry, stores: Stores) -> Never:
    """Until a signal ends the process, also in the middle of a pass: the next one does the rest."""
    while True:
        try:
            await _once(conf, args, registry, stores)
        except ImageServiceError as error:
            log.complain(NAME, f"{error.message} Trying again in {conf.wakeup_time} s.")
        await asyncio.sleep(conf.wakeup_time)
        log.look()


async def _once(conf: cfg.ConfigOpts, args: argparse.Namespace, registry: Registry, stores: Stores) -> bool:
    """One pass; whether all is well."""
    until = None if args.dry_run else await sweep.let_renew(registry, conf.upload_lease)
    dead = await sweep.sweep_dead_uploads(registry, stores, conf.upload_lease, until=until, dry_run=args.dry_run)
    _say(args, dead.done, "cleaned up after the dead upload of image {}")
    _say(args, dead.failed, "could not clean up after the dead upload of image {}: see the log", change=False)
    outcomes = [dead]
    for status, older_than in ((Status.DELETED, conf.upload_lease), (Status.PENDING_DELETE, conf.scrub_time)):
        scrubbed = await sweep.scrub(registry, stores, status, older_than, at_once=conf.scrub_pool_size, dry_run=args.dry_run)
        _say(args, scrubbed.done, "removed image {}")
        _say(args, scrubbed.failed, "could not remove image {}: see the log", change=False)
        outcomes.append(scrubbed)
    found = await sweep.reconcile(registry, stores, conf.upload_lease, dry_run=args.dry_run, trust_registry=args.trust_registry)
    orphans = [f"{item.image_id} ({item.size} bytes{', unfinished' if item.upload_id else ''})" for item in found.orphans]
    if found.suspicious:
        _say(args, orphans, "unknown to the registry: {}", change=False)
        print("Most of a store is unknown to the registry, so nothing was removed. Is it the right database? (--trust-registry)")
    else:
        _say(args, orphans, "removed orphaned bytes of {}")
    _say(args, [f"{image}: {problem}" for image, problem in found.lost.items()], "LOST DATA of image {}", change=False)
    _say(args, found.failed, "could not clean up {}: see the log", change=False)
    failed = bool(found.failed) or any(outcome.failed for outcome in outcomes)
    if not (args.daemon or failed or any(outcome.done for outcome in outcomes) or orphans or found.lost):
        print("Nothing was cleaned up.")
    return not (failed or found.lost or found.suspicious)


def _say(args: argparse.Namespace, items: Sequence[str], sentence: str, *, change: bool = True) -> None:
    for item in items:
        print(("would have " if change and args.dry_run else "") + sentence.format(item))
