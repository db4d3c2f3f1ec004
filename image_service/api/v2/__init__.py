"""Images API v2: metadata in JSON."""

from __future__ import annotations

from image_service.api.routing import Routes
from image_service.api.v2 import data, discovery, images, members, schemas, tags, tenants
from image_service.operations.service import Service


def routes(service: Service) -> Routes:
    """Every address below ``/v2/`` (contract C.2)."""
    documents = schemas.Documents(service.disk_formats, service.container_formats)
    handlers = images.Images(documents)
    table = Routes()
    table.add("images", GET=images.index, POST=handlers.create)
    table.add("images/{image_id}", GET=images.show, PATCH=handlers.patch, DELETE=images.delete)
    table.add("images/{image_id}/file", GET=data.download, PUT=data.upload)
    table.add("images/{image_id}/actions/deactivate", POST=images.deactivate)
    table.add("images/{image_id}/actions/reactivate", POST=images.reactivate)
    table.add("images/{image_id}/tags/{tag}", PUT=tags.add, DELETE=tags.remove)
    table.add("images/{image_id}/members", GET=members.index, POST=members.add)
    table.add("images/{image_id}/members/{member_id}", GET=members.show, PUT=members.answer, DELETE=members.remove)
    table.add("info/import", GET=discovery.import_methods)
    table.add("info/stores", GET=discovery.stores)
    table.add("info/stores/detail", GET=discovery.stores_detail)
    table.add("info/usage", GET=discovery.usage)
    table.add("schemas/{name}", GET=documents.show)
    table.add("tenants", GET=tenants.refuse)
    return table
