"""Projects that an image is shared with (contract A.11, C.12)."""

from __future__ import annotations

from contextlib import suppress

from image_service.context import RequestContext
from image_service.errors import Duplicate, InvalidValue, NotFound
from image_service.model import MAX_NAME, Image, Member, MemberStatus, Visibility
from image_service.operations import policy, quota
from image_service.operations.service import Service
from image_service.registry.interface import ImageQuery, Visible


def check_member_id(member_id: object) -> str:
    """A project: text of 1 to 255 characters; else ``InvalidValue``."""
    if not isinstance(member_id, str) or not member_id or len(member_id) > MAX_NAME or "\0" in member_id:
        raise InvalidValue(f"A member is the id of a project: text of 1 to {MAX_NAME} characters.")
    return member_id


async def listing(service: Service, context: RequestContext, image: Image) -> list[Member]:
    """Members that the asker may see."""
    found = await service.registry.list_members(image.id)
    return [member for member in found if policy.may_know_member(context, image, member.member_id)]


# -- API v2 --


async def listing_v2(service: Service, context: RequestContext, image: Image) -> list[Member]:
    """As :func:`listing`; ``Forbidden`` unless the image is shared."""
    policy.require_shared(image)
    return await listing(service, context, image)


async def show_v2(service: Service, context: RequestContext, image: Image, member_id: str) -> Member:
    """One member; ``NotFound`` when there is none that the asker may see."""
    if image.visibility is Visibility.SHARED and policy.may_know_member(context, image, member_id):
        member = await service.registry.get_member(image.id, member_id)
        if member is not None:
            return member
    raise _no_member(image, member_id)


def _no_member(image: Image, member_id: str) -> NotFound:
    return NotFound(f"{member_id} is not in the member list of image {image.id}.")


async def add_v2(service: Service, context: RequestContext, image: Image, member_id: object) -> Member:
    """Share the image with one more project, ``pending``. ``Forbidden``, ``InvalidValue``, ``Duplicate``, ``LimitExceeded``."""
    policy.require_sharing(context, image)
    member = Member(image.id, check_member_id(member_id))
    return await service.registry.create_member(member, most=quota.most(service.conf, "members"))


async def answer_v2(service: Service, context: RequestContext, image: Image, member_id: str, status: object) -> Member:
    """What the member itself says (or an administrator for it): accepted, rejected, pending. The owner may not."""
    policy.require_shared(image)
    await show_v2(service, context, image, member_id)
    policy.require_answer(context, image)
    if not isinstance(status, str) or status not in list(MemberStatus):
        raise InvalidValue(f"The status of a member is one of {', '.join(MemberStatus)}.")
    return await service.registry.update_member(image.id, member_id, status=MemberStatus(status))


async def remove_v2(service: Service, context: RequestContext, image: Image, member_id: str) -> None:
    """Stop sharing with a project. ``Forbidden`` unless owner or administrator, ``NotFound``."""
    if image.visibility is Visibility.SHARED and not policy.may_know_member(context, image, member_id):
        raise _no_member(image, member_id)
    policy.require_sharing(context, image)
    await service.registry.delete_member(image.id, member_id)


# -- API v1 --


async def put_v1(service: Service, context: RequestContext, image: Image, member_id: str, can_share: bool | None) -> None:
    """Add a member, or change ``can_share`` of one (None: false for a new one, unchanged for an old one)."""
    await policy.require_sharing_v1(context, image, service.registry)
    check_member_id(member_id)
    if await service.registry.get_member(image.id, member_id) is None:
        member = Member(image.id, member_id, bool(can_share))
        with suppress(Duplicate):  # Another request was faster.
            await service.registry.create_member(member, most=quota.most(service.conf, "members"))
            return
    if can_share is not None:
        await service.registry.update_member(image.id, member_id, can_share=can_share)


async def replace_v1(service: Service, context: RequestContext, image: Image, members: dict[str, bool | None]) -> None:
    """Make these the only members: id -> can_share (None: as in :func:`put_v1`). Those that the asker may not know stay."""
    await policy.require_sharing_v1(context, image, service.registry)
    old = {member.member_id: member.can_share for member in await service.registry.list_members(image.id)}
    new = {name: can_share for name, can_share in old.items() if not policy.may_know_member(context, image, name)}
    new |= {name: old.get(name, False) if can_share is None else can_share for name, can_share in members.items()}
    quota.check_count(service.conf, "members", len(new))
    await service.registry.replace_members(image.id, [Member(image.id, name, can_share) for name, can_share in new.items()])


async def remove_v1(service: Service, context: RequestContext, image: Image, member_id: str) -> None:
    """Remove a member, or leave (:func:`policy.require_unsharing_v1`); ``NotFound`` when it is none."""
    await policy.require_unsharing_v1(context, image, member_id, service.registry)
    await service.registry.delete_member(image.id, member_id)


async def shared_with(service: Service, context: RequestContext, member_id: str) -> list[Member]:
    """Memberships of a project; of another project only those of images of the asker's own."""
    memberships = await service.registry.list_shared(member_id)
    if context.is_admin or context.project == member_id:
        return memberships
    query = ImageQuery(visible=(Visible(owner=context.project),), one_of={"id": tuple(item.image_id for item in memberships)})
    own = {image.id for image in await service.registry.list_images(query)} if context.project else set()
    return [item for item in memberships if item.image_id in own]
