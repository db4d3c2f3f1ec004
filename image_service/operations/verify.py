"""Reads images back and compares them with what the registry says: size, MD5 and ``os_hash_value``. Changes nothing."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

from image_service.errors import ImageServiceError
from image_service.model import Image, Location
from image_service.operations.images import NOWHERE, has_still, lies_nowhere, with_bytes
from image_service.registry.interface import Registry
from image_service.store.stores import Stores
from image_service.transfer.receive import Received, receive


@dataclass(frozen=True, slots=True)
class Verdict:
    """About one location of one image; ``problem`` is None where all is well."""

    image: Image
    store: str
    problem: str | None = None


async def verify(registry: Registry, stores: Stores, share: float = 1.0) -> AsyncIterator[Verdict]:
    """A verdict on each location of the images that have bytes, or of a random ``share`` (0 to 1) of these images, but at least
    of one.
    """
    async for image in _sample(with_bytes(registry), share):
        if lies_nowhere(image) and await has_still(registry, image):
            yield Verdict(image, "(none)", NOWHERE)
        for location in image.locations:
            verdict = await _verify_one(stores, image, location)
            if verdict.problem is None or await has_still(registry, image):
                yield verdict


async def _sample(images: AsyncIterator[Image], share: float) -> AsyncIterator[Image]:
    """A random ``share`` of ``images``, but at least one."""
    taken, seen, spare = False, 0, None
    async for image in images:
        seen += 1
        if random.random() < share:  # noqa: S311 - a sample, not a secret
            taken = True
            yield image
        elif random.randrange(seen) == 0:  # noqa: S311 - any of those that were left out
            spare = image
    if spare is not None and not taken:
        yield spare


async def _verify_one(stores: Stores, image: Image, location: Location) -> Verdict:
    name = location.url.partition("://")[0]
    try:
        store = stores.for_location(location)
        name = store.name
        received = await receive(store.read(location.url), None, algorithm=image.os_hash_algo or "sha512", cap=None)
    except ImageServiceError as error:
        return Verdict(image, name, error.message)
    except ValueError:
        return Verdict(image, name, f"os_hash_algo {image.os_hash_algo} is none that can be computed here")
    return Verdict(image, name, _difference(image, received))


def _difference(image: Image, received: Received) -> str | None:
    pairs = (
        ("size", image.size, received.size),
        ("checksum", image.checksum, received.checksum),
        ("os_hash_value", image.os_hash_value, received.hash_value),
    )
    wrong = [f"{what} is {found}, should be {wanted}" for what, wanted, found in pairs if wanted is not None and wanted != found]
    return "; ".join(wrong) or None
