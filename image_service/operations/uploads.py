"""Bytes into a store, so that whatever is killed at any moment an image that says ``active`` is whole.

    lease (queued -> saving)  ->  temporary name, fsync, final name  ->  still our lease?  ->  active
    on failure: bytes removed, lease given back, API v1 killed, API v2 queued; after a crash the sweep does the same

While it runs the lease is renewed. Who lost it (the image was deleted, or this process slept too long) stops and removes its
bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from image_service import faults
from image_service.errors import ImageServiceError, InvalidValue, ReadOnlyStore, RegistryUnavailable, UploadLost, WrongStatus
from image_service.model import Image, Location, Status, UploadKind, UploadLease, new_id
from image_service.operations import images, lifecycle, quota
from image_service.operations.service import Service
from image_service.registry.interface import ImageChange
from image_service.store.interface import Store, StoreWriter
from image_service.transfer.receive import Received, receive

LOG = logging.getLogger(__name__)

RENEW_AGAIN = 1.0
"""Seconds between two tries to renew a lease while the registry does not answer."""


@dataclass(slots=True)
class Upload:
    """What is to be stored and what the client says of it: ``size`` in bytes, ``checksum`` the MD5 in hex (None: unknown)."""

    source: AsyncIterator[bytes]
    kind: UploadKind
    size: int | None = None
    checksum: str | None = None
    store: str | None = None


def writable_store(service: Service, name: str | None) -> Store:
    """The store called ``name`` (None: the default one). ``InvalidValue``: there is none; ``ReadOnlyStore``: it takes nothing."""
    store = service.stores.default if name is None else service.stores.get(name)
    if store.read_only:
        raise ReadOnlyStore("Error in store configuration. Adding images to store is disabled.")
    return store


async def upload(service: Service, image: Image, upload: Upload) -> Image:
    """Store the bytes of a queued image and return the active image.

    Errors: ``WrongStatus`` (another upload is faster, not queued), ``InvalidValue`` (formats, store, another size or checksum),
    ``LimitExceeded``, ``StoreFull``, ``UploadLost``, ``ReadOnlyStore``, ``StoreUnavailable``, and what the source raises.
    Nothing is left behind then.
    """
    images.require_formats(image)
    store = writable_store(service, upload.store)
    room = await quota.room_for(service, image.owner, upload.size)
    lease = await begin(service, image, upload.kind, store)
    return await run(service, image, upload, lease, room)


async def begin(service: Service, image: Image, kind: UploadKind, store: Store) -> UploadLease:
    """Take the lease: queued -> saving. Exactly one of many gets it, the others ``WrongStatus``."""
    lifecycle.require(image.status, Status.SAVING)
    lease = UploadLease(image.id, new_id(), kind, store.name)
    faults.point("upload.before-lease")
    await service.registry.begin_upload(lease, from_status={image.status})
    faults.point("upload.after-lease")
    return lease


async def run(service: Service, image: Image, upload: Upload, lease: UploadLease, room: int) -> Image:
    """Store the bytes under a lease that was taken; ``room`` is how many there may be."""
    writer: StoreWriter | None = None
    ending = False

    async def confirm() -> None:
        if not await service.registry.renew_upload(image.id, lease.upload_id):
            raise _lost(image.id)

    try:
        async with _renewed(service, lease):
            writer = await service.stores.get(lease.store).begin(image.id, lease.upload_id, upload.size)
            received = await receive(upload.source, writer, algorithm=service.conf.hashing_algorithm, cap=room)
            _compare(upload, received)
            await confirm()
            await _check_quota_again(service, image, received.size)
            stored = await writer.commit(confirm)
        faults.point("upload.before-active")
        ending = True
        active = await _end(service, image, lease, received, stored)
    except BaseException as error:
        away = isinstance(error, RegistryUnavailable)
        if ending and (away or not isinstance(error, ImageServiceError)):
            # Whether the registry took the change is not known, so the bytes stay. If it did not, the sweep finds the lease and
            # cleans up.
            LOG.warning("upload of %s ends without the registry's word; the sweep decides", image.id)
        else:
            await _give_up(service, lease, writer, away=away)
        raise
    faults.point("upload.after-active")
    return active


def _compare(upload: Upload, received: Received) -> None:
    if upload.size is not None and upload.size != received.size:
        raise InvalidValue(
            f"Size mismatch: expected {upload.size} bytes, got {received.size} bytes: supplied size ({upload.size})"
            f" and size generated from uploaded image ({received.size}) did not match."
        )
    if upload.checksum is not None and upload.checksum != received.checksum:
        raise InvalidValue(
            f"Supplied checksum ({upload.checksum}) and checksum generated from uploaded image ({received.checksum})"
            " did not match."
        )


async def _check_quota_again(service: Service, image: Image, size: int) -> None:
    """Uploads of one owner that began together did not see each other: each says what it has, then looks what all have."""
    if service.conf.user_storage_quota > 0:
        said = ImageChange({"size": size})
        owner = (await service.registry.update_image(image.id, said, from_status={Status.SAVING})).owner
        await quota.require_storage(service, owner, 0)


async def _end(service: Service, image: Image, lease: UploadLease, received: Received, stored: Location) -> Image:
    """Give the lease back for an active image. Who changes a format meanwhile changes what follows from it."""
    values: dict[str, str | int | bool | None] = {
        "status": Status.ACTIVE,
        "size": received.size,
        "checksum": received.checksum,
        "os_hash_algo": service.conf.hashing_algorithm.lower(),
        "os_hash_value": received.hash_value,
        "virtual_size": images.virtual_size(image, received.size),
    }
    formats: dict[str, str | bool | None] = {"disk_format": image.disk_format, "container_format": image.container_format}
    change = ImageChange(values, locations=[stored], expected=formats)
    try:
        active = await service.registry.end_upload(image.id, lease.upload_id, change)
    except WrongStatus:
        image = await service.registry.get_image(image.id, include_deleted=True)
        images.require_formats(image)
        return await _end(service, image, lease, received, stored)
    if active is None:
        raise _lost(image.id)
    return active


async def _give_up(service: Service, lease: UploadLease, writer: StoreWriter | None, *, away: bool) -> None:
    """Remove the bytes, then give the lease back; in this order, so that a crash leaves a lease for the sweep, not bytes. A
    registry that is ``away`` is not waited for again.
    """
    try:
        if writer is not None:
            await writer.abort()
        if away:
            LOG.warning("upload of %s ends without the registry; the sweep gives its lease back", lease.image_id)
        elif await service.registry.end_upload(lease.image_id, lease.upload_id, failure(lease.kind)) is None:
            LOG.info("upload of %s had lost its lease", lease.image_id)
    except Exception:
        LOG.exception("upload of %s could not be cleaned up; the sweep will", lease.image_id)


def failure(kind: UploadKind) -> ImageChange:
    """What an image becomes whose upload failed: API v1 kills it, API v2 lets it be tried again."""
    if kind is UploadKind.V1:
        return ImageChange({"status": Status.KILLED})
    return ImageChange({"status": Status.QUEUED, "size": None, "checksum": None})


@contextlib.asynccontextmanager
async def _renewed(service: Service, lease: UploadLease) -> AsyncIterator[None]:
    """Renew the lease while the body runs; cancel the body and raise ``UploadLost`` when it is lost."""
    try:
        async with asyncio.timeout(None) as held:
            renewal = asyncio.create_task(_renew(service, lease, held))
            try:
                yield
            finally:
                renewal.cancel()
    except TimeoutError:
        if held.expired():
            raise _lost(lease.image_id) from None
        raise


def between_renewals(lease: float) -> float:
    """Seconds. Everybody alive is to renew while a sweep waits (``sweep.settling``)."""
    return min(lease / 4, 20.0)


async def _renew(service: Service, lease: UploadLease, held: asyncio.Timeout) -> None:
    """Give signs of life as long as the lease is ours, then end ``held``."""
    renewed = True
    pause = usual = between_renewals(service.conf.upload_lease)
    while renewed:
        await asyncio.sleep(pause)
        try:
            async with asyncio.timeout(usual / 2):  # An answer may be lost, and asking again does no harm.
                renewed = await service.registry.renew_upload(lease.image_id, lease.upload_id)
            pause = usual
        except Exception as error:  # noqa: BLE001 - without renewals the upload would be lost, whatever it was
            if pause == usual:
                LOG.warning("cannot renew the lease of the upload of %s now: %r", lease.image_id, error)
            pause = min(RENEW_AGAIN, usual / 2)
    held.reschedule(0)


def _lost(image_id: str) -> UploadLost:
    return UploadLost(
        f"Image {image_id} could not be found after upload: it was deleted, or the upload stood still for too long."
    )
