"""The way to PostgreSQL: one engine a process, and the migrations."""

from importlib.resources import files

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.orm import Session, sessionmaker

# Any waiting on PostgreSQL ends after these, so that a hanging server costs an answer, not a
# process. Milliseconds where PostgreSQL counts, seconds where we do.
CONNECT_SECONDS = 3
STATEMENT_MS = 15_000
LOCK_MS = 10_000
POOL_SECONDS = 3


def connect(database_url: str, pool_size: int = 8) -> Engine:
    """An engine on PostgreSQL whose commits are flushed before they return.

    A connection is tested before it is used, so that a restarted server needs nobody's help.
    """
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=POOL_SECONDS,
        pool_pre_ping=True,
        # An error would show the values it was about in logs and in RQ: they are personal data.
        hide_parameters=True,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "ordertrail",
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
            # synchronous_commit is what "200 means kept" rests on; a database-wide `off` must
            # not undo it.
            "options": (
                f"-c synchronous_commit=on -c timezone=UTC -c statement_timeout={STATEMENT_MS}"
                f" -c lock_timeout={LOCK_MS}"
            ),
        },
    )


def sessions(engine: Engine) -> sessionmaker[Session]:
    """What opens a session on the engine."""
    return sessionmaker(engine, expire_on_commit=False)


def alembic_config(database_url: str) -> Config:
    """Alembic's configuration, without a file: the top level has no place for one."""
    config = Config()
    location = str(files("receiver") / "migrations")
    config.set_main_option("script_location", location.replace("%", "%%"))
    config.attributes["database_url"] = database_url
    return config


def migrate(database_url: str, revision: str = "head") -> None:
    """Bring the tables to `revision`; several callers at once wait for one another."""
    command.upgrade(alembic_config(database_url), revision)
