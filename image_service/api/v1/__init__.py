"""Images API v1: metadata in headers."""

from __future__ import annotations

from image_service.api.routing import Routes
from image_service.api.v1 import images, listing, members

ROUTES = Routes(v1=True)
"""Every address below ``/v1/`` with the ``Allow`` values of contract A.2."""

ROUTES.add("", ANY=listing.index)
ROUTES.add("images", GET=listing.index, POST=images.create)
ROUTES.add("images/detail", GET=listing.detail, HEAD=listing.no_head)
ROUTES.add("images/{image_id}", GET=images.show, HEAD=images.head, PUT=images.update, DELETE=images.delete)
ROUTES.add("images/{image_id}/members", GET=members.index, PUT=members.replace)
ROUTES.add("images/{image_id}/members/{member_id}", GET=members.no_get, PUT=members.put, DELETE=members.remove)
ROUTES.add("shared-images/{member_id}", ANY=members.shared)
