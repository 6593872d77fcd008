"""Bring PostgreSQL's tables to what this release expects.

A module of its own, because importing Alembic takes as long as SQLAlchemy and only a release needs
it.
"""

import time
from importlib.resources import files

import psycopg
import structlog
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import OperationalError

from receiver.db.engine import create_engine_for

log = structlog.get_logger(__name__)

# Between two attempts, those whom the migration kept waiting continue.
RETRY_SECONDS = 1.0

# In the text of an error, which has no SQLSTATE where no connection was made: PostgreSQL starts or
# restarts, or its host or container does.
SIGNS_OF_A_START = (
    *("starting up", "shutting down", "recovery mode", "not yet accepting", "too many clients"),
    *(
        "refused",
        "No such file",
        "timeout",
        "unreachable",
        "No route to host",
        "closed the connection",
    ),
    *("resolve host", "translate host name"),
)


def alembic_config(database_url: str) -> Config:
    """Return Alembic's configuration, which needs no alembic.ini."""
    config = Config()
    location = str(files("receiver.db") / "migrations")
    config.set_main_option("script_location", location.replace("%", "%%"))
    config.attributes["database_url"] = database_url
    return config


def migrate(
    database_url: str, revision: str = "head", lock_seconds: float = 180, connect_seconds: float = 0
) -> None:
    """Bring the tables to `revision`, forwards or back; several callers at once wait for another.

    A table that another transaction holds is tried repeatedly for lock_seconds: a longer wait in
    PostgreSQL's lock queue would stop everybody who comes after us. A PostgreSQL that is not up yet
    is waited for, for connect_seconds: machines start in any order.

    Raises: OperationalError where the table does not become free, or PostgreSQL does not come.
    Finished migrations stay.
    """
    config = alembic_config(database_url)
    began_at, said = time.monotonic(), ""
    while True:
        try:
            if revision in ("base", *_revisions_before_current(config, database_url)):
                return command.downgrade(config, revision)
            return command.upgrade(config, revision)
        except OperationalError as error:
            in_use = isinstance(error.orig, psycopg.errors.LockNotAvailable)
            seconds = lock_seconds if in_use else connect_seconds if _is_down(error) else 0
            if time.monotonic() - began_at >= seconds:
                raise
        reason = "another transaction uses a table" if in_use else "PostgreSQL is not up"
        if reason != said:
            log.warning("migration_retried", reason=reason)
            said = reason
        time.sleep(RETRY_SECONDS)


def _revisions_before_current(config: Config, database_url: str) -> list[str]:
    """Return the revisions that the tables have been at."""
    engine = create_engine_for(database_url, pool_size=1)
    try:
        with engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    if current not in known:
        return []
    return [script.revision for script in scripts.walk_revisions("base", current)][1:]


def _is_down(error: OperationalError) -> bool:
    """Return whether PostgreSQL takes no connections now, but may soon."""
    text = str(error.orig)
    return any(sign in text for sign in SIGNS_OF_A_START)
