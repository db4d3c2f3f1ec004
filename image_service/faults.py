"""Named points where a test can make the process die, as if by accident: ``IMAGE_SERVICE_FAULT=upload.after-rename``.

upload.before-lease     the image is registered, nobody uploads yet
upload.after-lease      the image is saving, no byte was written
upload.first-chunk      some bytes are in the temporary file
upload.before-fsync
upload.before-rename    the bytes are on stable storage, under the temporary name
upload.after-rename     the file has its final name, the registry still says saving
upload.before-active
upload.after-active     the registry says active, the client has no answer
delete.after-status     the registry says deleted, the bytes are there
delete.after-bytes      the bytes are gone, the row is not soft-deleted
"""

from __future__ import annotations

import os
import signal

ARMED = os.environ.get("IMAGE_SERVICE_FAULT")


def point(name: str) -> None:
    """Die here with SIGKILL when a test armed this point."""
    if name == ARMED:
        os.kill(os.getpid(), signal.SIGKILL)
