"""One line for each request that was answered: what, with which outcome, how much, how long, for whom."""

from __future__ import annotations

import logging

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from image_service import log

NAME = "image_service.access"
access_log = logging.getLogger(NAME)
# An address may be as long as a header line, and lines wait in memory while the log's disk is stuck.
_LONGEST_PATH = 2048


class AccessLogger(AbstractAccessLogger):
    """Called by aiohttp when the answer was sent.

    ``seconds`` runs from the end of the request's header to the end of the answer.
    """

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Write the line."""
        context = request.get("context")
        path = request.raw_path[:_LONGEST_PATH]
        log.event(
            NAME,
            request.get("request_id", ""),
            {
                "method": request.method,
                "path": log.redact(path) if "=" in path or "://" in path else path,
                "status": response.status,
                "bytes": _sent(request, response),
                "seconds": f"{time:.6f}",
                "user": (context.user if context else None) or "-",
                "project": (context.project if context else None) or "-",
                "client": request.get("client") or request.remote or "-",
            },
        )

    @property
    def enabled(self) -> bool:
        """Whether anybody would read it; without it aiohttp does not even take the time."""
        return access_log.isEnabledFor(logging.INFO)


def _sent(request: web.BaseRequest, response: web.StreamResponse) -> int:
    """Bytes of the body. aiohttp counts the header, too, and not what the kernel sends from a file."""
    length = response.content_length
    if request.method == "HEAD" or length is None:
        return 0 if request.method == "HEAD" else response.body_length
    return min(length, response.body_length) if isinstance(response, web.Response) else length
