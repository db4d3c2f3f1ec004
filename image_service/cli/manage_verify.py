"""``image-manage verify``: reads images back and compares them with what the registry says.

Exit codes: 0 all is well, 1 an image is broken (each is named), 2 wrong arguments or configuration.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from oslo_config import cfg

from image_service import config
from image_service.operations import verify
from image_service.registry.opening import open_registry
from image_service.store.stores import Stores

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_verify_command(subparsers: Subparsers) -> None:
    """Add the command; ``handler`` among its defaults runs it and returns the exit code."""
    parser = subparsers.add_parser("verify", help="read images back and compare them with their hashes")
    parser.add_argument(
        "--sample", metavar="N%", type=_share, default=1.0, help="only a random part of the images, like 10%%; default: all"
    )
    parser.set_defaults(handler=run)


def _share(text: str) -> float:
    """``10%`` as 0.1."""
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = 0
    if not 0 < percent <= 100:
        raise argparse.ArgumentTypeError(f"{text} is no percentage: give one above 0 and up to 100, like 10%.")
    return percent / 100


def run(args: argparse.Namespace) -> int:
    """Verify with the configuration that ``args.config_file`` and ``args.config_dir`` name; the exit code."""
    conf = config.load("glance-api", args.config_file, getattr(args, "config_dir", None))
    return asyncio.run(_verify(conf, args.sample))


async def _verify(conf: cfg.ConfigOpts, share: float) -> int:
    stores = Stores.from_config(conf)
    registry = await open_registry(conf)
    good = broken = 0
    try:
        async for verdict in verify.verify(registry, stores, share):
            if verdict.problem is None:
                good += 1
            else:
                broken += 1
                print(f"BROKEN {verdict.image.id} in store {verdict.store}: {verdict.problem}", flush=True)
    finally:
        await registry.close()
        await stores.close()
    print(f"{good + broken} verified: {good} good, {broken} broken")
    return 1 if broken else 0
