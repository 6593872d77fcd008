"""When the large tables are vacuumed and analysed.

A message is written twice, when it comes and when it is folded, and both times into indexes: so
each leaves a dead row of its own size. By default PostgreSQL comes when a fifth of a table is dead,
which in an inbox of five million is a million rows, and days. Here it comes after some thousands
and a fiftieth, and looks as often at how the values are spread: the share of the pending swings
between none and all within seconds, and whoever plans by an old one reads the table to find ten.

An account's one row is counted up by every batch. With room in its page the new version stands
beside the old one, no index is touched, and the next reader clears the old one away (HOT).
"""

from alembic import op

revision = "0010"
down_revision = "0009"

LARGE = ("messages", "orders", "events", "identifiers", "polls", "changes")
SETTINGS = {
    "autovacuum_vacuum_threshold": "5000",
    "autovacuum_vacuum_scale_factor": "0.02",
    "autovacuum_vacuum_insert_threshold": "20000",
    "autovacuum_vacuum_insert_scale_factor": "0.05",
    "autovacuum_analyze_threshold": "5000",
    "autovacuum_analyze_scale_factor": "0.02",
}


def upgrade() -> None:
    told = ", ".join(f"{name} = {value}" for name, value in SETTINGS.items())
    for table in LARGE:
        op.execute(f"ALTER TABLE {table} SET ({told})")
    op.execute("ALTER TABLE accounts SET (fillfactor = 50)")


def downgrade() -> None:
    op.execute("ALTER TABLE accounts RESET (fillfactor)")
    for table in LARGE:
        op.execute(f"ALTER TABLE {table} RESET ({', '.join(SETTINGS)})")
