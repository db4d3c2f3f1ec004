"""The status machine (contract C.19), and which moves requests find in it."""

from __future__ import annotations

import pytest

from image_service.errors import WrongStatus
from image_service.model import Status, UploadKind
from image_service.operations import lifecycle
from image_service.operations.uploads import failure

# Glance's table, and two moves more: API v1 kills also from queued (contract A.12), and with delayed_delete a deactivated image
# waits as an active one does.
MOVES = {
    "queued": "saving uploading importing active deleted killed",
    "saving": "active killed deleted queued",
    "uploading": "importing queued deleted",
    "importing": "active deleted queued",
    "active": "pending_delete deleted deactivated",
    "deactivated": "active deleted pending_delete",
    "pending_delete": "deleted active",
    "killed": "deleted",
    "deleted": "",
}


@pytest.mark.parametrize("source", list(Status))
@pytest.mark.parametrize("target", list(Status))
def test_only_the_moves_of_the_table_are_legal(source: Status, target: Status) -> None:
    if target in MOVES[source].split():
        lifecycle.require(source, target)
    else:
        with pytest.raises(WrongStatus, match=f"Image status transition from {source} to {target} is not allowed"):
            lifecycle.require(source, target)


def test_every_status_can_be_left_for_deleted() -> None:
    for status in frozenset(Status) - {Status.DELETED}:
        lifecycle.require(status, Status.DELETED)


@pytest.mark.parametrize(("kind", "status"), [(UploadKind.V1, Status.KILLED), (UploadKind.V2, Status.QUEUED)])
def test_a_failed_upload_kills_in_v1_and_can_be_tried_again_in_v2(kind: UploadKind, status: Status) -> None:
    assert failure(kind).values["status"] is status


def test_data_are_read_of_active_and_deactivated_images_alone() -> None:
    assert {Status.ACTIVE, Status.DEACTIVATED} == lifecycle.READABLE
