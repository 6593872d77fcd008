"""Remember the shop's corrections of an order, and whether its tracking is stopped"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

from receiver.db.migrations.online import create_index

revision = "0025"
down_revision = "0024"

UNWATCHED = (
    "tracking_stopped_at IS NOT NULL OR"
    " starts_with(lower(replace(btrim(courier_order_id), '-', '')), 'ordertrailsample')"
)


def upgrade() -> None:
    for column in (
        sa.Column("corrections", JSONB(), server_default="{}", nullable=False),
        sa.Column("tracking_stopped_at", TIMESTAMP(timezone=True)),
    ):
        op.add_column("orders", column, if_not_exists=True)
    create_index("orders_unwatched_idx", "orders", ["id"], postgresql_where=sa.text(UNWATCHED))


def downgrade() -> None:
    op.drop_index("orders_unwatched_idx", table_name="orders")
    op.drop_column("orders", "tracking_stopped_at")
    op.drop_column("orders", "corrections")
