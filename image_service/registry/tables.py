"""The tables of the registry, as they are at the newest migration (names: contract B.5).

An image's row stays for ever, so that its id is never given out again (CVE-2016-4383); what hangs on it is really deleted with
it. All text compares exactly, trailing spaces and case included; times are naive UTC with microseconds.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, DateTime, ForeignKey, Index, Integer, MetaData, String, Table, Text
from sqlalchemy.dialects import mysql

# Wider than the 64 KiB that a value may have: MySQL's TEXT ends one byte below.
LONG_TEXT = Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
MOMENT = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
# SQLite numbers rows by itself only in a column of type INTEGER.
ROW_NUMBER = BigInteger().with_variant(Integer(), "sqlite")

METADATA = MetaData()

# In the order of the fields of ``model.Image``: rows become images by position.
IMAGES = Table(
    "images",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("status", String(30), nullable=False),
    Column("visibility", String(9), nullable=False),
    Column("name", String(255)),
    Column("owner", String(255)),
    Column("disk_format", String(20)),
    Column("container_format", String(20)),
    Column("size", BigInteger),
    Column("virtual_size", BigInteger),
    Column("checksum", String(32)),
    Column("os_hash_algo", String(64)),
    Column("os_hash_value", String(128)),
    Column("min_disk", Integer, nullable=False),
    Column("min_ram", Integer, nullable=False),
    Column("protected", Boolean, nullable=False),
    Column("os_hidden", Boolean, nullable=False),
    Column("deleted", Boolean, nullable=False),
    Column("created_at", MOMENT, nullable=False),
    Column("updated_at", MOMENT, nullable=False),
    Column("deleted_at", MOMENT),
)

# A page is read from one of these in its order, so it costs the same however many images there are.
SORTED_BY = ("name", "status", "container_format", "disk_format", "size", "updated_at")
for _key in SORTED_BY:
    Index(f"ix_images_{_key}", IMAGES.c.deleted, IMAGES.c[_key], IMAGES.c.created_at, IMAGES.c.id)
Index("ix_images_created_at", IMAGES.c.deleted, IMAGES.c.created_at, IMAGES.c.id)
Index("ix_images_id", IMAGES.c.deleted, IMAGES.c.id)
# What most people list: their own images and public ones, by age or (as the openstack command does) by name.
for _whose in (IMAGES.c.owner, IMAGES.c.visibility):
    Index(f"ix_images_{_whose.name}", _whose, IMAGES.c.deleted, IMAGES.c.created_at, IMAGES.c.id)
    Index(f"ix_images_{_whose.name}_name", _whose, IMAGES.c.deleted, IMAGES.c.name, IMAGES.c.created_at, IMAGES.c.id)

IMAGE_PROPERTIES = Table(
    "image_properties",
    METADATA,
    Column("image_id", String(36), ForeignKey("images.id"), primary_key=True),
    Column("name", String(512), primary_key=True),
    Column("value", LONG_TEXT),
)
Index("ix_image_properties_value", IMAGE_PROPERTIES.c.name, IMAGE_PROPERTIES.c.value, mysql_length={"value": 128})

# In the order of the fields of ``model.Member``.
IMAGE_MEMBERS = Table(
    "image_members",
    METADATA,
    Column("image_id", String(36), ForeignKey("images.id"), primary_key=True),
    Column("member", String(255), primary_key=True),
    Column("can_share", Boolean, nullable=False),
    Column("status", String(20), nullable=False),
    Column("created_at", MOMENT, nullable=False),
    Column("updated_at", MOMENT, nullable=False),
)
Index("ix_image_members_member", IMAGE_MEMBERS.c.member, IMAGE_MEMBERS.c.image_id)

IMAGE_LOCATIONS = Table(
    "image_locations",
    METADATA,
    Column("id", ROW_NUMBER, primary_key=True, autoincrement=True),
    Column("image_id", String(36), ForeignKey("images.id"), nullable=False),
    Column("value", LONG_TEXT, nullable=False),
    Column("meta_data", LONG_TEXT, nullable=False),
    Column("status", String(30), nullable=False),
    # A number names one location for ever, as it does on MariaDB.
    sqlite_autoincrement=True,
)
Index("ix_image_locations_image_id", IMAGE_LOCATIONS.c.image_id)

IMAGE_TAGS = Table(
    "image_tags",
    METADATA,
    Column("image_id", String(36), ForeignKey("images.id"), primary_key=True),
    Column("value", String(255), primary_key=True),
)
Index("ix_image_tags_value", IMAGE_TAGS.c.value, IMAGE_TAGS.c.image_id)

# Leases of uploads; a row is there while somebody writes the image's bytes, or has left some of them.
IMAGE_UPLOADS = Table(
    "image_uploads",
    METADATA,
    Column("image_id", String(36), ForeignKey("images.id"), primary_key=True),
    Column("upload_id", String(36), nullable=False),
    Column("kind", String(10), nullable=False),
    Column("store", String(255), nullable=False),
    Column("renewed_at", MOMENT, nullable=False),
)
Index("ix_image_uploads_renewed_at", IMAGE_UPLOADS.c.renewed_at)

# What is really deleted with its image, locations when its bytes are. The lease of an upload is not: it leads the sweep to bytes
# that are left.
BELONGINGS = (IMAGE_PROPERTIES, IMAGE_MEMBERS, IMAGE_LOCATIONS, IMAGE_TAGS)
