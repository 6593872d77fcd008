"""Keep who did what: the audit log

What was done before the upgrade is not in it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column(
            "at",
            TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("token_name", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=True),
        sa.Column("courier_order_id", sa.Text(), nullable=True),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_entries_pkey")),
    )
    # The table is empty, so its indexes are built in no time.
    op.create_index("audit_entries_at_idx", "audit_entries", ["at", "id"])
    op.create_index("audit_entries_who_idx", "audit_entries", ["who", "at", "id"])
    op.create_index("audit_entries_action_idx", "audit_entries", ["action", "at", "id"])
    op.create_index(
        "audit_entries_order_idx", "audit_entries", ["account", "courier_order_id", "at", "id"]
    )


def downgrade() -> None:
    op.drop_table("audit_entries")
