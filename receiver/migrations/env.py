"""Alembic's entry: run the migrations on the database that db.migrate names.

They run while the service serves, so a migration waits for a table for no longer than the service
can wait behind it. Each is a transaction of its own; what must stand outside of one (CREATE INDEX
CONCURRENTLY) goes into an `op.get_context().autocommit_block()`, and may then wait for as long as
it takes, since nobody waits behind it.
"""

from contextlib import ExitStack
from typing import Any

from alembic import context
from sqlalchemy import Connection, event, text

from receiver.db import connect
from receiver.models import Base
from receiver.pooler import POOLED, all_set

# Any number that nothing else locks; two hosts that deploy at once then migrate in turn.
MIGRATION_LOCK = 7_203_118_402
# Whoever comes after a waiting ALTER TABLE waits as well. A courier's message does so for 5 s.
LOCK_MS = 2_000

NO_LIMITS = {
    "statement_timeout": 0,
    "lock_timeout": 0,
    "idle_in_transaction_session_timeout": 0,
}


def unbounded(connection: Connection) -> Connection:
    """An index on a large table takes what it takes: we wait for it as well."""
    driver: Any = connection.connection.driver_connection
    driver.answer_seconds = None
    return connection


engine = connect(context.config.attributes["database_url"], pool_size=2)
# The turn is a transaction's, which stays open beside the migrations: a session's would be lost
# between two transactions where a pooler stands before PostgreSQL.
with ExitStack() as stack:
    stack.callback(engine.dispose)
    turn = unbounded(stack.enter_context(engine.begin()))
    turn.exec_driver_sql(all_set("LOCAL", NO_LIMITS))
    turn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
    connection = unbounded(stack.enter_context(engine.connect()))
    if not connection.info[POOLED]:
        connection.exec_driver_sql(all_set("SESSION", NO_LIMITS))
        connection.commit()
    limits = all_set("LOCAL", {**NO_LIMITS, "lock_timeout": LOCK_MS})
    event.listen(connection, "begin", lambda begun: begun.exec_driver_sql(limits))
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()
