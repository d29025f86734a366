"""When a roll-out was paused, resumed, aborted, halted or done; until here only what it is was kept."""

from __future__ import annotations

import sqlalchemy as sql
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the table; of roll-outs before, it tells nothing."""
    op.create_table(
        "rollout_moves",
        sql.Column("rollout", sql.String, nullable=False),
        sql.Column("at_ms", sql.BigInteger, nullable=False),
        sql.Column("standing", sql.String, nullable=False),
        sql.Column("reason", sql.String, nullable=False),
    )
