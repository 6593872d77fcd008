"""Find out whether webhooks can be stored now, by a small write on the path that they take.

The write is a message in PostgreSQL's log, flushed as a webhook is, and no row: it needs the rights
to the inbox, a server that takes writes, and leaves nothing behind.
"""

import threading
import time
from collections.abc import Sequence
from typing import Any, LiteralString, Protocol

import psycopg
from sqlalchemy import exc

from receiver.background_thread import BackgroundThread

# A courier waits a few seconds; after that a prompt 503 is worth more than a late 200.
ACCEPT_SECONDS = 5.0

# What is wrong with PostgreSQL, from the view of a webhook. The values are shown by /readyz.
OK = "ok"
READ_ONLY = "read-only"
UNREACHABLE = "unreachable"
OUT_OF_CONNECTIONS = "out of connections"
SLOW = "too slow"
DISK_FULL = "disk full"
WRONG_TABLES = "tables missing or outdated"
NO_PERMISSION = "permission denied"
FAILING = "failing"

_SQLSTATES = {
    "25006": READ_ONLY,
    "42501": NO_PERMISSION,
    "42703": WRONG_TABLES,
    "42P01": WRONG_TABLES,
    "53100": DISK_FULL,
    "53300": OUT_OF_CONNECTIONS,
    "55P03": SLOW,
    "57014": SLOW,
}
# A refused connection has no SQLSTATE in psycopg, only a text.
_TEXTS = {
    "too many clients": OUT_OF_CONNECTIONS,
    "connection slots are reserved": OUT_OF_CONNECTIONS,
    "too many connections": OUT_OF_CONNECTIONS,
    "has not answered": SLOW,
}

PROBE = """
    WITH storing AS (
        INSERT INTO messages (account, topic, kind, trust, body, body_sha256, received_at,
                              last_seen_at, outcome, reason, processed_at, repetitions)
        SELECT '', '', '', '', '', '', now(), now(), '', '', now(), 0 WHERE false
    )
    SELECT pg_logical_emit_message(true, 'ordertrail', '') IS NOT NULL
"""
# How many seconds a result is used, and how long a caller waits for a newer one.
FRESH_SECONDS = 1.0
PATIENCE_SECONDS = 1.0
# So many writes in a row have to miss the limit of a webhook before PostgreSQL is called slow.
MOST_MISSES = 3
# A webhook that found the disk full counts for so long: the probe itself needs no room for a row.
FULL_SECONDS = 30.0


class Writer(Protocol):
    """What runs a statement in a transaction of its own, as receiver.db.group_commit has it."""

    def fetch_all(
        self, statement: LiteralString, values: dict[str, Any], retry: bool = True
    ) -> Sequence[Any]: ...


def name_fault(error: Exception) -> str:
    """Return what an error of psycopg or SQLAlchemy says about PostgreSQL: one of the above."""
    if isinstance(error, exc.TimeoutError):
        return SLOW
    cause = getattr(error, "orig", None) or error
    known = _SQLSTATES.get(getattr(cause, "sqlstate", None) or "")
    if known is not None:
        return known
    found = next((fault for text, fault in _TEXTS.items() if text in str(cause)), None)
    if found is not None:
        return found
    is_lost = isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)
    return UNREACHABLE if is_lost else FAILING


def describe_error(error: Exception) -> str:
    """Return PostgreSQL's own words about a failed connection, on one line; they hold no row."""
    return " ".join(str(getattr(error, "orig", None) or error).split())[:200]


class StorageCheck:
    """Probes for one process, in a thread, when somebody asks and the last result is old.

    detail: what PostgreSQL said at the latest failure.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._lock = threading.Lock()
        self._result = OK
        self.detail = ""
        self._misses = 0
        self._began_at: float | None = None
        self._ended_at: float | None = None
        self._full_at: float | None = None
        self._done = threading.Event()
        self._thread = BackgroundThread("storage_check", self._probe)

    def check(self, patience: float = PATIENCE_SECONDS) -> str:
        """Return OK, or what keeps webhooks from being stored.

        patience: seconds to wait for a result that is newer than FRESH_SECONDS.
        """
        with self._lock:
            now = time.monotonic()
            if self._began_at is None:
                if self._ended_at is None or now - self._ended_at > FRESH_SECONDS:
                    self._begin(now)
                    self._thread.wake()
                else:
                    return self._judge(now)
            done = self._done
        done.wait(patience)
        with self._lock:
            return self._judge(time.monotonic())

    def settle(self) -> str:
        """Return the same after as many probes as it takes to know: for a command."""
        result = self.check(patience=ACCEPT_SECONDS)
        while result != SLOW and (self._misses or self._began_at is not None):
            if self._began_at is None:
                time.sleep(FRESH_SECONDS)
            result = self.check(patience=ACCEPT_SECONDS)
        return result

    def note_failure(self, error: Exception) -> None:
        """Take into account what a webhook met: the last result is out of date."""
        self._ended_at = None
        if name_fault(error) == DISK_FULL:
            self._full_at = time.monotonic()

    def note_success(self, seconds: float) -> None:
        """Take into account that a webhook was stored; one that took too long was answered 503."""
        if seconds >= ACCEPT_SECONDS:
            return
        if self._result != OK or self._misses or self._full_at:
            with self._lock:
                self._result, self._misses, self._full_at = OK, 0, None

    def _begin(self, now: float) -> None:
        self._began_at, self._done = now, threading.Event()

    def _judge(self, now: float) -> str:
        waited = 0 if self._began_at is None else int((now - self._began_at) / ACCEPT_SECONDS)
        if self._misses + waited >= MOST_MISSES:
            return SLOW
        if self._result == OK and self._found_full(now):
            return DISK_FULL
        return self._result

    def finds_disk_full(self) -> bool:
        """Return whether the latest webhook found the disk full."""
        return self._found_full(time.monotonic())

    def _found_full(self, now: float) -> bool:
        return self._full_at is not None and now - self._full_at < FULL_SECONDS

    def _probe(self) -> float | None:
        with self._lock:
            if self._began_at is None:
                self._begin(time.monotonic())
            began_at = self._began_at or 0.0
        result = OK
        try:
            self._writer.fetch_all(PROBE, {}, retry=False)
        except (psycopg.Error, exc.SQLAlchemyError) as error:
            result = name_fault(error)
            self.detail = describe_error(error)
        with self._lock:
            now = time.monotonic()
            if now - began_at > ACCEPT_SECONDS or result == SLOW:
                self._misses += max(1, int((now - began_at) / ACCEPT_SECONDS))
            else:
                self._misses, self._result = 0, result
            self._began_at, self._ended_at = None, now
            self._done.set()
            # Three in a row are wanted at once.
            return FRESH_SECONDS if self._misses else None
