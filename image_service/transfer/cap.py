"""A limit on bytes that holds whatever a header said."""

from __future__ import annotations

from collections.abc import AsyncIterator

from image_service.errors import LimitExceeded


async def capped(source: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    """Pass ``source`` on; ``LimitExceeded`` in place of the chunk that leads over ``limit`` bytes."""
    left = limit
    async for chunk in source:
        left -= len(chunk)
        if left < 0:
            raise LimitExceeded(
                f"The image is larger than the {limit} bytes that it may have: the size cap or a quota is in the way."
            )
        yield chunk
