"""Who may do what, once for API v1, API v2 and the registry (contract A.16, C.11, C.12, C.20).

A question about one image is answered by a function here; a question about many is answered as data (:class:`Visible`) that the
registry turns into SQL. An image that may not be seen does not exist for who asks: 404, never 403.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from image_service.context import RequestContext
from image_service.errors import Forbidden, InvalidValue, NotAuthenticated, NotFound
from image_service.model import Image, MemberStatus, Status, Visibility
from image_service.registry.interface import Registry, Visible

EVERYONE_READS = (Visibility.PUBLIC, Visibility.COMMUNITY)
NOT_COMMUNITY = (Visibility.PUBLIC, Visibility.SHARED, Visibility.PRIVATE)


def owns(context: RequestContext, image: Image) -> bool:
    """Is the image the asker's own? Nobody owns an image without owner."""
    return image.owner is not None and image.owner == context.project


async def require_visible(context: RequestContext, image: Image, registry: Registry, *, v1: bool = False) -> None:
    """Raise ``NotFound`` unless the asker may know of the image (by id: members of any status count).

    Shared images without owner, and by v1 all without owner, are shown to everybody, as in Glance (contract A.16). v2 shows
    nothing to who has no role in a project, not even public images (C.20).
    """
    if not v1 and not _has_role(context):
        raise NotFound(f"No image found with ID {image.id}.")
    nobodys = image.owner is None and (v1 or image.visibility is Visibility.SHARED)
    if context.is_admin or image.visibility in EVERYONE_READS or owns(context, image) or nobodys:
        return
    if image.visibility is Visibility.SHARED and context.project and await registry.get_member(image.id, context.project):
        return
    raise NotFound(f"No image found with ID {image.id}.")


def require_change(context: RequestContext, image: Image, *, v1: bool = False) -> None:
    """Raise ``Forbidden`` unless the asker may change or delete an image that he sees; v1: ``NotFound`` for one that is not
    public (contract A.8, B.3).
    """
    if context.is_admin:
        return
    if v1 and not owns(context, image) and image.visibility is not Visibility.PUBLIC:
        raise NotFound(f"Image with identifier {image.id} not found")
    require_writer(context)
    if not owns(context, image):
        raise Forbidden(f"Image {image.id} belongs to another project; only its owner or an administrator may change it.")


def require_writer(context: RequestContext) -> None:
    """Raise ``Forbidden`` for who may only look: anonymous requests, and people with no other role than reader."""
    if context.is_admin:
        return
    if context.read_only or not context.roles - {"reader", "service"}:
        raise Forbidden("You may read images, but not create or change them: a role such as member is needed.")


def require_reader(context: RequestContext) -> None:
    """Raise ``Forbidden`` for who has no role, or none in a project."""
    if not _has_role(context):
        raise Forbidden("You have no role in a project, so there is no list for you.")


def _has_role(context: RequestContext) -> bool:
    if context.is_admin or context.read_only:
        return True
    return context.project is not None and bool(context.roles - {"service"})


def require_admin(context: RequestContext, what: str) -> None:
    """Raise ``Forbidden`` unless an administrator asks."""
    if not context.is_admin:
        raise Forbidden(f"Only an administrator may {what}.")


def is_shut_to(context: RequestContext, image: Image) -> bool:
    """The bytes of a deactivated image, and where they lie, are for administrators alone."""
    return image.status is Status.DEACTIVATED and not context.is_admin


def require_readable(context: RequestContext, image: Image) -> None:
    """Raise ``Forbidden`` for readers without another role, and for a deactivated image unless an administrator asks."""
    if not context.read_only:
        require_writer(context)
    if is_shut_to(context, image):
        raise Forbidden("The requested image has been deactivated. Image data download is forbidden.")


def require_store_details(context: RequestContext) -> None:
    """Raise ``Forbidden`` unless an administrator or a service asks."""
    if not context.is_admin and "service" not in context.roles:
        raise Forbidden("Only an administrator or a service may see the details of stores.")


def require_own_files(context: RequestContext, image_id: str | None, urls: Iterable[str]) -> None:
    """Raise ``Forbidden`` unless files that the asker gives to an image (registry API v1) have its name, as those of a file
    store have: another's file would be read, and deleted, with it.
    """
    for scheme, _, path in (url.partition("://") for url in urls):
        if scheme.lower() in ("file", "filesystem") and path.rpartition("/")[2] != image_id:
            require_admin(context, "give an image the file of another")


def require_visibility(context: RequestContext, visibility: Visibility) -> None:
    """Raise ``Forbidden`` unless the asker may give an image this visibility."""
    if visibility is Visibility.PUBLIC:
        require_admin(context, "make an image public")


def require_owner(context: RequestContext, owner: str | None) -> None:
    """Raise ``Forbidden`` unless the asker may make ``owner`` the owner of an image."""
    if not context.is_admin and owner != context.project:
        raise Forbidden("Only an administrator may give an image to another owner.")


def require_patch(context: RequestContext, name: str, value: Any) -> None:
    """API v2: raise ``Forbidden`` for an owner or a visibility that the asker may not give, even the one it has."""
    if name == "owner":
        require_admin(context, "change the owner of an image")
    if name == "visibility":
        require_visibility(context, Visibility(value))


