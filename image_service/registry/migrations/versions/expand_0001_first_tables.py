"""The first tables, as ``registry.tables`` describes them."""

from __future__ import annotations

from alembic import op

from image_service.registry.tables import METADATA

revision = "expand_0001"
down_revision = None
branch_labels = ("expand",)
depends_on = None


def upgrade() -> None:
    """Make every table and index that is not there.

    MySQL cannot undo a CREATE, so every migration does only what is left to do; that is why this one may take the tables as they
    are today: a later one finds done on a new database what it does on an old one.
    """
    bind = op.get_bind()
    # Text compares byte by byte. utf8mb4_bin ignores trailing spaces; the collations that do not have different names.
    collation = "utf8mb4_nopad_bin" if getattr(bind.dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
    for table in METADATA.sorted_tables:
        table.kwargs.update(mysql_engine="InnoDB", mysql_charset="utf8mb4", mysql_collate=collation)
        table.create(bind, checkfirst=True)
        for index in table.indexes:
            index.create(bind, checkfirst=True)
