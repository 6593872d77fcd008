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
from sqlalchemy.exc import OperationalError

log = structlog.get_logger(__name__)

# Between two attempts, those whom the migration kept waiting continue.
RETRY_SECONDS = 1.0


def alembic_config(database_url: str) -> Config:
    """Return Alembic's configuration, which needs no alembic.ini."""
    config = Config()
    location = str(files("receiver.db") / "migrations")
    config.set_main_option("script_location", location.replace("%", "%%"))
    config.attributes["database_url"] = database_url
    return config


def migrate(database_url: str, revision: str = "head", lock_seconds: float = 180) -> None:
    """Bring the tables to `revision`; several callers at once wait for one another.

    A table that another transaction holds is tried repeatedly for lock_seconds: a longer wait in
    PostgreSQL's lock queue would stop everybody who comes after us.

    Raises: OperationalError where the table does not become free. Finished migrations stay.
    """
    deadline = time.monotonic() + lock_seconds
    while True:
        try:
            return command.upgrade(alembic_config(database_url), revision)
        except OperationalError as error:
            in_use = isinstance(error.orig, psycopg.errors.LockNotAvailable)
            if not in_use or time.monotonic() > deadline:
                raise
        log.warning("migration_retried", reason="another transaction uses a table")
        time.sleep(RETRY_SECONDS)
