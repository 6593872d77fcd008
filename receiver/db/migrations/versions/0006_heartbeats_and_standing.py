"""Heartbeats, and indexes over orders that do not move on."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

from receiver.db.migrations.online import create_index

revision = "0006"
down_revision = "0005"

OPEN = "status NOT IN ('cancelled', 'returned', 'delivered')"


def upgrade() -> None:
    op.create_table(
        "heartbeats",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("at", TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("heartbeats_pkey")),
        if_not_exists=True,
    )
    create_index(
        "orders_standing_idx",
        "orders",
        [
            sa.text("((account || ' ') || status)"),
            sa.text("GREATEST(COALESCE(status_at, created_at), pickup_at)"),
        ],
        postgresql_where=sa.text(OPEN),
    )
    create_index(
        "orders_eta_idx",
        "orders",
        [sa.text("(eta ->> 'to')"), "account"],
        postgresql_where=sa.text(f"eta IS NOT NULL AND {OPEN}"),
    )


def downgrade() -> None:
    op.drop_index("orders_eta_idx", "orders")
    op.drop_index("orders_standing_idx", "orders")
    op.drop_table("heartbeats")
