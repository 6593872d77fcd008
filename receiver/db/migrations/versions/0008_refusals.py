"""What was refused at the door, and which secrets are in use."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0008"
down_revision = "0007"

TIME = TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "refusals",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("likely", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_at", TIME, nullable=False),
        sa.Column("last_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("account", "day", "reason", "likely", name=op.f("refusals_pkey")),
    )
    op.create_table(
        "secret_uses",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_at", TIME, nullable=False),
        sa.Column("last_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("account", "fingerprint", name=op.f("secret_uses_pkey")),
    )


def downgrade() -> None:
    op.drop_table("secret_uses")
    op.drop_table("refusals")
