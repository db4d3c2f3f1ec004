"""Every error that a user can meet: its HTTP status and a sentence that says what to do next.

    ImageServiceError
    ├── InvalidValue 400          UnsupportedUrl, ClientDisconnected (nobody is there to read the answer)
    ├── NotAuthenticated 401
    ├── Forbidden 403
    ├── NotFound 404              DataMissing (the image is there, its bytes are not)
    ├── MethodNotAllowed 405
    ├── Conflict 409              Duplicate, WrongStatus, StoreInUse
    ├── Gone 410                  UploadLost (the image was deleted, or the upload was declared dead), ReadOnlyStore
    ├── PreconditionFailed 412    If-Match and the like
    ├── LimitExceeded 413         StoreFull
    ├── UnsupportedMediaType 415
    ├── RangeNotSatisfiable 416
    ├── HeaderTooLarge 431
    └── ServiceUnavailable 503    RegistryUnavailable, RegistryNotWritable, StoreUnavailable

An error carries a sentence for the person who caused it, never a secret, a path of the server or a trace. Handlers do not
catch these; ``api.middleware.errors`` turns them into answers in one place. The registry sends ``code`` and the sentence over
the wire and ``RemoteRegistry`` raises the same class again, so codes are stable.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import ClassVar


class ImageServiceError(Exception):
    """Base of all errors that have an HTTP status of their own.

    ``headers`` are sent with the answer (``Allow``, ``Accept-Patch``, ``WWW-Authenticate``, ``Content-Range``).
    """

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(self, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.headers: dict[str, str] = dict(headers or {})

    @property
    def code(self) -> str:
        """A stable name for programs: the name of the class."""
        return type(self).__name__


class InvalidValue(ImageServiceError):
    """A header, query parameter, attribute or body is not as it must be."""

    status = HTTPStatus.BAD_REQUEST


class UnsupportedUrl(InvalidValue):
    """A location or copy-from URL that this service does not read from."""


class ClientDisconnected(InvalidValue):
    """The client went away in the middle of its request."""


class NotAuthenticated(ImageServiceError):
    """Who asks is not known."""

    status = HTTPStatus.UNAUTHORIZED


class Forbidden(ImageServiceError):
    """Who asks is known and may not do this."""

    status = HTTPStatus.FORBIDDEN


class NotFound(ImageServiceError):
    """There is no such thing, or it is not for the eyes of who asks."""

    status = HTTPStatus.NOT_FOUND


class DataMissing(NotFound):
    """The registry knows the image, but the store has lost its bytes."""


class MethodNotAllowed(ImageServiceError):
    """The address exists, the method does not; ``headers`` has ``Allow``."""

    status = HTTPStatus.METHOD_NOT_ALLOWED


class Conflict(ImageServiceError):
    """The thing is not in a state in which this can be done."""

    status = HTTPStatus.CONFLICT


class Duplicate(Conflict):
    """Something with this id or name exists, or existed."""


class WrongStatus(Conflict):
    """A status change that ``operations.lifecycle`` does not have, or that another request was faster with."""


class StoreInUse(Conflict):
    """The store cannot remove bytes that something else still uses."""


class Gone(ImageServiceError):
    """It was there when the request began, and is not any more."""

    status = HTTPStatus.GONE


class UploadLost(Gone):
    """The image was deleted during the upload, or the upload was silent for so long that it was declared dead."""


class ReadOnlyStore(Gone):
    """The store takes no images."""


class PreconditionFailed(ImageServiceError):
    """What the request made a condition does not hold."""

    status = HTTPStatus.PRECONDITION_FAILED


class LimitExceeded(ImageServiceError):
    """A size cap or a quota is in the way."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class StoreFull(LimitExceeded):
    """There is no room left in the store."""


class UnsupportedMediaType(ImageServiceError):
    """The body is of a kind that this address does not take."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class RangeNotSatisfiable(ImageServiceError):
    """None of the image's bytes lie in the range."""

    status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE


class HeaderTooLarge(ImageServiceError):
    """A header field is longer than this service takes."""

    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


class ServiceUnavailable(ImageServiceError):
    """A part that is needed does not answer now; the same request may work later."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


class RegistryUnavailable(ServiceUnavailable):
    """The registry or its database does not answer."""


class RegistryNotWritable(ServiceUnavailable):
    """The database refuses to write (no room, no permission): unlike above, nothing was changed."""


class StoreUnavailable(ServiceUnavailable):
    """The store refuses or does not answer."""


def by_code() -> dict[str, type[ImageServiceError]]:
    """Every error class by its code, to raise again what came over a wire."""
    return {name: cls for name, cls in globals().items() if isinstance(cls, type) and issubclass(cls, ImageServiceError)}
