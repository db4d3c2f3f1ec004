"""Images API v2: metadata in JSON."""

from __future__ import annotations

from image_service.api.routing import Routes
from image_service.api.v2 import data, discovery, images, members, schemas

READ_BODY = frozenset({images.index, images.create, images.patch, data.upload, members.add, members.answer})
"""Handlers that read a request's body, or do not mind one. For all others it is an error."""

ROUTES = Routes()
"""Every address below ``/v2/`` (contract C.2)."""

ROUTES.add("images", GET=images.index, POST=images.create)
ROUTES.add("images/{image_id}", GET=images.show, PATCH=images.patch, DELETE=images.delete)
ROUTES.add("images/{image_id}/file", GET=data.download, PUT=data.upload, HEAD=data.download)
ROUTES.add("images/{image_id}/actions/deactivate", POST=images.deactivate)
ROUTES.add("images/{image_id}/actions/reactivate", POST=images.reactivate)
ROUTES.add("images/{image_id}/tags/{tag}", PUT=images.add_tag, DELETE=images.remove_tag)
ROUTES.add("images/{image_id}/members", GET=members.index, POST=members.add)
ROUTES.add("images/{image_id}/members/{member_id}", GET=members.show, PUT=members.answer, DELETE=members.remove)
ROUTES.add("stores/{store}/{image_id}", DELETE=data.remove)
ROUTES.add("info/import", GET=discovery.import_methods)
ROUTES.add("info/stores", GET=discovery.stores)
ROUTES.add("info/stores/detail", GET=discovery.stores_detail)
ROUTES.add("info/usage", GET=discovery.usage)
ROUTES.add("schemas/{name}", GET=schemas.show)
ROUTES.add("tenants", GET=discovery.refuse_tenants)
