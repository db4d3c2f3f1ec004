"""Fixtures that several files of unit tests share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The inodes of files and folders that were brought to stable storage."""
    found: set[int] = set()
    fsync = os.fsync

    def watched(fd: int) -> None:
        fsync(fd)
        found.add(os.fstat(fd).st_ino)

    monkeypatch.setattr(os, "fsync", watched)
    return found
