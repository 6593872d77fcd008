"""Alembic's entry: run the migrations on the database that db.migrate names."""

from typing import Any

from alembic import context
from sqlalchemy import text

from receiver.db import connect
from receiver.models import Base

# Any number that nothing else locks; two hosts that deploy at once then migrate in turn.
MIGRATION_LOCK = 7_203_118_402

engine = connect(context.config.attributes["database_url"], pool_size=1)
with engine.connect() as connection:
    # An index on a large table takes what it takes, here and in PostgreSQL.
    bounded: Any = connection.connection.driver_connection
    bounded.answer_seconds = None
    connection.execute(text("SET lock_timeout = 0; SET statement_timeout = 0"))
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
    connection.commit()
    context.configure(connection=connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
