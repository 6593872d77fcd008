"""Store what a courier says beside the body of a webhook, and count what is not stored at all

Both are only filled for couriers whose driver declares it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    op.add_column("messages", sa.Column("request", JSONB()))
    op.add_column(
        "accounts",
        sa.Column("discarded", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
    )
    op.add_column("accounts", sa.Column("last_discarded_at", TIMESTAMP(timezone=True)))


def downgrade() -> None:
    op.drop_column("accounts", "last_discarded_at")
    op.drop_column("accounts", "discarded")
    op.drop_column("messages", "request")
