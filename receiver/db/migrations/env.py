"""Alembic's entry: run the migrations on the database that migrating.py names.

They run while the service serves, so a migration waits for a table for no longer than the service
can wait behind it. Each is a transaction of its own; what must stand outside of one (CREATE INDEX
CONCURRENTLY) goes into an `op.get_context().autocommit_block()`, and may then wait for as long as
it takes, since nobody waits behind it.
"""

import time
from contextlib import ExitStack
from typing import Any

from alembic import context
from sqlalchemy import Connection, event, text

from receiver.db.connection import BEHIND_POOLER, set_statements
from receiver.db.engine import create_engine_for
from receiver.db.models import Base

# Any number that nothing else locks; two hosts that deploy at once then migrate in turn.
MIGRATION_LOCK = 7_203_118_402
# Whoever comes after a waiting ALTER TABLE waits as well. A courier's message does so for 5 s.
LOCK_MS = 2_000
TURN_SECONDS = 0.2

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


def take_turn(turn: Connection) -> None:
    """Wait until nobody else migrates; until the end of its transaction nobody else will.

    A transaction's lock and no session's, which a pooler would lose between two transactions. And
    no snapshot is held, neither while we wait nor after, since an index that is built concurrently
    waits for everybody's.
    """
    while True:
        turn.exec_driver_sql(set_statements("LOCAL", NO_LIMITS))
        if turn.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK}):
            break
        turn.rollback()
        time.sleep(TURN_SECONDS)
    # Any further statement: until then PostgreSQL keeps the last one's snapshot.
    turn.exec_driver_sql(set_statements("LOCAL", NO_LIMITS))


engine = create_engine_for(context.config.attributes["database_url"], pool_size=2)
with ExitStack() as stack:
    stack.callback(engine.dispose)
    take_turn(unbounded(stack.enter_context(engine.connect())))
    connection = unbounded(stack.enter_context(engine.connect()))
    if not connection.info[BEHIND_POOLER]:
        connection.exec_driver_sql(set_statements("SESSION", NO_LIMITS))
        connection.commit()
    limits = set_statements("LOCAL", {**NO_LIMITS, "lock_timeout": LOCK_MS})
    event.listen(connection, "begin", lambda begun: begun.exec_driver_sql(limits))
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()
