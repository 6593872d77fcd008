"""Advisory locks: a transaction takes one by its number and holds it until it ends."""

from sqlalchemy import func, select
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
    number = func.hashtextextended(key, 0) if isinstance(key, str) else key
    lock = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
    session.execute(select(lock(number)))


def try_lock(session: Session, key: int | str, shared: bool = False) -> bool:
    """Take a lock, as take_lock() does, if it is free; return whether it was."""
    number = func.hashtextextended(key, 0) if isinstance(key, str) else key
    lock = func.pg_try_advisory_xact_lock_shared if shared else func.pg_try_advisory_xact_lock
    return bool(session.scalar(select(lock(number))))
