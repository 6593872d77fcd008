"""Store what decoding left out of messages, and the courier's promise of a delivery

Both are null in the rows that are stored already: `ordertrail rebuild` fills in the promises.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("messages", sa.Column("left_out", JSONB()), if_not_exists=True)
    op.add_column("orders", sa.Column("promised", JSONB()), if_not_exists=True)
    op.create_table(
        "left_out_fields",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_at", TIMESTAMP(timezone=True), nullable=False),
        sa.Column("last_at", TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("account", "field", name=op.f("left_out_fields_pkey")),
        if_not_exists=True,
    )


def downgrade() -> None:
    op.drop_table("left_out_fields")
    op.drop_column("orders", "promised")
    op.drop_column("messages", "left_out")
