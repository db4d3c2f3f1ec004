"""Column types and table options that migrations share.

Never changed once released: a migration means the same for ever.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

LONG_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def create_table(name: str, *columns: sa.Column[object]) -> None:
    """A table whose text compares byte by byte, unless an interrupted run has made it (MySQL cannot undo a
    CREATE TABLE).

    ``utf8mb4_bin`` ignores trailing spaces, so MariaDB's and MySQL's collations without padding are used,
    which have different names.
    """
    mariadb = bool(getattr(op.get_bind().dialect, "is_mariadb", False))
    collation = "utf8mb4_nopad_bin" if mariadb else "utf8mb4_0900_bin"
    op.create_table(
        name,
        *columns,
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate=collation,
        # SQLite gives out the number of a deleted row again, MySQL never does.
        sqlite_autoincrement=any(column.autoincrement is True for column in columns),
        if_not_exists=True,
    )


def create_index(name: str, table: str, columns: list[str], mysql_length: dict[str, int] | None = None) -> None:
    """An index, unless an interrupted run has made it."""
    if name not in {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(table)}:
        op.create_index(name, table, columns, mysql_length=mysql_length)
