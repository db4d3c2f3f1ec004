"""What puts things right after a crash: dead uploads, deletes that were cut short, delayed deletes, and bytes or images that
lost each other.

Everything here may run in several processes at once and be killed at any moment: the next run does the rest. Bytes go first and
rows after them, so that what is left to do can always be seen in the registry.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from image_service.errors import ImageServiceError, InvalidValue, NotFound, StoreFull, StoreUnavailable, UploadLost, WrongStatus
from image_service.model import Image, Location, Status, UploadLease, now
from image_service.operations.images import NOWHERE, has_still, lies_nowhere, pages, remove, require_known_places, with_bytes
from image_service.operations.uploads import failure
from image_service.registry.interface import ImageQuery, Registry, SortKey, TimeFilter
from image_service.store.interface import Listable, Store, StoredObject
from image_service.store.stores import Stores

LOG = logging.getLogger(__name__)

_BY_ID = (SortKey("id"),)
_WITHOUT_BYTES = frozenset({Status.QUEUED, Status.KILLED})


@dataclass(slots=True)
class Outcome:
    """Ids of images of which nothing is left to do, and of those where something is in the way (see the log)."""

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


# -- dead uploads --


async def sweep_dead_uploads(
    registry: Registry, stores: Stores, lease_seconds: float, *, until: datetime | None = None, dry_run: bool = False
) -> Outcome:
    """Remove what uploads left that gave no sign of life for ``lease_seconds``; their images become queued (v2) or killed (v1)
    again. ``until``: from :func:`let_renew`.

    ``dry_run``: only look. What fails is found again after another ``lease_seconds``.
    """
    result = Outcome()
    if dry_run:
        if leases := await registry.live_uploads():
            silent_since = await registry.settle() - timedelta(seconds=lease_seconds)
            result.done = [lease.image_id for lease in leases if lease.renewed_at < silent_since]
        return result
    for lease in await registry.claim_dead_uploads(lease_seconds, until=until):
        try:
            image = await registry.get_image(lease.image_id, include_deleted=True)
            # Where somebody gave the image a location while the lease was held (registry API v1), its file may be that one.
            if image.deleted or not image.locations:
                await _discard(registry, stores, lease, image)
            if await registry.end_upload(lease.image_id, lease.upload_id, failure(lease.kind)) is None:
                LOG.info("the image %s of a dead upload was deleted", lease.image_id)
        except UploadLost as error:
            LOG.info("the dead upload of image %s is left alone: %s", lease.image_id, error.message)
        except ImageServiceError as error:
            LOG.error("the dead upload of image %s cannot be cleaned up now: %s", lease.image_id, error.message)
            result.failed.append(lease.image_id)
        else:
            LOG.warning("cleaned up after the dead upload of image %s", lease.image_id)
            result.done.append(lease.image_id)
    return result


def settling(lease: float) -> float:
    """Seconds that a sweep waits for signs of life: longer than between two renewals; those that fail are tried every second."""
    return min(lease / 3, 30.0)


async def let_renew(registry: Registry, lease_seconds: float) -> datetime:
    """Wait until everybody alive can have renewed his lease: the registry may have been away, for longer than one lasts.

    Returned is the moment, by the registry's clock, after which nothing may be claimed any more. Whatever is held up or set after
    the wait (the registry is away again, or its clock is moved forward) would make leases look silent whose holders live.
    Without any lease that moment has passed: there was nobody to wait for, and nothing is claimed.
    """
    if not await registry.live_uploads():
        return datetime.min
    settled, wait = await registry.settle(), settling(lease_seconds)
    await asyncio.sleep(wait)
    return settled + timedelta(seconds=wait + lease_seconds / 6)


async def _discard(registry: Registry, stores: Stores, lease: UploadLease, image: Image) -> None:
    async def confirm() -> None:
        # A deleted image never gets bytes again. One that is being deleted has none to put back: it was saving.
        gone = image.deleted or image.status is Status.DELETED
        if not gone and not await registry.renew_upload(lease.image_id, lease.upload_id):
            raise UploadLost("another process was faster, or the image is being deleted.")

    try:
        store = stores.get(lease.store)
    except InvalidValue:  # Should it come back, image-scrubber finds them there, unless the image has others by then.
        LOG.warning("store %s of the dead upload of image %s is not configured: bytes stay", lease.store, lease.image_id)
    else:
        await store.discard(lease.image_id, None, confirm)


# -- deletes --


async def scrub(
    registry: Registry, stores: Stores, status: Status, older_than: float, *, at_once: int = 1, dry_run: bool = False
) -> Outcome:
    """Remove the images that were given ``status`` at least ``older_than`` seconds ago, ``at_once`` at a time.

    ``pending_delete``: those that are deleted later (delayed_delete), soft-deleted like all that their users deleted.
    ``deleted``: deletes that were cut short; those that were not are soft-deleted and not found.
    """
    result = Outcome()
    places = asyncio.Semaphore(at_once)

    async def one(image: Image) -> None:
        async with places:
            try:
                if not dry_run:
                    require_known_places(stores, image)
                    await remove(registry, stores, image)
            except (WrongStatus, NotFound):
                return  # another process was faster
            except ImageServiceError as error:
                LOG.error("image %s cannot be removed now: %s", image.id, error.message)
                result.failed.append(image.id)
                return
        result.done.append(image.id)

    since = TimeFilter("updated_at", "lte", now() - timedelta(seconds=older_than))
    soft_deleted = None if status is Status.PENDING_DELETE else False
    async for page in pages(registry, ImageQuery(equal={"status": status}, times=(since,), deleted=soft_deleted)):
        await asyncio.gather(*(one(image) for image in page))
    return result


# -- bytes and images that lost each other --


@dataclass(slots=True)
class Findings:
    """What a reconciliation found.

    ``orphans``: bytes that no image has. ``lost``: images that say active, whose bytes
    are gone or cut, each with a sentence; nothing is ever changed about those. ``suspicious``: so much is unknown to the
    registry that nothing was removed. ``failed``: ids of orphans that could not be removed, and names of stores that could not be
    listed to their end (see the log).
    """

    orphans: list[StoredObject] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    suspicious: bool = False
    failed: list[str] = field(default_factory=list)


async def reconcile(
    registry: Registry, stores: Stores, older_than: float, *, dry_run: bool, trust_registry: bool = False
) -> Findings:
    """Compare stores and registry. Bytes younger than ``older_than`` seconds are left alone, as are those of running uploads.

    ``dry_run``: only look. ``trust_registry``: remove orphans even where most of a store is unknown to the registry.
    """
    findings = Findings()
    async for image in with_bytes(registry):
        problems = [await _problem(stores, image, place, findings.failed) for place in image.locations]
        problem = NOWHERE if lies_nowhere(image) else next(filter(None, problems), None)
        if problem is not None and await has_still(registry, image):
            LOG.error("LOST DATA: image %s: %s", image.id, problem)
            findings.lost[image.id] = problem
    for store in stores.all():
        orphans, suspicious = await _orphans_of(registry, store, older_than, findings.failed)
        if orphans:
            others = await _names_of_others(registry)
            orphans = [item for item in orphans if item.image_id not in others]
        if suspicious and not trust_registry:
            findings.suspicious = True
        elif not dry_run:
            orphans = [item for item in orphans if await _remove_orphan(registry, store, item, findings.failed)]
        findings.orphans += orphans
    return findings


async def _names_of_others(registry: Registry) -> set[str]:
    """Files that are not named after the image that has them: an administrator may say so (registry API v1)."""
    names: set[str] = set()
    for query in (ImageQuery(), ImageQuery(equal={"status": Status.PENDING_DELETE}, deleted=True)):
        async for page in pages(registry, query):
            places = [(image.id, location.url.rpartition("/")[2]) for image in page for location in image.locations]
            names.update(name for image_id, name in places if name != image_id)
    return names


async def _orphans_of(registry: Registry, store: Store, older_than: float, failed: list[str]) -> tuple[list[StoredObject], bool]:
    """Orphans in a store, and whether there are so many of them that it may be the registry that is wrong."""
    if not isinstance(store, Listable):
        return [], False
    orphans, unknown, finished = [], 0, 0
    try:
        async for batch in store.objects():
            finished += sum(item.upload_id is None for item in batch)
            for item, image in await _orphans(registry, batch):
                if now() - item.modified_at > timedelta(seconds=older_than):
                    orphans.append(item)
                    unknown += item.upload_id is None and image is None
    except (StoreUnavailable, StoreFull) as error:
        LOG.error("store %s cannot be listed to its end: %s", store.name, error.message)
        failed.append(store.name)
    # Rows stay for ever, so a registry knows nearly every file of its store.
    suspicious = bool(unknown) and unknown * 2 >= finished
    if suspicious:
        LOG.error("store %s: %d of %d images are unknown to the registry", store.name, unknown, finished)
    return orphans, suspicious


async def _orphans(registry: Registry, items: list[StoredObject]) -> list[tuple[StoredObject, Image | None]]:
    """Bytes that no image has and no lease protects, with the image that they are named after: part files, and whole files of
    images that have no bytes, are deleted, or never were.
    """
    # The leases first: an upload that begins in between is seen as saving.
    held = {lease.image_id for lease in await registry.live_uploads()}
    ids = tuple(item.image_id for item in items)
    query = ImageQuery(one_of={"id": ids}, sort=_BY_ID, deleted=None)
    known = {image.id: image for image in await registry.list_images(query)}
    named = [(item, known.get(item.image_id)) for item in items if item.image_id not in held]
    return [(item, image) for item, image in named if item.upload_id is not None or _has_no_bytes(image)]


def _has_no_bytes(image: Image | None) -> bool:
    if image is None or image.status in _WITHOUT_BYTES:
        return True
    return image.deleted and image.status is not Status.PENDING_DELETE


async def _remove_orphan(registry: Registry, store: Store, item: StoredObject, failed: list[str]) -> bool:
    """Whether it is gone. Look again first: since the listing, an upload to this very image may have begun, or ended well."""

    async def confirm() -> None:
        if not await _orphans(registry, [item]):
            raise UploadLost("it is an orphan no more")
        LOG.warning("removing orphaned bytes from store %s: image %s, %d bytes", store.name, item.image_id, item.size)

    try:
        await store.discard(item.image_id, item.upload_id, confirm)
    except UploadLost:
        return False
    except (StoreUnavailable, StoreFull) as error:  # full: some file systems need room to remove a file
        LOG.error("orphaned bytes of image %s cannot be removed from store %s: %s", item.image_id, store.name, error.message)
        failed.append(item.image_id)
        return False
    return True


async def _problem(stores: Stores, image: Image, location: Location, failed: list[str]) -> str | None:
    """What is wrong with the bytes of an image in a store that we write to; None when nothing is, or the store cannot say."""
    try:
        store = stores.for_location(location)
        size = image.size if store.read_only else await store.size(location.url)
    except StoreUnavailable as error:
        if store.name not in failed:
            LOG.error("store %s cannot say whether it has its images: %s", store.name, error.message)
            failed.append(store.name)
        return None
    except ImageServiceError as error:
        return error.message
    return f"it should have {image.size} bytes, the store has {size}" if size != image.size else None
