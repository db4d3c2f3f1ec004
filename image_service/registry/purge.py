"""``db purge``: what the rows of long deleted images still say is erased; the rows stay.

Properties, tags, members and locations go when an image is deleted. Its row is kept for ever as a tombstone: an id that could
be given out again would let somebody put another image in the place of one that people still refer to (CVE-2016-4383).
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, or_, select, update

from image_service.model import Status, now
from image_service.registry.tables import IMAGES

ERASED = ("name", "owner", "disk_format", "container_format", "size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value")
_BATCH = 500


def erase(connection: Connection, age_in_days: int, max_rows: int) -> int:
    """Erase at most ``max_rows`` (and at most 500) images that were deleted more than ``age_in_days`` ago; how many it were."""
    old = (
        select(IMAGES.c.id)
        .where(IMAGES.c.deleted.is_(True), IMAGES.c.deleted_at < now() - timedelta(days=age_in_days))
        # Its bytes are still to be removed.
        .where(IMAGES.c.status != Status.PENDING_DELETE)
        .where(or_(*[IMAGES.c[name].is_not(None) for name in ERASED]))
        .limit(min(max_rows, _BATCH))
    )
    ids = connection.execute(old).scalars().all()
    if ids:
        connection.execute(update(IMAGES).where(IMAGES.c.id.in_(ids)).values(dict.fromkeys(ERASED)))
    return len(ids)
