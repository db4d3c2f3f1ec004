"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa

from image_service.registry.migrations.kinds import LONG_TEXT, MOMENT, ROW_NUMBER, create_index, create_table

revision = "expand_0001"
down_revision = None
branch_labels = ("expand",)
depends_on = None

SORTED_BY = ("name", "status", "container_format", "disk_format", "size", "updated_at")


def upgrade() -> None:
    """Images and what hangs on them."""
    _images()
    _belongings()
    _uploads()


def _images() -> None:
    create_table(
        "images",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("status", sa.String(30), nullable=False),
        sa.Column("visibility", sa.String(9), nullable=False),
        sa.Column("name", sa.String(255)),
        sa.Column("owner", sa.String(255)),
        sa.Column("disk_format", sa.String(20)),
        sa.Column("container_format", sa.String(20)),
        sa.Column("size", sa.BigInteger),
        sa.Column("virtual_size", sa.BigInteger),
        sa.Column("checksum", sa.String(32)),
        sa.Column("os_hash_algo", sa.String(64)),
        sa.Column("os_hash_value", sa.String(128)),
        sa.Column("min_disk", sa.Integer, nullable=False),
        sa.Column("min_ram", sa.Integer, nullable=False),
        sa.Column("protected", sa.Boolean, nullable=False),
        sa.Column("os_hidden", sa.Boolean, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("deleted_at", MOMENT),
    )
    for key in SORTED_BY:
        create_index(f"ix_images_{key}", "images", ["deleted", key, "created_at", "id"])
    create_index("ix_images_created_at", "images", ["deleted", "created_at", "id"])
    create_index("ix_images_id", "images", ["deleted", "id"])
    for whose in ("owner", "visibility"):
        create_index(f"ix_images_{whose}", "images", [whose, "deleted", "created_at", "id"])
        create_index(f"ix_images_{whose}_name", "images", [whose, "deleted", "name", "created_at", "id"])


def _belongings() -> None:
    create_table(
        "image_properties",
        _image_key(),
        sa.Column("name", sa.String(512), primary_key=True),
        sa.Column("value", LONG_TEXT),
    )
    create_index("ix_image_properties_value", "image_properties", ["name", "value"], {"value": 128})
    create_table(
        "image_members",
        _image_key(),
        sa.Column("member", sa.String(255), primary_key=True),
        sa.Column("can_share", sa.Boolean, nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
    )
    create_index("ix_image_members_member", "image_members", ["member", "image_id"])
    create_table(
        "image_locations",
        sa.Column("id", ROW_NUMBER, primary_key=True, autoincrement=True),
        sa.Column("image_id", sa.String(36), sa.ForeignKey("images.id"), nullable=False),
        sa.Column("value", LONG_TEXT, nullable=False),
        sa.Column("meta_data", LONG_TEXT, nullable=False),
        sa.Column("status", sa.String(30), nullable=False),
    )
    create_index("ix_image_locations_image_id", "image_locations", ["image_id"])
    create_table("image_tags", _image_key(), sa.Column("value", sa.String(255), primary_key=True))
    create_index("ix_image_tags_value", "image_tags", ["value", "image_id"])


def _uploads() -> None:
    create_table(
        "image_uploads",
        _image_key(),
        sa.Column("upload_id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("store", sa.String(255), nullable=False),
        sa.Column("renewed_at", MOMENT, nullable=False),
    )
    create_index("ix_image_uploads_renewed_at", "image_uploads", ["renewed_at"])


def _image_key() -> sa.Column[object]:
    return sa.Column("image_id", sa.String(36), sa.ForeignKey("images.id"), primary_key=True)
