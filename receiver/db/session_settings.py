"""The settings of our connections to PostgreSQL, also where a pooler stands before it.

They are no startup options: PgBouncer refuses those, or drops them without a word. It hands a
client no server's process id, and by that it is known. A server's connection is then ours for one
transaction, so each begins with the settings, and nothing of them, nor a prepared statement, stays
behind for whoever gets that connection next.
"""

from collections.abc import Mapping

import psycopg
from sqlalchemy import Connection, Engine, event
from sqlalchemy.pool import ConnectionPoolEntry

POOLED = "ordertrail_pooled"


def settle(engine: Engine, settings: Mapping[str, str | int]) -> None:
    """Have the settings hold on every connection of the engine."""

    def connected(connection: "psycopg.Connection[object]", entry: ConnectionPoolEntry) -> None:
        try:
            settle_new(connection, entry)
        except psycopg.Error:
            # It goes no further than here, and nobody else would close it.
            connection.close()
            raise

    def settle_new(connection: "psycopg.Connection[object]", entry: ConnectionPoolEntry) -> None:
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        entry.info[POOLED] = row != (connection.info.backend_pid,)
        if entry.info[POOLED]:
            connection.prepare_threshold = None
        else:
            connection.execute(all_set("SESSION", settings).encode())
        connection.commit()

    def begun(connection: Connection) -> None:
        if connection.info.get(POOLED):
            connection.exec_driver_sql(all_set("LOCAL", settings))

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)


def all_set(scope: str, settings: Mapping[str, str | int]) -> str:
    """The statements that set them. scope: SESSION or LOCAL (to the transaction)."""
    return "; ".join(f"SET {scope} {name} = '{value}'" for name, value in settings.items())
