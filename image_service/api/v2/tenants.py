"""``GET /v2/tenants``: what ``openstack image add project`` asks where there is no identity service.

Without Keystone python-openstackclient takes the address of the images for that of the identities too, and looks a project up by
``GET /v2/tenants/NAME`` and then in ``GET /v2/tenants``. A 404 for the list ends the command; a 403 makes it take the project as
given (``openstackclient.identity.common._find_sdk_id``), which is right: here projects are named by their ids. Glance says 404.
"""

from __future__ import annotations

from aiohttp import web

from image_service.api.call import Call
from image_service.errors import Forbidden


async def refuse(call: Call) -> web.Response:
    """Always ``Forbidden``."""
    raise Forbidden("This service keeps no list of projects: a project is named by its id.")
