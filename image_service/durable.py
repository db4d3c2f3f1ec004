"""What is to be there after a power cut."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def fsync_folder(folder: Path) -> None:
    """Make names that came or went in ``folder`` durable, where the file system can (CIFS, for one, cannot)."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(fd)
