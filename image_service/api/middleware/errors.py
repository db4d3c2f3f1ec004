"""Errors to answers, in one place, for image-api and image-registry (contract A.9, C.1).

``Accept`` decides the form: HTML where it admits it (also ``*/*``, curl's default), JSON where it is asked for by name, else
plain text. Clients strip tags and look for the sentence anywhere.

An ``Accept`` that is there and empty gets JSON (ours; Glance sends plain text): openstacksdk sends it with every PATCH, and shows
its user the sentence out of JSON and HTML only.
"""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Awaitable

from aiohttp import web

from image_service.api.call import json_answer
from image_service.errors import ImageServiceError

LOG = logging.getLogger(__name__)
_QUALITY = re.compile(r";\s*q\s*(?:=|$)([^;]*)")


def wanted_form(accept: str | None) -> str:
    """``html``, ``json`` or ``plain``, from the request's Accept header."""
    if not accept:
        return "plain" if accept is None else "json"
    weights = {"text/html": 0.0, "application/json": 0.0}
    for item in accept.lower().split(","):
        kind, weight = item.partition(";")[0].strip(), _weight(item)
        if kind in ("*/*", "text/*"):
            kind, weight = "text/html", weight * 0.999
        if kind in weights:
            weights[kind] = max(weights[kind], weight)
    if weights["application/json"] and weights["application/json"] >= weights["text/html"]:
        return "json"
    return "html" if weights["text/html"] else "plain"


def _weight(item: str) -> float:
    quality = _QUALITY.search(item)
    try:
        return float(quality[1]) if quality else 1.0
    except ValueError:
        return 0.0


async def guarded(request: web.BaseRequest, work: Awaitable[web.StreamResponse]) -> web.StreamResponse:
    """The answer of ``work``, or that to the error in which it ended. The trace of a bug of ours is logged, never sent."""
    try:
        return await work
    except ImageServiceError as error:
        if error.status.value >= 500:
            LOG.error("%s %s: %s", request.method, request.path, error.message)
        return _render(request, error)
    except Exception:
        LOG.exception("%s %s failed", request.method, request.path)
        sentence = f"The service failed to answer this request. Its log tells why under {request.get('request_id', '')}."
        return _render(request, ImageServiceError(sentence))


def _render(request: web.BaseRequest, error: ImageServiceError) -> web.Response:
    form, status, headers = wanted_form(request.headers.get("Accept")), error.status.value, error.headers
    title = f"{status} {error.status.phrase}"
    sentence = error.message.encode(errors="replace").decode()  # It may quote bytes of the request that are no UTF-8.
    if request.method == "HEAD":
        return web.Response(status=status, headers=headers, content_type="text/html" if form == "html" else "text/plain")
    if form == "json":
        return json_answer({"message": sentence, "code": title, "title": error.status.phrase}, status, headers)
    if form == "html":
        # glanceclient strips tags and shows entities as they are, so quotes, which need none here, stay quotes.
        text = (
            f"<html>\n <head>\n  <title>{title}</title>\n </head>\n <body>\n  <h1>{title}</h1>\n"
            f"  {html.escape(sentence, quote=False)}<br /><br />\n\n\n </body>\n</html>"
        )
    else:
        text = f"{title}\n\n{sentence}\n\n   "
    return web.Response(text=text, status=status, headers=headers, content_type=f"text/{form}", charset="UTF-8")
