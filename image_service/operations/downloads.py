"""Bytes out of a store: which location, is it there."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from image_service.errors import DataMissing, NotFound, StoreUnavailable
from image_service.model import Image, Location
from image_service.operations import images, lifecycle
from image_service.operations.service import Service
from image_service.store.interface import Store

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bytes:
    """An image's bytes: ``size`` of them, in ``store`` at ``url``."""

    size: int
    store: Store
    url: str


async def open_bytes(service: Service, image: Image, prefer: Sequence[str] = ()) -> Bytes:
    """Find the bytes of an image: in the stores of ``prefer`` first, then by the stores' weights.

    ``NotFound`` (not active), ``DataMissing`` when no location has them: that is logged as the loss it is. ``StoreUnavailable``
    when one of them cannot say and no other has them.
    """
    if image.status not in lifecycle.READABLE:
        raise NotFound(f"Image {image.id} is not active: its status is {image.status}.")

    def order(place: tuple[Store, Location]) -> tuple[int, int]:
        store = place[0]
        return (prefer.index(store.name) if store.name in prefer else len(prefer), -store.weight)

    silent: StoreUnavailable | None = None
    for store, location in sorted(service.stores.places(image.locations), key=order):
        try:
            found = await _look(store, image, location.url)
        except StoreUnavailable as error:
            silent = silent or error
        else:
            if found is not None:
                return found
    if silent is not None:
        raise silent
    if not await images.has_still(service.registry, image):
        raise NotFound(f"Image {image.id} was deleted a moment ago.")
    LOG.error("LOST DATA: image %s is active, but no store has its bytes", image.id)
    raise DataMissing(
        f"The data of image {image.id} are missing from the store. Tell the administrator; upload it again as a new image."
    )


async def _look(store: Store, image: Image, url: str) -> Bytes | None:
    try:
        size = await store.size(url)
    except DataMissing:
        return None
    if image.size is not None and size != image.size and not store.read_only:
        LOG.error("image %s should have %d bytes, store %s has %d", image.id, image.size, store.name, size)
        return None
    return Bytes(size, store, url)
