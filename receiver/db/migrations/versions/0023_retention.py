"""Find what retention removes next at any size of the tables

A change that is older than the upgrade is searched once more.
"""

import sqlalchemy as sa
from alembic import op

from receiver.db.migrations.online import create_index

revision = "0023"
down_revision = "0022"

CLOSED = (
    "erased_at IS NOT NULL AND NOT needs_attention"
    " AND status IN ('cancelled', 'returned', 'delivered')"
)
CLOSED_SINCE = "GREATEST(status_at, created_at, last_heard_at, NULLIF(updated_at, erased_at))"
UNOWNED = (
    "body IS NULL AND (outcome = 'discarded' OR outcome = 'applied' AND courier_order_id IS NULL)"
)


def upgrade() -> None:
    op.create_table(
        "cursors",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("cursors_pkey")),
        if_not_exists=True,
    )
    create_index("changes_order_id_idx", "changes", ["order_id"])
    create_index(
        "orders_closed_idx", "orders", [sa.text(CLOSED_SINCE)], postgresql_where=sa.text(CLOSED)
    )
    create_index(
        "messages_unowned_idx", "messages", ["processed_at"], postgresql_where=sa.text(UNOWNED)
    )


def downgrade() -> None:
    op.drop_index("messages_unowned_idx", table_name="messages")
    op.drop_index("orders_closed_idx", table_name="orders")
    op.drop_index("changes_order_id_idx", table_name="changes")
    op.drop_table("cursors")