def ignore_owner(context: RequestContext, said: dict[str, Any]) -> None:
    """API v1 and registry: an owner that is said by who is no administrator is as if he had said none."""
    if not context.is_admin:
        said.pop("owner", None)


# -- lists --


def visible_v2(
    context: RequestContext, visibility: str | None = None, member_status: str | None = None, *, by_name: bool = False
) -> tuple[Visible, ...] | None:
    """What ``GET /v2/images`` shows: the matrix of contract C.11. None means every image.

    ``visibility``: one of the four, ``all`` or None; ``member_status``: one of the three, ``all`` or None (accepted). Who looks
    for a name (``by_name``) where nobody authenticates finds community images, too (ours): nobody has his own there.
    """
    if visibility == "":
        return ()  # No image has it. Glance answers the same.
    _check_choice("visibility", visibility, [*Visibility, "all"])
    _check_choice("member_status", member_status, [*MemberStatus, "all"])
    status = None if member_status == "all" else member_status or MemberStatus.ACCEPTED.value
    reasons = _seen_by_a_user(context, status)
    if context.is_admin:
        own = () if context.project is None else (Visible(owner=context.project),)
        reasons = (Visible(NOT_COMMUNITY), *own)
    if visibility is None and by_name and context.is_admin and not context.authenticated:
        return None
    if visibility is None:
        return reasons
    if visibility == "all":
        return None if context.is_admin else (*reasons, Visible((Visibility.COMMUNITY,)))
    if context.is_admin or visibility in EVERYONE_READS:
        return (Visible((visibility,)),)
    fitting = [reason for reason in reasons if not reason.visibilities or visibility in reason.visibilities]
    return tuple(replace(reason, visibilities=(visibility,)) for reason in fitting)


def visible_v1(context: RequestContext, is_public: bool | None = None, *, given: bool = False) -> tuple[Visible, ...] | None:
    """What the lists of API v1 and of the registry show (contract A.10, A.16). None means every image.

    ``given``: the request has ``is_public``, whose value is True, False or None (the word "none"). Only an administrator's
    counts: True is what a plain user would see, False what is not public, "none" everything. Where nobody authenticates, an
    administrator who does not say sees everything (ours; Glance shows public images only).
    """
    if context.is_admin and given and is_public is None:
        return None
    if context.is_admin and given and is_public is False:
        return (Visible((Visibility.SHARED, Visibility.PRIVATE, Visibility.COMMUNITY)),)
    if context.is_admin and not given and not context.authenticated:
        return None
    return _seen_by_a_user(context, None)


def _seen_by_a_user(context: RequestContext, member_status: str | None) -> tuple[Visible, ...]:
    """What is public, what is his, and what is shared with him."""
    public = Visible((Visibility.PUBLIC,))
    if context.project is None:
        return (public,)
    shared = Visible((Visibility.SHARED,), member=context.project, member_status=member_status)
    return (public, Visible(owner=context.project), shared)


def _check_choice(name: str, value: str | None, choices: list[str]) -> None:
    if value is not None and value not in choices:
        raise InvalidValue(f"Invalid {name} value: {value}. It must be one of {', '.join(choices)}.")


# -- members --


def require_shared(image: Image) -> None:
    """API v2: raise ``Forbidden`` unless the image is shared."""
    if image.visibility is not Visibility.SHARED:
        raise Forbidden("Only shared images have members.")


def require_sharing(context: RequestContext, image: Image) -> None:
    """API v2: raise ``Forbidden`` unless the image is shared and the asker may say with whom."""
    require_shared(image)
    require_change(context, image)


def require_answer(context: RequestContext, image: Image) -> None:
    """API v2: raise ``Forbidden`` for the owner, who cannot accept for a member; an administrator can."""
    require_writer(context)
    if owns(context, image) and not context.is_admin:
        raise Forbidden("Only the member itself may accept or reject an image.")


def may_know_member(context: RequestContext, image: Image, member_id: str) -> bool:
    """All members for the owner and an administrator, else only himself."""
    return context.is_admin or owns(context, image) or context.project == member_id


async def require_sharing_v1(context: RequestContext, image: Image, registry: Registry) -> None:
    """API v1 and registry: the owner, an administrator and a member with ``can_share`` may share; others get 404 (A.11)."""
    if context.is_admin:
        return
    if context.project is None:
        raise NotAuthenticated("No authenticated user: who shares an image does it for a project.")
    require_writer(context)
    if owns(context, image):
        return
    member = await registry.get_member(image.id, context.project)
    if member is None or not member.can_share:
        raise NotFound("No permission to share that image.")


async def require_unsharing_v1(context: RequestContext, image: Image, member_id: str, registry: Registry) -> None:
    """API v1 and registry: a member may leave; who may share may remove those whom he may know (``NotFound``)."""
    require_writer(context)
    if context.project != member_id:
        await require_sharing_v1(context, image, registry)
    if not may_know_member(context, image, member_id):
        raise NotFound("Membership could not be found.")
