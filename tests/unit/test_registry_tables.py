"""The tables have the names that backups and dashboards of Glance rely on (contract B.5)."""

from __future__ import annotations

import pytest

from image_service.registry.tables import METADATA

COLUMNS = {
    "images": (
        "id name size virtual_size status visibility disk_format container_format checksum os_hash_algo os_hash_value os_hidden"
        " owner min_disk min_ram protected created_at updated_at deleted_at deleted"
    ),
    "image_properties": "image_id name value",
    "image_members": "image_id member can_share status",
    "image_locations": "image_id value meta_data status",
    "image_tags": "image_id value",
}


@pytest.mark.parametrize("table", COLUMNS)
def test_a_table_has_the_columns_that_others_read(table: str) -> None:
    assert set(COLUMNS[table].split()) <= set(METADATA.tables[table].c.keys())
