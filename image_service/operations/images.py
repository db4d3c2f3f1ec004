"""Images without their bytes: create, show, list, change, delete, deactivate.

Everything takes the :class:`Service` and who asks, and raises the domain's errors. Wire formats are the handlers' affair.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from functools import partial

from image_service import errors, faults
from image_service.context import RequestContext
from image_service.model import MAX_NAME, UUID, Image, Status, new_id
from image_service.operations import lifecycle, policy, quota
from image_service.operations.service import Service
from image_service.registry.interface import ImageChange, ImageQuery, Registry
from image_service.store.stores import Stores

LOG = logging.getLogger(__name__)

_AMAZON = ("ami", "ari", "aki")
_PAGE = 200


def require_uuid(image_id: str) -> None:
    """``InvalidValue`` when ``image_id`` is no UUID; stores name files after it."""
    if not re.fullmatch(UUID, image_id, re.IGNORECASE | re.ASCII):
        raise errors.InvalidValue(f"Invalid image id format: {image_id!r} is no UUID.")


def check_attributes(service: Service, image: Image) -> None:
    """Raise ``InvalidValue`` for a value that no image may have."""
    if image.name is not None and len(image.name) > MAX_NAME:
        raise errors.InvalidValue(f"Image name too long: {len(image.name)}. It may have {MAX_NAME} characters.")
    _check_format("disk", image.disk_format, service.conf.image_format.disk_formats)
    _check_format("container", image.container_format, service.conf.image_format.container_formats)
    if any(len(name) > MAX_NAME for name in (*image.properties, *image.tags)):
        raise errors.InvalidValue(f"The name of a property, and a tag, may have {MAX_NAME} characters.")
    if "" in image.properties:
        raise errors.InvalidValue("A property needs a name.")


def _check_format(kind: str, value: str | None, allowed: list[str]) -> None:
    if value is not None and value not in allowed:
        raise errors.InvalidValue(f"Invalid {kind} format '{value}' for image. It must be one of {', '.join(allowed)}.")


def check_amazon_formats(image: Image) -> None:
    """API v1 alone: with ami, ari and aki both formats must be the same; else ``InvalidValue``."""
    pair = (image.disk_format, image.container_format)
    if all(pair) and pair[0] != pair[1] and any(value in _AMAZON for value in pair):
        raise errors.InvalidValue(
            f"Invalid mix of disk and container formats: with '{'/'.join(_AMAZON)}' both must be the same,"
            f" not {pair[0]} and {pair[1]}."
        )


def require_formats(image: Image) -> None:
    """Raise ``InvalidValue`` unless both formats are set, as they must be before there are bytes."""
    for kind, value in (("disk", image.disk_format), ("container", image.container_format)):
        if value is None:
            raise errors.InvalidValue(
                f"Property {kind}_format must be set prior to saving data: invalid {kind} format 'None' for image."
            )


def virtual_size(image: Image, size: int | None) -> int | None:
    """How large ``size`` bytes are as a disk: known of raw ones alone, and not of those that a container wraps (contract C.6)."""
    return (size or None) if (image.disk_format, image.container_format) == ("raw", "bare") else None


async def create(service: Service, context: RequestContext, image: Image) -> Image:
    """Register an image; its owner is the asker's project unless an administrator said otherwise.

    ``image.id`` empty: a new one. Errors: ``Forbidden``, ``InvalidValue``, ``Duplicate``, ``LimitExceeded``.
    """
    policy.require_writer(context)
    policy.require_visibility(context, image.visibility)
    policy.require_owner(context, image.owner)
    check_attributes(service, image)
    quota.check_count(service.conf, "properties", len(image.properties))
    quota.check_count(service.conf, "tags", len(image.tags))
    return await service.registry.create_image(replace(image, id=image.id or new_id()))


async def show(service: Service, context: RequestContext, image_id: str, *, v1: bool = False, deleted: bool = False) -> Image:
    """The image, if the asker may know of it. ``deleted``: an administrator also sees deleted ones. ``NotFound``."""
    image = await service.registry.get_image(image_id, include_deleted=deleted and context.is_admin)
    if not context.is_admin:
        if image.status is Status.DELETED:
            raise errors.NotFound(f"No image found with ID {image_id}.")
        await policy.require_visible(context, image, service.registry, v1=v1)
    return image


async def to_change(service: Service, context: RequestContext, image_id: str, *, v1: bool = False) -> Image:
    """The image, if the asker may change it. ``NotFound`` where he may not see it (v1: nor change it), else ``Forbidden``, also
    when it waits to be deleted, which a change would put off.
    """
    image = await show(service, context, image_id, v1=v1, deleted=v1)
    policy.require_change(context, image, v1=v1)
    if image.status is Status.PENDING_DELETE:
        raise errors.Forbidden("Forbidden to update or delete a pending_delete image.")
    return image


async def page(service: Service, context: RequestContext, query: ImageQuery, *, v1: bool = False) -> list[Image]:
    """What ``query`` finds. ``InvalidValue`` for a marker that the asker may not know of: to him it is not there.

    v1: a deleted image is a good marker, for some lists have deleted ones.
    """
    if query.marker is not None and not context.is_admin:
        try:
            marker = await service.registry.get_image(query.marker, include_deleted=v1)
            await policy.require_visible(context, marker, service.registry, v1=v1)
        except errors.NotFound as error:
            raise errors.InvalidValue(error.message) from None
    return await service.registry.list_images(query)


async def pages(registry: Registry, query: ImageQuery) -> AsyncIterator[list[Image]]:
    """Everything that ``query`` finds, page by page."""
    query = replace(query, limit=_PAGE)
    while page := await registry.list_images(query):
        yield page
        query = replace(query, marker=page[-1].id)


NOWHERE = "it has no location, so nobody knows where its bytes are"


def lies_nowhere(image: Image) -> bool:
    """Must it have bytes, and no location says where? An old glance-api may have registered it so."""
    return image.status in lifecycle.READABLE and bool(image.size) and not image.locations


async def with_bytes(registry: Registry) -> AsyncIterator[Image]:
    """Every image that must have bytes."""
    for status in sorted(lifecycle.READABLE):
        async for page in pages(registry, ImageQuery(equal={"status": status})):
            for image in page:
                yield image


async def has_still(registry: Registry, image: Image) -> bool:
    """Is the image to have the bytes that it had when it was read? If not, nothing is lost: it was deleted since."""
    try:
        now = await registry.get_image(image.id)
    except errors.NotFound:
        return False
    return now.status in lifecycle.READABLE and now.locations == image.locations


async def change(service: Service, context: RequestContext, image: Image, wanted: Image) -> Image:
    """Make ``image`` (from :func:`to_change`) what ``wanted`` says; only what differs is written.

    ``Forbidden`` for an owner or a visibility that the asker may not give; ``LimitExceeded`` for more properties or tags than
    there may be; ``WrongStatus`` when a delete of ``image`` began since it was read, or what is said of the bytes changes, and an
    upload began or ended meanwhile, or its other format was changed.
    """
    if wanted.visibility is not image.visibility:
        policy.require_visibility(context, wanted.visibility)
    if wanted.owner != image.owner:
        policy.require_owner(context, wanted.owner)
    check_attributes(service, wanted)
    difference = _difference(image, wanted)
    if difference == ImageChange():
        return image
    # Who adds nothing may change an image that has more than a quota which was lowered.
    added = [what for what in ("properties", "tags") if set(getattr(wanted, what)).difference(getattr(image, what))]
    difference.most = {what: quota.most(service.conf, what) for what in added}
    if not {"disk_format", "container_format"}.isdisjoint(difference.values) and image.status in lifecycle.READABLE:
        difference.values["virtual_size"] = virtual_size(wanted, wanted.size)
        difference.expected = {"disk_format": wanted.disk_format, "container_format": wanted.container_format}
    source = {image.status} if _OF_THE_BYTES & difference.values.keys() else lifecycle.CHANGEABLE
    return await service.registry.update_image(image.id, difference, from_status=source)


_OF_THE_BYTES = frozenset({"status", "disk_format", "container_format", "size", "checksum"})
_CHANGEABLE = (
    "name", "owner", "visibility", "disk_format", "container_format", "min_disk", "min_ram",
    "protected", "os_hidden", "status", "size", "checksum",
)  # fmt: skip


def _difference(old: Image, new: Image) -> ImageChange:
    return ImageChange(
        values={key: getattr(new, key) for key in _CHANGEABLE if getattr(new, key) != getattr(old, key)},
        set_properties={name: value for name, value in new.properties.items() if (name, value) not in old.properties.items()},
        remove_properties=tuple(name for name in old.properties if name not in new.properties),
        tags=new.tags if set(new.tags) != set(old.tags) else None,
        locations=new.locations if new.locations != old.locations else None,
    )


# -- deleting --


async def delete(service: Service, image: Image) -> Image:
    """Delete an image (from :func:`to_change`) as :func:`remove` does, or mark it for the scrubber (``delayed_delete``).

    Errors: ``Forbidden``, ``NotFound``, and by the store ``StoreInUse`` and ``StoreUnavailable``.
    """
    if image.protected:
        raise errors.Forbidden(f"Image {image.id} is protected and cannot be deleted. Set protected to false first.")
    if image.deleted or image.status in (Status.DELETED, Status.PENDING_DELETE):
        raise errors.NotFound(f"Failed to find image {image.id} to delete: it is deleted already.")
    require_known_places(service.stores, image)
    later = service.conf.delayed_delete and bool(image.locations)
    lifecycle.require(image.status, Status.PENDING_DELETE if later else Status.DELETED)
    try:
        if not later:
            return await remove(service.registry, service.stores, image)
        return await service.registry.delete_image(image.id, status=Status.PENDING_DELETE, from_status={image.status})
    except errors.WrongStatus:
        return await delete(service, await service.registry.get_image(image.id, include_deleted=True))


async def remove(registry: Registry, stores: Stores, image: Image) -> Image:
    """The status first, then the bytes, then the row (contract A.12). A crash in between is finished by the sweep.

    An image that waits to be deleted keeps its status until the bytes are gone: it is soft-deleted, and found by that alone.
    Bytes that are gone already, or lie in a read-only store, are no error. When the store refuses and everything is still there,
    the old status is put back, unless another process has gone on. ``WrongStatus`` when the image has another one by now, or was
    protected meanwhile.
    """
    move = partial(registry.update_image, image.id, include_deleted=image.deleted)
    gone = ImageChange({"status": Status.DELETED}, expected={"protected": image.protected})
    marked = image if image.deleted else await move(gone, from_status={image.status})
    faults.point("delete.after-status")
    whole = not image.deleted
    for location in marked.locations:
        try:
            store = stores.for_location(location)
            await store.delete(location.url)
            whole = whole and store.read_only
        except errors.DataMissing:
            LOG.warning("the bytes of deleted image %s were gone already", image.id)
        except errors.ImageServiceError:
            if whole:
                with suppress(errors.WrongStatus, errors.NotFound):
                    await move(ImageChange({"status": image.status}), from_status={Status.DELETED}, seen_at=marked.updated_at)
            raise
    faults.point("delete.after-bytes")
    if image.deleted:
        await move(gone, from_status={image.status})
    return await registry.delete_image(image.id)


def require_known_places(stores: Stores, image: Image) -> None:
    """``StoreUnavailable`` when bytes of the image lie in no store of ours: nobody could remove them later."""
    if len(stores.places(image.locations)) < len(image.locations):
        raise errors.StoreUnavailable("Bytes of this image lie in a store that is not configured. Tell the administrator.")


async def remove_from_store(service: Service, context: RequestContext, image: Image, name: str) -> None:
    """Remove the bytes of an image from one of the stores that have them, for an administrator (else ``Forbidden``).

    ``WrongStatus`` unless the image is active, and is as it was read; ``NotFound`` when the store has no bytes of it,
    ``Forbidden`` when no other store has; ``StoreUnavailable``: the image is not there any more, but its bytes are.
    """
    policy.require_admin(context, "remove an image from a store")
    if image.status is not Status.ACTIVE:
        raise errors.WrongStatus(f"Image {image.id} is {image.status}: only an active image is removed from a store.")
    gone = [location for store, location in service.stores.places(image.locations) if store.name == name]
    rest = [location for location in image.locations if location not in gone]
    if not rest or len(image.locations) == 1:
        raise errors.Forbidden(f"No other store has image {image.id}. Delete the image instead.")
    if not gone:
        raise errors.NotFound(f"Image {image.id} is not in store {name}.")
    await service.registry.update_image(
        image.id, ImageChange(locations=rest), from_status={Status.ACTIVE}, seen_at=image.updated_at
    )
    for url in {location.url for location in gone}:
        with suppress(errors.DataMissing):  # gone already
            await service.stores.get(name).delete(url)


# -- actions and tags --


async def set_deactivated(service: Service, image: Image, deactivated: bool) -> None:
    """Switch between active and deactivated; idempotent. ``Forbidden`` in any other status (contract C.13)."""
    target, source = (Status.DEACTIVATED, Status.ACTIVE) if deactivated else (Status.ACTIVE, Status.DEACTIVATED)
    if image.status is target:
        return
    verb = "deactivate" if deactivated else "reactivate"
    if image.status is not source:
        raise errors.Forbidden(f"Not allowed to {verb} image in status '{image.status}'.")
    await service.registry.update_image(image.id, ImageChange({"status": target}), from_status={image.status})


async def add_tag(service: Service, image: Image, tag: str) -> None:
    """Put ``tag`` on the image; there already is fine. ``InvalidValue`` over 255 characters, ``LimitExceeded``."""
    if len(tag) > MAX_NAME:
        raise errors.InvalidValue(f"A tag may have {MAX_NAME} characters, this one has {len(tag)}.")
    if tag not in image.tags:
        most = {"tags": quota.most(service.conf, "tags")}
        await service.registry.update_image(image.id, ImageChange(add_tags=(tag,), most=most), from_status=lifecycle.CHANGEABLE)


async def remove_tag(service: Service, image: Image, tag: str) -> None:
    """Take ``tag`` off the image. ``NotFound`` when it is not on it."""
    if tag not in image.tags:
        raise errors.NotFound(f"Image {image.id} has no tag {tag!r}.")
    await service.registry.update_image(image.id, ImageChange(remove_tags=(tag,)), from_status=lifecycle.CHANGEABLE)
