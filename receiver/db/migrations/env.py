"""Alembic's entry point: run the migrations on the database that receiver.db.migrate names.

Migrations run while the service serves, so each waits for a table no longer than the service can
wait behind it. Each is a transaction of its own. CREATE INDEX CONCURRENTLY needs to stand outside
of one, in `op.get_context().autocommit_block()` (see online.py), and may take as long as it needs.
"""

import threading
import time
from contextlib import ExitStack, suppress
from typing import Any

import structlog
from alembic import context
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import SQLAlchemyError

from receiver.db.engine import BEHIND_POOLER, create_engine_for, set_statements
from receiver.db.locks import MIGRATION_LOCK
from receiver.db.models import Base

log = structlog.get_logger("receiver.db.migrate")

# Every statement that comes after a waiting ALTER TABLE waits as well; accept waits 5 seconds.
LOCK_MILLISECONDS = 2_000
TURN_SECONDS = 0.2
# It is said for what a migration waits, if it waits so long.
REPORT_SECONDS = 5.0

NO_LIMITS = {"statement_timeout": 0, "lock_timeout": 0, "idle_in_transaction_session_timeout": 0}


def without_time_limit(connection: Connection) -> Connection:
    """Let the client wait without limit: an index on a large table takes its time."""
    driver_connection: Any = connection.connection.driver_connection
    driver_connection.answer_seconds = None
    return connection


def wait_for_turn(connection: Connection) -> None:
    """Wait until nobody else migrates, and keep others out until the transaction ends.

    The lock is the transaction's and not the session's, which a pooler would lose. No snapshot is
    held while we wait or afterwards, because an index that is built concurrently waits for those.
    """
    is_waiting = False
    while True:
        connection.exec_driver_sql(set_statements("LOCAL", NO_LIMITS))
        locked = text("SELECT pg_try_advisory_xact_lock(:key)")
        if connection.scalar(locked, {"key": MIGRATION_LOCK}):
            break
        if not is_waiting:
            log.info("migration_waiting", reason="another migration runs")
            is_waiting = True
        connection.rollback()
        time.sleep(TURN_SECONDS)
    # PostgreSQL keeps the last statement's snapshot until the next statement.
    connection.exec_driver_sql(set_statements("LOCAL", NO_LIMITS))


def report_blockers(engine: Engine, pid: int, stop: threading.Event) -> None:
    """Log every few seconds which sessions the migration waits for."""
    blockers = text("""
        SELECT pid, usename, application_name, state, now() - xact_start AS since
        FROM pg_stat_activity WHERE pid = ANY(pg_blocking_pids(:pid))
    """)
    while not stop.wait(REPORT_SECONDS):
        with suppress(SQLAlchemyError), engine.connect() as connection:
            found = connection.execute(blockers, {"pid": pid}).mappings().all()
            if found:
                sessions = [{key: str(value) for key, value in row.items()} for row in found]
                log.warning("migration_waiting", reason="other transactions", sessions=sessions)


engine = create_engine_for(context.config.attributes["database_url"], pool_size=2)
with ExitStack() as stack:
    stack.callback(engine.dispose)
    wait_for_turn(without_time_limit(stack.enter_context(engine.connect())))
    connection = without_time_limit(stack.enter_context(engine.connect()))
    if not connection.info[BEHIND_POOLER]:
        connection.exec_driver_sql(set_statements("SESSION", NO_LIMITS))
        connection.commit()
    stop = threading.Event()
    pid = connection.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
    threading.Thread(target=report_blockers, args=(engine, pid, stop), daemon=True).start()
    stack.callback(stop.set)
    limits = set_statements("LOCAL", {**NO_LIMITS, "lock_timeout": LOCK_MILLISECONDS})
    event.listen(connection, "begin", lambda begun: begun.exec_driver_sql(limits))
    context.configure(
        connection=connection, target_metadata=Base.metadata, transaction_per_migration=True
    )
    with context.begin_transaction():
        context.run_migrations()
