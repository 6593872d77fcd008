"""Retention: what is due to go is found without reading what stays

Five indexes that hold only what will be dropped one day, in the order in which it will be.
"""

import sqlalchemy as sa
from alembic import op

from receiver.db.migrations.online import create_index

revision = "0005"
down_revision = "0004"

ENDED = "('cancelled', 'returned', 'delivered')"


def upgrade() -> None:
    create_index(
        "messages_body_kept_idx",
        "messages",
        ["processed_at"],
        postgresql_where=sa.text("body IS NOT NULL AND outcome IN ('applied', 'discarded')"),
    )
    create_index(
        "orders_ended_idx",
        "orders",
        ["status_at"],
        postgresql_where=sa.text(f"erased_at IS NULL AND status IN {ENDED}"),
    )
    create_index(
        "orders_not_ended_idx",
        "orders",
        ["created_at"],
        postgresql_where=sa.text(f"erased_at IS NULL AND status NOT IN {ENDED}"),
    )
    create_index("tours_received_at_idx", "tours", ["received_at"])
    create_index("tour_stops_received_at_idx", "tour_stops", ["received_at"])


def downgrade() -> None:
    op.drop_index("tour_stops_received_at_idx", table_name="tour_stops")
    op.drop_index("tours_received_at_idx", table_name="tours")
    op.drop_index("orders_not_ended_idx", table_name="orders")
    op.drop_index("orders_ended_idx", table_name="orders")
    op.drop_index("messages_body_kept_idx", table_name="messages")
