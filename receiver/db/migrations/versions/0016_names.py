"""Find orders by every name, however it is spelled"""

import sqlalchemy as sa
from alembic import op

from receiver.db.migrations.online import create_index

revision = "0016"
down_revision = "0015"

SPELLING = "lower(replace(btrim({}), '-', ''))"
# Each order's own id, its parcels and its references become names, too.
ADD_NAMES = """
    INSERT INTO identifiers AS known (account, value, order_id, kind)
    SELECT DISTINCT ON (value, id) account, value, id, kind
    FROM orders CROSS JOIN LATERAL (
        VALUES (courier_order_id, 'name'), (reference, 'reference'), (shop_reference, 'reference'),
               (details -> 'details' -> 'reference' ->> 'value', 'reference')
        UNION ALL
        SELECT jsonb_object_keys(details -> 'parcels'), 'name'
    ) AS names (value, kind)
    WHERE id BETWEEN :first AND :last AND value IS NOT NULL
    ORDER BY value, id, kind
    ON CONFLICT DO NOTHING
"""
CHUNK = 10_000


def upgrade() -> None:
    kind = sa.Column("kind", sa.Text(), server_default="name", nullable=False)
    op.add_column("identifiers", kind, if_not_exists=True)
    columns = ["account", sa.text(SPELLING.format("value")), "order_id"]
    create_index("identifiers_spelling_idx", "identifiers", columns)
    create_index("identifiers_order_id_idx", "identifiers", ["order_id"])
    columns = ["account", sa.text(SPELLING.format("order_key"))]
    create_index("tour_stops_spelling_idx", "tour_stops", columns)
    columns = ["account", sa.text(SPELLING.format("courier_order_id"))]
    where = sa.text("last_heard_at IS NULL")
    create_index("orders_silent_idx", "orders", columns, postgresql_where=where)
    if op.get_context().as_sql:
        return
    # In short transactions, since folding locks the same rows.
    with op.get_context().autocommit_block():
        last = op.get_bind().scalar(sa.text("SELECT coalesce(max(id), 0) FROM orders"))
        for first in range(1, last + 1, CHUNK):
            limits = {"first": first, "last": first + CHUNK - 1}
            op.get_bind().execute(sa.text(ADD_NAMES), limits)


def downgrade() -> None:
    op.drop_index("orders_silent_idx", table_name="orders")
    op.drop_index("tour_stops_spelling_idx", table_name="tour_stops")
    op.drop_index("identifiers_order_id_idx", table_name="identifiers")
    op.drop_index("identifiers_spelling_idx", table_name="identifiers")
    op.execute("DELETE FROM identifiers WHERE kind <> 'name'")
    op.drop_column("identifiers", "kind")
