"""Runs the migrations on the open connection that ``registry.schema`` hands over; it has locked the database
before.
"""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], target_metadata=None)
with context.begin_transaction():
    context.run_migrations()
