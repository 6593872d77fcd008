"""When an order's people are forgotten: so long after its end, and as long since we know of it.

By the courier's clock alone an order that we hear of late, or whose courier's clock stands at 1970,
was erased in the second in which it came. Without the old index an earlier version that still runs
reads more, and the same.
"""

import sqlalchemy as sa
from alembic import op

from receiver.db.migrations.online import create_index

revision = "0011"
down_revision = "0010"

ENDED = "('cancelled', 'returned', 'delivered')"


def upgrade() -> None:
    create_index(
        "orders_ended_since_idx",
        "orders",
        [sa.text("GREATEST(status_at, created_at)")],
        postgresql_where=sa.text(f"erased_at IS NULL AND status IN {ENDED}"),
    )
    with op.get_context().autocommit_block():
        op.drop_index(
            "orders_ended_idx", table_name="orders", if_exists=True, postgresql_concurrently=True
        )


def downgrade() -> None:
    create_index(
        "orders_ended_idx",
        "orders",
        ["status_at"],
        postgresql_where=sa.text(f"erased_at IS NULL AND status IN {ENDED}"),
    )
    op.drop_index("orders_ended_since_idx", table_name="orders")
