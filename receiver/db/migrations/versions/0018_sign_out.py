"""Remember the sessions of the console that ended by signing out

A session that was signed out before the upgrade was ended in its browser only.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.create_table(
        "ended_sessions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("ended_at", TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("ended_sessions_pkey")),
        if_not_exists=True,
    )


def downgrade() -> None:
    op.drop_table("ended_sessions")
