"""When an account's messages were last folded

A worker's heartbeat says that it lives, not that it gets anywhere.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("accounts", sa.Column("folded_at", TIMESTAMP(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("accounts", "folded_at")
