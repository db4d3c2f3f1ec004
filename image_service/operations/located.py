"""Bytes that lie elsewhere: images by location, and copies that are fetched in the background (API v1)."""

from __future__ import annotations

from image_service.errors import Conflict, InvalidValue, StoreUnavailable, UnsupportedUrl
from image_service.model import Image, Location, UploadKind
from image_service.operations import uploads
from image_service.operations.service import Service
from image_service.store.interface import Store


async def find(service: Service, url: str, size: int | None) -> tuple[Location, int]:
    """Where ``url`` leads, and how many bytes lie there.

    ``UnsupportedUrl`` for anything but http and https (``file`` would read the server's own files), ``DataMissing``,
    ``InvalidValue`` when nobody answers, ``Conflict`` when ``size`` (what the client says; 0 says nothing) is another.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise UnsupportedUrl("External sources are not supported: a location or copy-from URL is http or https.")
    location = Location(url)
    store = service.stores.for_location(location)
    try:
        found = await store.size(url)
    except StoreUnavailable as error:
        raise InvalidValue(f"The HTTP URL is invalid: {error.message}") from None
    if size and size != found:
        raise Conflict(f"A size of {size} bytes was given, but the location has {found}.")
    if service.stores.named:
        location.metadata["store"] = store.name
    return location, found


async def copy_later(service: Service, image: Image, location: Location, store: Store, room: int, checksum: str | None) -> None:
    """Take the lease of ``image`` now and copy what lies at ``location`` (from :func:`find`) into ``store`` after the answer, at
    most ``room`` bytes; the image ends active, with the size that it was registered with (0 says nothing), or killed.
    """
    lease = await uploads.begin(service, image, UploadKind.V1, store)
    source = service.stores.for_location(location).read(location.url)
    wanted = uploads.Upload(source, UploadKind.V1, size=image.size or None, checksum=checksum)
    service.spawn(uploads.run(service, image, wanted, lease, room), f"copy-from for image {image.id}")
