"""At which revision the tables are, and which one this version needs.

Without Alembic, whose import takes as long as all the rest.
"""

import functools
from importlib.resources import files

from sqlalchemy import text
from sqlalchemy.orm import Session

# SQLSTATE of an undefined table and an undefined column.
OUTDATED_SCHEMA = {"42P01", "42703"}


@functools.cache
def newest_revision() -> str:
    """Return the revision that this version needs. A migration's file begins with its revision."""
    versions = (files("receiver.db") / "migrations" / "versions").iterdir()
    return max(file.name.partition("_")[0] for file in versions if file.name.endswith(".py"))


def read_revision(session: Session) -> str | None:
    """Return the revision of the tables; None where there are none."""
    if session.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return None
    revision = session.scalar(text("SELECT version_num FROM alembic_version"))
    return None if revision is None else str(revision)
