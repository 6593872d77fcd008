"""The release: bring PostgreSQL's tables to what this code expects.

Apart from db.py, since Alembic takes as long to import as SQLAlchemy, and only a release needs it.
"""

import time
from importlib.resources import files

import psycopg
import structlog
from alembic import command
from alembic.config import Config
from sqlalchemy.exc import OperationalError

log = structlog.get_logger(__name__)

# Seconds in which those whom a migration kept waiting get on with their work.
MIGRATION_PAUSE = 1.0


def alembic_config(database_url: str) -> Config:
    """Alembic's configuration, without a file: the top level has no place for one."""
    config = Config()
    location = str(files("receiver.db") / "migrations")
    config.set_main_option("script_location", location.replace("%", "%%"))
    config.attributes["database_url"] = database_url
    return config


def migrate(database_url: str, revision: str = "head", patience: float = 180) -> None:
    """Bring the tables to `revision`; several callers at once wait for one another.

    A table that somebody else holds is tried for again and again, for so many seconds: to wait for
    it in PostgreSQL's queue would stop everybody who comes after us.

    Raises: OperationalError where it does not come free. What is done by then stays done.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            return command.upgrade(alembic_config(database_url), revision)
        except OperationalError as busy:
            held = isinstance(busy.orig, psycopg.errors.LockNotAvailable)
            if not held or time.monotonic() > deadline:
                raise
        log.warning("a table is in use, the migration tries again")
        time.sleep(MIGRATION_PAUSE)
