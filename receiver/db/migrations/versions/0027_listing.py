"""Index what lists of orders can be narrowed down by; changes keep what they show

A change that an older release wrote shows the order's present reference and no time.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

from receiver.db.migrations.online import create_index

revision = "0027"
down_revision = "0026"

CREATED_ON = "((created_at AT TIME ZONE 'UTC')::date)"


def upgrade() -> None:
    reference = sa.Column("reference", sa.Text(), nullable=True)
    status_at = sa.Column("status_at", TIMESTAMP(timezone=True), nullable=True)
    op.add_column("changes", reference, if_not_exists=True)
    op.add_column("changes", status_at, if_not_exists=True)
    create_index(
        "orders_created_idx",
        "orders",
        [sa.text(CREATED_ON), "id"],
        postgresql_include=["created_at"],
    )


def downgrade() -> None:
    op.drop_index("orders_created_idx", table_name="orders")
    op.drop_column("changes", "status_at")
    op.drop_column("changes", "reference")
