"""Nothing to remove: the first release has no release before it."""

from __future__ import annotations

revision = "contract_0001"
down_revision = None
branch_labels = ("contract",)
depends_on = None


def upgrade() -> None:
    """Only marks the branch."""
