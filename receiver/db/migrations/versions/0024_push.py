"""Remember how far the change feed was pushed to the shop"""

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def _time(name: str) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=True)


def upgrade() -> None:
    op.create_table(
        "feed_pushes",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("placed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=True),
        sa.Column("batch_end", sa.BigInteger(), nullable=True),
        _time("leased_until"),
        _time("attempted_at"),
        _time("accepted_at"),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        _time("failing_since"),
        _time("next_attempt_at"),
        sa.PrimaryKeyConstraint("name", name=op.f("feed_pushes_pkey")),
    )


def downgrade() -> None:
    op.drop_table("feed_pushes")
