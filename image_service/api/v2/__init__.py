"""Images API v2: metadata in JSON."""

from __future__ import annotations

from image_service.api.routing import Routes
from image_service.api.v2 import data, discovery, images, members, schemas

READ_BODY = frozenset({images.index, images.create, images.patch, data.upload, members.add, members.answer})
"""Handlers that read a request's body, or do not mind one. For all others it is an error."""


def routes() -> Routes:
    """Every address below ``/v2/`` (contract C.2)."""
    table = Routes()
    table.add("images", GET=images.index, POST=images.create)
    table.add("images/{image_id}", GET=images.show, PATCH=images.patch, DELETE=images.delete)
    table.add("images/{image_id}/file", GET=data.download, PUT=data.upload)
    table.add("images/{image_id}/actions/deactivate", POST=images.deactivate)
    table.add("images/{image_id}/actions/reactivate", POST=images.reactivate)
    table.add("images/{image_id}/tags/{tag}", PUT=images.add_tag, DELETE=images.remove_tag)
    table.add("images/{image_id}/members", GET=members.index, POST=members.add)
    table.add("images/{image_id}/members/{member_id}", GET=members.show, PUT=members.answer, DELETE=members.remove)
    table.add("info/import", GET=discovery.import_methods)
    table.add("info/stores", GET=discovery.stores)
    table.add("info/stores/detail", GET=discovery.stores_detail)
    table.add("info/usage", GET=discovery.usage)
    table.add("schemas/{name}", GET=schemas.show)
    table.add("tenants", GET=discovery.refuse_tenants)
    return table
