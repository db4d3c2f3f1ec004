"""The secret that image-api shows image-registry: hex text in a file that both read, never a default."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from oslo_config import cfg

from image_service.durable import fsync_folder

BYTES = 32
_SHORTEST = 32


def read_secret(path: str) -> str:
    """The secret in ``path``.

    ``cfg.Error`` when it is missing, too short, no hex text, or readable by everybody; its sentence is without the secret.
    """
    try:
        with open(path, encoding="ascii") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise cfg.Error(f"[registry_link] secret_file {path} cannot be read: {error.__class__.__name__}.") from None
    if stat.S_IMODE(mode) & 0o007:
        raise cfg.Error(
            f"[registry_link] secret_file {path} is open to everybody on this host: chmod 0640 it, and make a new one."
        )
    if len(text) < _SHORTEST or not all(digit in "0123456789abcdefABCDEF" for digit in text):
        raise cfg.Error(f"[registry_link] secret_file {path} must hold at least {_SHORTEST} hexadecimal digits.")
    return text


def make_secret(path: str) -> None:
    """Write a new secret, mode 0600.

    ``FileExistsError`` when there is a file: a secret in use is never replaced by accident.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(BYTES) + "\n")
        file.flush()
        os.fsync(descriptor)
    fsync_folder(Path(path).absolute().parent)
