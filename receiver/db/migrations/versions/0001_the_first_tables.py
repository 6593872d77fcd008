"""The first tables"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "messages",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("trust", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("body_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", TIMESTAMP(timezone=True), nullable=False),
        sa.Column("last_seen_at", TIMESTAMP(timezone=True), nullable=False),
        sa.Column("repetitions", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("outcome", sa.Text(), server_default="pending", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("processed_at", TIMESTAMP(timezone=True), nullable=True),
        sa.Column("courier_order_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("messages_pkey")),
        sa.UniqueConstraint(
            "account", "topic", "body_sha256", name=op.f("messages_account_topic_body_sha256_key")
        ),
    )
    op.create_index(
        "messages_account_courier_order_id_idx",
        "messages",
        ["account", "courier_order_id"],
        unique=False,
        postgresql_where=sa.text("courier_order_id IS NOT NULL"),
    )
    op.create_index(
        "messages_pending_idx",
        "messages",
        ["id"],
        unique=False,
        postgresql_where=sa.text("outcome = 'pending'"),
    )
    op.create_table(
        "orders",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("courier", sa.Text(), nullable=False),
        sa.Column("courier_order_id", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("shop_reference", sa.Text(), nullable=True),
        sa.Column("identifiers", JSONB(), server_default="{}", nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("courier_status", sa.Text(), nullable=True),
        sa.Column("status_at", TIMESTAMP(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("needs_attention", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("source", JSONB(), nullable=True),
        sa.Column("milestones", JSONB(), server_default="{}", nullable=False),
        sa.Column("conflicts", JSONB(), server_default="[]", nullable=False),
        sa.Column("tracking_url", sa.Text(), nullable=True),
        sa.Column("label_url", sa.Text(), nullable=True),
        sa.Column("pickup_at", TIMESTAMP(timezone=True), nullable=True),
        sa.Column("eta", JSONB(), nullable=True),
        sa.Column("parcels", JSONB(), server_default="[]", nullable=False),
        sa.Column("details", JSONB(), server_default="{}", nullable=False),
        sa.Column("metadata", JSONB(), server_default="{}", nullable=False),
        sa.Column("next_poll_at", TIMESTAMP(timezone=True), nullable=True),
        sa.Column("last_polled_at", TIMESTAMP(timezone=True), nullable=True),
        sa.Column("poll_failures", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("poll_stopped_at", TIMESTAMP(timezone=True), nullable=True),
        sa.Column("poll_stop_reason", sa.Text(), nullable=True),
        sa.Column("last_heard_at", TIMESTAMP(timezone=True), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("created_at", TIMESTAMP(timezone=True), nullable=False),
        sa.Column("updated_at", TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("orders_pkey")),
        sa.UniqueConstraint(
            "account", "courier_order_id", name=op.f("orders_account_courier_order_id_key")
        ),
    )
    op.create_index("orders_account_id_idx", "orders", ["account", "id"], unique=False)
    op.create_index(
        "orders_attention_idx",
        "orders",
        ["id"],
        unique=False,
        postgresql_where=sa.text("needs_attention"),
    )
    op.create_index(
        "orders_conflicts_idx",
        "orders",
        ["id"],
        unique=False,
        postgresql_where=sa.text("conflicts <> '[]'::jsonb"),
    )
    op.create_index("orders_reference_id_idx", "orders", ["reference", "id"], unique=False)
    op.create_index("orders_status_id_idx", "orders", ["status", "id"], unique=False)
    op.create_index("orders_updated_at_id_idx", "orders", ["updated_at", "id"], unique=False)
    op.create_table(
        "tour_stops",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("order_key", sa.Text(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("tour_id", sa.Text(), nullable=False),
        sa.Column("eta", TIMESTAMP(timezone=True), nullable=False),
        sa.Column("received_at", TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("account", "order_key", "message_id", name=op.f("tour_stops_pkey")),
    )
    op.create_table(
        "tours",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("tour_id", sa.Text(), nullable=False),
        sa.Column("courier_name", sa.Text(), nullable=True),
        sa.Column("pick_up_at", TIMESTAMP(timezone=True), nullable=True),
        sa.Column("window_from", TIMESTAMP(timezone=True), nullable=True),
        sa.Column("window_to", TIMESTAMP(timezone=True), nullable=True),
        sa.Column("stops", JSONB(), nullable=False),
        sa.Column("received_at", TIMESTAMP(timezone=True), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account", "tour_id", name=op.f("tours_pkey")),
    )
    op.create_table(
        "events",
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("occurred_at", TIMESTAMP(timezone=True), nullable=False),
        sa.Column("told_at", TIMESTAMP(timezone=True), nullable=True),
        sa.Column("received_at", TIMESTAMP(timezone=True), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("courier_status", sa.Text(), nullable=False),
        sa.Column("step", sa.SmallInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("parcel", sa.Text(), nullable=False),
        sa.Column("flags", ARRAY(sa.Text()), nullable=False),
        sa.Column("proofs", JSONB(), server_default="[]", nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("trust", sa.Text(), nullable=False),
        sa.Column("applied", sa.Boolean(), nullable=False),
        sa.Column("not_applied_why", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("events_order_id_fkey")),
        sa.PrimaryKeyConstraint("order_id", "key", name=op.f("events_pkey")),
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


def downgrade() -> None:
    op.drop_table("identifiers")
    op.drop_table("events")
    op.drop_table("tours")
    op.drop_table("tour_stops")
    op.drop_index("orders_updated_at_id_idx", table_name="orders")
    op.drop_index("orders_status_id_idx", table_name="orders")
    op.drop_index("orders_reference_id_idx", table_name="orders")
    op.drop_index(
        "orders_conflicts_idx",
        table_name="orders",
        postgresql_where=sa.text("conflicts <> '[]'::jsonb"),
    )
    op.drop_index(
        "orders_attention_idx", table_name="orders", postgresql_where=sa.text("needs_attention")
    )
    op.drop_index("orders_account_id_idx", table_name="orders")
    op.drop_table("orders")
    op.drop_index(
        "messages_pending_idx",
        table_name="messages",
        postgresql_where=sa.text("outcome = 'pending'"),
    )
    op.drop_index(
        "messages_account_courier_order_id_idx",
        table_name="messages",
        postgresql_where=sa.text("courier_order_id IS NOT NULL"),
    )
    op.drop_table("messages")
