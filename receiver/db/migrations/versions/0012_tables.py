"""Create all tables

Until the first release this one migration was twelve. It keeps the last one's revision, so a
database that had them all is up to date.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

revision = "0012"
down_revision = None

TIME = TIMESTAMP(timezone=True)

# A message is written twice, when it is accepted and when it is folded, and each write leaves a
# dead row. By default PostgreSQL vacuums a table when a fifth of it is dead, which in an inbox of
# five million messages is a million rows. The share of pending messages swings between none and all
# within seconds, so old statistics would make the planner read the whole table to find ten rows.
LARGE_TABLES = ("messages", "orders", "events", "identifiers", "polls", "changes")
AUTOVACUUM = """
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_insert_threshold = 20000,
    autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_threshold = 5000,
    autovacuum_analyze_scale_factor = 0.02
"""
# Rows that every batch updates. With room in its page the new version of a row is stored beside
# the old one and no index is touched (HOT).
OFTEN_UPDATED = ("accounts", "tallies", "counts")


def upgrade() -> None:  # noqa: PLR0915 (one statement a table or index)
    op.create_table(
        "messages",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("trust", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary()),
        sa.Column("body_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("last_seen_at", TIME, nullable=False),
        sa.Column("repetitions", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("outcome", sa.Text(), server_default="pending", nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("processed_at", TIME),
        sa.Column("courier_order_id", sa.Text()),
        sa.Column("retried_at", TIME),
        sa.Column("tries", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("tried_by", sa.Text()),
        sa.Column("names", ARRAY(sa.Text())),
        sa.PrimaryKeyConstraint("id", name=op.f("messages_pkey")),
    )
    op.create_index(
        "messages_account_courier_order_id_idx",
        "messages",
        ["account", "courier_order_id", "id"],
        postgresql_where=sa.text("courier_order_id IS NOT NULL"),
    )
    op.create_index(
        "messages_body_kept_idx",
        "messages",
        ["processed_at"],
        postgresql_where=sa.text("body IS NOT NULL AND outcome IN ('applied', 'discarded')"),
    )
    op.create_index(
        "messages_hook_key",
        "messages",
        ["account", "topic", "body_sha256"],
        unique=True,
        postgresql_where=sa.text("kind = 'webhook'"),
    )
    op.create_index("messages_listed_idx", "messages", ["account", "outcome", "id"])
    op.create_index(
        "messages_parked_names_idx",
        "messages",
        ["names"],
        postgresql_using="gin",
        postgresql_where=sa.text("outcome = 'parked'"),
    )
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
    op.create_index(
        "messages_suspected_idx",
        "messages",
        ["id"],
        postgresql_where=sa.text("outcome = 'pending' AND tries > 0"),
    )
    op.create_table(
        "orders",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("courier", sa.Text(), nullable=False),
        sa.Column("courier_order_id", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text()),
        sa.Column("shop_reference", sa.Text()),
        sa.Column("identifiers", JSONB(), server_default="{}", nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("courier_status", sa.Text()),
        sa.Column("status_at", TIME),
        sa.Column("reason", sa.Text()),
        sa.Column("needs_attention", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("source", JSONB()),
        sa.Column("milestones", JSONB(), server_default="{}", nullable=False),
        sa.Column("conflicts", JSONB(), server_default="[]", nullable=False),
        sa.Column("tracking_url", sa.Text()),
        sa.Column("label_url", sa.Text()),
        sa.Column("pickup_at", TIME),
        sa.Column("eta", JSONB()),
        sa.Column("parcels", JSONB(), server_default="[]", nullable=False),
        sa.Column("details", JSONB(), server_default="{}", nullable=False),
        sa.Column("metadata", JSONB(), server_default="{}", nullable=False),
        sa.Column("last_heard_at", TIME),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("erased_at", TIME),
        sa.PrimaryKeyConstraint("id", name=op.f("orders_pkey")),
        sa.UniqueConstraint(
            "account", "courier_order_id", name=op.f("orders_account_courier_order_id_key")
        ),
    )
    op.create_index(
        "orders_conflicts_idx",
        "orders",
        ["id"],
        postgresql_where=sa.text("conflicts <> '[]'::jsonb"),
    )
    op.create_index(
        "orders_ended_since_idx",
        "orders",
        [sa.text("GREATEST(status_at, created_at)")],
        postgresql_where=sa.text(
            "erased_at IS NULL AND status IN ('cancelled', 'returned', 'delivered')"
        ),
    )
    op.create_index(
        "orders_eta_idx",
        "orders",
        [sa.text("(eta ->> 'to')"), "account"],
        postgresql_where=sa.text(
            "eta IS NOT NULL AND status NOT IN ('cancelled', 'returned', 'delivered')"
        ),
    )
    op.create_index(
        "orders_listed_idx",
        "orders",
        ["status", "account", "needs_attention", "id"],
        postgresql_include=["updated_at"],
    )
    op.create_index(
        "orders_not_ended_idx",
        "orders",
        ["created_at"],
        postgresql_where=sa.text(
            "erased_at IS NULL AND status NOT IN ('cancelled', 'returned', 'delivered')"
        ),
    )
    op.create_index("orders_reference_id_idx", "orders", ["reference", "id"])
    op.create_index(
        "orders_standing_idx",
        "orders",
        [
            sa.text("((account || ' ') || status)"),
            sa.text("GREATEST(COALESCE(status_at, created_at), pickup_at)"),
        ],
        postgresql_where=sa.text("status NOT IN ('cancelled', 'returned', 'delivered')"),
    )
    op.create_index(
        "orders_updated_idx",
        "orders",
        [sa.text("((updated_at AT TIME ZONE 'UTC')::date)"), "id"],
        postgresql_include=["updated_at", "account", "status", "needs_attention"],
    )
    op.create_table(
        "identifiers",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["order_id"], ["orders.id"], name=op.f("identifiers_order_id_fkey")
        ),
        sa.PrimaryKeyConstraint("account", "value", "order_id", name=op.f("identifiers_pkey")),
    )
    op.create_table(
        "events",
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.Column("told_at", TIME),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("courier_status", sa.Text(), nullable=False),
        sa.Column("step", sa.SmallInteger(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("parcel", sa.Text(), nullable=False),
        sa.Column("flags", ARRAY(sa.Text()), nullable=False),
        sa.Column("proofs", JSONB(), server_default="[]", nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("trust", sa.Text(), nullable=False),
        sa.Column("applied", sa.Boolean(), nullable=False),
        sa.Column("not_applied_why", sa.Text()),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("events_order_id_fkey")),
        sa.PrimaryKeyConstraint("order_id", "key", name=op.f("events_pkey")),
    )
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
        sa.Column("due_at", TIME),
        sa.Column("leased_until", TIME),
        sa.Column("polled_at", TIME),
        sa.Column("confirmed_at", TIME),
        sa.Column("quiet", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "unchanged_for", sa.Interval(), server_default=sa.text("'00:00:00'"), nullable=False
        ),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("unknown_since", TIME),
        sa.Column("answer_id", sa.BigInteger()),
        sa.Column("finished_at", TIME),
        sa.Column("stopped_at", TIME),
        sa.Column("stop_reason", sa.Text()),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("polls_order_id_fkey")),
        sa.PrimaryKeyConstraint("order_id", name=op.f("polls_pkey")),
    )
    op.create_index(
        "polls_due_idx",
        "polls",
        ["account", "due_at"],
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "polls_lost_idx",
        "polls",
        ["account"],
        postgresql_where=sa.text("due_at IS NULL AND finished_at IS NULL AND stopped_at IS NULL"),
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
    op.create_table(
        "accounts",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("hooks", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_hook_at", TIME),
        sa.Column("longest_gap", sa.Interval()),
        sa.Column("missed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("requests_saved", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("answers", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_answer_at", TIME),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("paused_at", TIME),
        sa.Column("paused_until", TIME),
        sa.Column("pause_reason", sa.Text()),
        sa.Column("tended_at", TIME),
        sa.Column("recovered_at", TIME),
        sa.Column("folded_at", TIME),
        sa.PrimaryKeyConstraint("account", name=op.f("accounts_pkey")),
    )
    op.create_table(
        "tours",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("tour_id", sa.Text(), nullable=False),
        sa.Column("courier_name", sa.Text()),
        sa.Column("pick_up_at", TIME),
        sa.Column("window_from", TIME),
        sa.Column("window_to", TIME),
        sa.Column("stops", JSONB(), nullable=False),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account", "tour_id", name=op.f("tours_pkey")),
    )
    op.create_index(op.f("tours_received_at_idx"), "tours", ["received_at"])
    op.create_table(
        "tour_stops",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("order_key", sa.Text(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("tour_id", sa.Text(), nullable=False),
        sa.Column("eta", TIME, nullable=False),
        sa.Column("received_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("account", "order_key", "message_id", name=op.f("tour_stops_pkey")),
    )
    op.create_index(op.f("tour_stops_received_at_idx"), "tour_stops", ["received_at"])
    op.create_table(
        "tallies",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("hooks", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("answers", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("missed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("quarantined", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("parked", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("events", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("waited", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("longest_wait", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("lagged", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("lag", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("longest_lag", sa.Double(), server_default=sa.text("0"), nullable=False),
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
    op.create_table(
        "heartbeats",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("heartbeats_pkey")),
    )
    op.create_table(
        "notices",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("condition", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("what_to_do", sa.Text(), nullable=False),
        sa.Column("example", sa.Text()),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("since", TIME),
        sa.Column("opened_at", TIME, nullable=False),
        sa.Column("gone_since", TIME),
        sa.Column("closed_at", TIME),
        sa.PrimaryKeyConstraint("id", name=op.f("notices_pkey")),
    )
    op.create_index(
        "notices_open_key",
        "notices",
        ["condition", "account"],
        unique=True,
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_index("notices_opened_idx", "notices", ["opened_at"])
    op.create_table(
        "pushes",
        sa.Column("notice_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_at", TIME, nullable=False),
        sa.Column("sent_at", TIME),
        sa.Column("given_up_at", TIME),
        sa.ForeignKeyConstraint(
            ["notice_id"], ["notices.id"], name=op.f("pushes_notice_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("notice_id", "kind", "target", name=op.f("pushes_pkey")),
    )
    op.create_index(
        "pushes_due_idx",
        "pushes",
        ["next_at"],
        postgresql_where=sa.text("sent_at IS NULL AND given_up_at IS NULL"),
    )
    for table in LARGE_TABLES:
        op.execute(f"ALTER TABLE {table} SET ({AUTOVACUUM})")
    for table in OFTEN_UPDATED:
        op.execute(f"ALTER TABLE {table} SET (fillfactor = 50)")


def downgrade() -> None:
    for table in (
        *("pushes", "notices", "heartbeats", "unmapped_words", "secret_uses", "refusals"),
        *("counts", "tallies", "tour_stops", "tours", "accounts", "polls", "changes"),
        *("events", "identifiers", "orders", "messages"),
    ):
        op.drop_table(table)
