"""What charts, alerts and /metrics are made of: tallies, counts, unmapped words."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0003"
down_revision = "0002"

TIME = TIMESTAMP(timezone=True)


def upgrade() -> None:
    whole = ("hooks", "answers", "missed", "quarantined", "parked", "events")
    op.create_table(
        "tallies",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        *(_number(name, sa.Integer()) for name in whole),
        _number("waited", sa.Double()),
        _number("longest_wait", sa.Double()),
        _number("lagged", sa.Integer()),
        _number("lag", sa.Double()),
        _number("longest_lag", sa.Double()),
        sa.PrimaryKeyConstraint("account", "at", name=op.f("tallies_pkey")),
    )
    op.create_table(
        "counts",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", "account", "label", name=op.f("counts_pkey")),
    )
    op.create_table(
        "unmapped_words",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("word", sa.Text(), nullable=False),
        sa.Column("first_at", TIME, nullable=False),
        sa.Column("last_at", TIME, nullable=False),
        sa.Column("times", sa.BigInteger(), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account", "word", name=op.f("unmapped_words_pkey")),
    )
    # A row that every batch writes again finds room beside itself.
    for table in ("tallies", "counts"):
        op.execute(f"ALTER TABLE {table} SET (fillfactor = 50)")


def _number(name: str, kind: "sa.types.TypeEngine[Any]") -> "sa.Column[Any]":
    return sa.Column(name, kind, server_default=sa.text("0"), nullable=False)


def downgrade() -> None:
    for table in ("unmapped_words", "counts", "tallies"):
        op.drop_table(table)
