"""Count what couriers' performance is read from

Orders that ended before the upgrade are counted by and by, from the change feed.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    op.create_table(
        "order_performance",
        sa.Column("order_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("sample", sa.Boolean(), nullable=False),
        sa.Column("day", sa.Date()),
        sa.Column("counters", ARRAY(sa.Text()), nullable=False),
        sa.Column("counted", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("replaced_day", sa.Date()),
        sa.Column("replaced_counters", ARRAY(sa.Text())),
        sa.PrimaryKeyConstraint("order_id", name=op.f("order_performance_pkey")),
    )
    op.create_index(
        "order_performance_new_idx",
        "order_performance",
        ["order_id"],
        postgresql_where=sa.text("NOT counted"),
    )
    op.create_table(
        "daily_performance",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("sample", sa.Boolean(), nullable=False),
        sa.Column("counter", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "account", "day", "sample", "counter", name=op.f("daily_performance_pkey")
        ),
    )


def downgrade() -> None:
    op.drop_table("daily_performance")
    op.drop_table("order_performance")
    # An upgrade counts everything again.
    op.execute("DELETE FROM cursors WHERE name = 'performance'")
