"""Polling, the change feed, and lists that stay fast

Two indexes over what orders are listed by take the place of four. Messages that were
sent back wait in an index of their own, behind the new ones.

The five columns that go were never written: an order's polling stands in a table of its own, since
a row as wide as an order's is no place for what changes with every look.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP

revision = "0002"
down_revision = "0001"

TIME = TIMESTAMP(timezone=True)
NEVER_WRITTEN: dict[str, sa.Column[Any]] = {
    "next_poll_at": sa.Column("next_poll_at", TIME, nullable=True),
    "last_polled_at": sa.Column("last_polled_at", TIME, nullable=True),
    "poll_failures": sa.Column(
        "poll_failures", sa.SmallInteger(), server_default=sa.text("0"), nullable=False
    ),
    "poll_stopped_at": sa.Column("poll_stopped_at", TIME, nullable=True),
    "poll_stop_reason": sa.Column("poll_stop_reason", sa.Text(), nullable=True),
}


def _count(name: str, kind: type[sa.types.TypeEngine[int]] = sa.BigInteger) -> sa.Column[int]:
    return sa.Column(name, kind(), server_default=sa.text("0"), nullable=False)


def upgrade() -> None:
    op.create_table(
        "changes",
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("changed", ARRAY(sa.Text()), nullable=False),
        sa.Column("changed_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("changes_pkey")),
    )
    op.create_table(
        "polls",
        sa.Column("order_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("placed_at", TIME, nullable=False),
        sa.Column("due_at", TIME, nullable=True),
        sa.Column("leased_until", TIME, nullable=True),
        sa.Column("polled_at", TIME, nullable=True),
        sa.Column("confirmed_at", TIME, nullable=True),
        _count("quiet", sa.Integer),
        sa.Column(
            "unchanged_for", sa.Interval(), server_default=sa.text("'00:00:00'"), nullable=False
        ),
        _count("failures", sa.Integer),
        sa.Column("unknown_since", TIME, nullable=True),
        sa.Column("answer_id", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", TIME, nullable=True),
        sa.Column("stopped_at", TIME, nullable=True),
        sa.Column("stop_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("polls_order_id_fkey")),
        sa.PrimaryKeyConstraint("order_id", name=op.f("polls_pkey")),
    )
    op.create_index(
        "polls_due_idx",
        "polls",
        ["account", "due_at"],
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index("polls_placed_idx", "polls", ["account", "placed_at"])
    op.create_index(
        "polls_stopped_idx",
        "polls",
        ["account", "stopped_at"],
        postgresql_where=sa.text("stopped_at IS NOT NULL"),
    )
    op.create_index(
        "polls_unknown_idx",
        "polls",
        ["account", "unknown_since"],
        postgresql_where=sa.text("unknown_since IS NOT NULL"),
    )
    op.create_index(
        "polls_lost_idx",
        "polls",
        ["account"],
        postgresql_where=sa.text("due_at IS NULL AND finished_at IS NULL AND stopped_at IS NULL"),
    )
    op.create_table(
        "accounts",
        sa.Column("account", sa.Text(), nullable=False),
        _count("hooks"),
        sa.Column("last_hook_at", TIME, nullable=True),
        sa.Column("longest_gap", sa.Interval(), nullable=True),
        _count("missed"),
        _count("requests"),
        _count("requests_saved"),
        _count("answers"),
        sa.Column("last_answer_at", TIME, nullable=True),
        _count("failures", sa.Integer),
        sa.Column("paused_at", TIME, nullable=True),
        sa.Column("paused_until", TIME, nullable=True),
        sa.Column("pause_reason", sa.Text(), nullable=True),
        sa.Column("tended_at", TIME, nullable=True),
        sa.Column("recovered_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("account", name=op.f("accounts_pkey")),
    )
    for name in NEVER_WRITTEN:
        op.drop_column("orders", name)
    op.add_column("orders", sa.Column("erased_at", TIME, nullable=True))
    op.add_column("messages", sa.Column("retried_at", TIME, nullable=True))
    op.create_index(
        "messages_hook_key",
        "messages",
        ["account", "topic", "body_sha256"],
        unique=True,
        postgresql_where=sa.text("kind = 'webhook'"),
    )
    op.drop_constraint("messages_account_topic_body_sha256_key", "messages", type_="unique")
    op.drop_index("messages_pending_idx", table_name="messages")
    op.create_index(
        "messages_pending_idx",
        "messages",
        ["id"],
        postgresql_where=sa.text("outcome = 'pending' AND retried_at IS NULL"),
    )
    op.create_index(
        "messages_sent_back_idx",
        "messages",
        ["id"],
        postgresql_where=sa.text("outcome = 'pending' AND retried_at IS NOT NULL"),
    )
    op.create_index("messages_listed_idx", "messages", ["account", "outcome", "id"])
    op.drop_index("messages_account_courier_order_id_idx", table_name="messages")
    op.create_index(
        "messages_account_courier_order_id_idx",
        "messages",
        ["account", "courier_order_id", "id"],
        postgresql_where=sa.text("courier_order_id IS NOT NULL"),
    )
    op.create_index(
        "orders_listed_idx",
        "orders",
        ["status", "account", "needs_attention", "id"],
        postgresql_include=["updated_at"],
    )
    op.create_index(
        "orders_updated_idx",
        "orders",
        [sa.text("((updated_at AT TIME ZONE 'UTC')::date)"), "id"],
        postgresql_include=["updated_at", "account", "status", "needs_attention"],
    )
    for name in (
        "orders_account_id_idx",
        "orders_status_id_idx",
        "orders_attention_idx",
        "orders_updated_at_id_idx",
    ):
        op.drop_index(name, table_name="orders")


def downgrade() -> None:
    op.create_index("orders_updated_at_id_idx", "orders", ["updated_at", "id"])
    op.create_index(
        "orders_attention_idx", "orders", ["id"], postgresql_where=sa.text("needs_attention")
    )
    op.create_index("orders_status_id_idx", "orders", ["status", "id"])
    op.create_index("orders_account_id_idx", "orders", ["account", "id"])
    for name in ("orders_updated_idx", "orders_listed_idx"):
        op.drop_index(name, table_name="orders")
    op.drop_index("messages_account_courier_order_id_idx", table_name="messages")
    op.create_index(
        "messages_account_courier_order_id_idx",
        "messages",
        ["account", "courier_order_id"],
        postgresql_where=sa.text("courier_order_id IS NOT NULL"),
    )
    for name in ("messages_listed_idx", "messages_sent_back_idx", "messages_pending_idx"):
        op.drop_index(name, table_name="messages")
    op.create_index(
        "messages_pending_idx", "messages", ["id"], postgresql_where=sa.text("outcome = 'pending'")
    )
    op.create_unique_constraint(
        "messages_account_topic_body_sha256_key", "messages", ["account", "topic", "body_sha256"]
    )
    op.drop_index("messages_hook_key", table_name="messages")
    op.drop_column("messages", "retried_at")
    op.drop_column("orders", "erased_at")
    for column in NEVER_WRITTEN.values():
        op.add_column("orders", column)
    for table in ("accounts", "polls", "changes"):
        op.drop_table(table)
