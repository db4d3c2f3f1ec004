"""The id under which a request is found again in every log and answer (contract C.1)."""

from __future__ import annotations

import random
import re
import uuid

from aiohttp import web

from image_service import log
from image_service.errors import HeaderTooLarge

HEADER = "X-Openstack-Request-Id"
_GOOD = re.compile(r"[\w.:+-]+", re.ASCII)


def request_id_of(request: web.BaseRequest, longest: int | None) -> str:
    """The id that the client gave, or a new one; from here on it stands in this task's log lines.

    An id that could forge a log line is not taken. Raises ``HeaderTooLarge`` beyond ``longest`` characters (None: any number).
    """
    given = request.headers.get(HEADER)
    if given is not None and longest is not None and len(given) > longest:
        raise HeaderTooLarge(f"{HEADER} may have at most {longest} characters, and has {len(given)}.")
    wanted = given if given and _GOOD.fullmatch(given) else _new_request_id()
    found = wanted if wanted.startswith("req-") else f"req-{wanted}"
    log.request_id.set(found)
    return found


def _new_request_id() -> str:
    """A request id in OpenStack's form: ``req-`` and a UUID.

    It need not be secret, so it does not ask the kernel: that was a twentieth of a show's time.
    """
    return f"req-{uuid.UUID(int=random.getrandbits(128), version=4)}"


async def put_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """Tell the client the id, in every answer."""
    if request_id := request.get("request_id"):
        response.headers[HEADER] = request_id
