"""Advisory locks: a transaction takes one by its number and holds it until it ends."""

import functools

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

MIGRATION_LOCK = 7_203_118_402
TOURS_LOCK = 7_203_118_403
FEED_LOCK = 7_203_118_404
ALERTS_LOCK = 7_203_118_409
RETENTION_LOCK = 7_203_118_410
PERFORMANCE_LOCK = 7_203_118_420


def take_lock(session: Session, key: int | str, shared: bool = False) -> None:
    """Wait for a lock; transactions that share it do not wait for one another.

    key: a number of this module; or a name, whose hash is the number.
    """
    function = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
    session.connection().execute(_call(function, isinstance(key, str)), {"key": key})


def try_lock(session: Session, key: int | str, shared: bool = False) -> bool:
    """Take a lock, as take_lock() does, if it is free; return whether it was."""
    function = "pg_try_advisory_xact_lock_shared" if shared else "pg_try_advisory_xact_lock"
    return bool(session.connection().scalar(_call(function, isinstance(key, str)), {"key": key}))


@functools.cache
def _call(function: str, is_name: bool) -> TextClause:
    """Return the statement that calls a function, made once: that takes longer than the lock."""
    number = "hashtextextended(:key, 0)" if is_name else "CAST(:key AS bigint)"
    return text(f"SELECT {function}({number})")
