"""``image-manage verify``: reads images back and compares them with what the registry says.

Exit codes: 0 all is well, 1 an image is broken (each is named), 2 wrong arguments or configuration.
"""

from __future__ import annotations

import argparse
import asyncio
from contextlib import aclosing

from oslo_config import cfg

from image_service import config
from image_service.operations import verify
from image_service.registry.opening import open_registry
from image_service.store.stores import Stores


def run(args: argparse.Namespace) -> int:
    """Verify with the configuration that ``args.config_file`` and ``args.config_dir`` name; the exit code."""
    return asyncio.run(_verify(config.load("glance-api", args.config_file, args.config_dir), args.sample))


async def _verify(conf: cfg.ConfigOpts, share: float) -> int:
    good = broken = 0
    async with aclosing(Stores.from_config(conf)) as stores, aclosing(await open_registry(conf)) as registry:
        async for verdict in verify.verify(registry, stores, share):
            if verdict.problem is None:
                good += 1
            else:
                broken += 1
                print(f"BROKEN {verdict.image.id} in store {verdict.store}: {verdict.problem}")
    print(f"{good + broken} verified: {good} good, {broken} broken")
    return 1 if broken else 0
