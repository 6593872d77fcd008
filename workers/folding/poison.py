"""Quarantines messages that end the process that reads them: out of memory, a crash in a C library.

Such a process records nothing, and the next one would end at the same message, and so on. So a
process that has just started commits, before it reads a batch, that it tries these messages. A
message that is still pending and was tried is a suspect. Suspects are tried one by one, each marked
first; one that MAX_TRIES processes tried is quarantined unread.

Only the mark of a dead process counts. While a process reads what it marked, it holds an advisory
lock on its name, in a transaction that ends with the process: a mark whose lock is held is that of
a process that lives, however slow it is. A process that was not ended by what it marked, but did
not get to the end (PostgreSQL failed it, say), takes its mark back.

A mark costs a commit and a second write of each message, so a process marks only its first batches,
or until the inbox is empty: the oldest messages come first, so these hold what the dead process was
reading. Messages that were sent back come behind all new ones, perhaps long after the start, so a
batch with such messages is always marked.
"""

import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

import structlog
from sqlalchemy import case, literal, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.bulk import id_in
from receiver.db.locks import take_lock, try_lock
from receiver.db.models import Message
from receiver.inbox.pending import select_pending

log = structlog.get_logger(__name__)

# After so many tries a message is quarantined unread: one in a batch, two alone.
MAX_TRIES = 3
POISON_REASON = (
    f"{MAX_TRIES} workers crashed while they processed this message, the last two while they"
    " processed nothing else: find the cause in the workers' log, and check the kernel's log for a"
    " lack of memory; retry the message when the cause is removed"
)
# A process is guarded for so many batches, or until the inbox is empty.
GUARDED_BATCHES = 5
# A process that is frozen for longer while it reads counts as dead.
FROZEN_MS = 120_000
# How many suspects are tried between two batches.
MAX_SUSPECTS = 20

# As literals, as in the text of the partial index of suspects.
IS_SUSPECT = Message.tries > literal(0, literal_execute=True)
IS_NO_SUSPECT = Message.tries == 0


@dataclass
class CrashGuard:
    """Decides whether this process marks the messages that it is about to read.

    name: distinguishes this process from others. owed: messages whose mark is to be taken back.
    """

    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    batches: int = GUARDED_BATCHES
    owed: set[int] = field(default_factory=set)

    def must_mark(self, batch: Sequence[Message]) -> bool:
        """Return whether the batch has to be marked before it is read."""
        return self.batches > 0 or any(message.retried_at is not None for message in batch)

    def batch_done(self, size: int) -> None:
        """Count a batch that was folded; an empty one ends the guard."""
        self.batches = max(0, self.batches - 1) if size else 0


class Marks:
    """The marks of one batch; use it as a context, which ends when the messages were read."""

    def __init__(self, sessions: sessionmaker[Session], guard: CrashGuard) -> None:
        self._sessions, self._guard = sessions, guard
        self._alive: Session | None = None

    def __enter__(self) -> Self:
        if self._guard.owed:
            self._take_back()
        return self

    def __exit__(self, *_: object) -> None:
        # Whatever is raised: this process lives.
        try:
            if self._guard.owed:
                self._take_back()
        except SQLAlchemyError:
            # At the next batch, then.
            log.warning("marks_kept", messages=len(self._guard.owed))
        finally:
            if self._alive is not None:
                with suppress(SQLAlchemyError):
                    self._alive.close()

    def add(self, session: Session, ids: Sequence[int]) -> None:
        """Record that this process tries to read these messages; the caller commits.

        It counts once per process: a process that comes back to a message was not ended by it.
        """
        if self._alive is None:
            self._alive = self._sessions()
            self._alive.execute(
                text(f"SET LOCAL idle_in_transaction_session_timeout = {FROZEN_MS}")
            )
            take_lock(self._alive, _lock_name(self._guard.name))
        session.execute(
            update(Message)
            .where(id_in(Message.id, ids), Message.tried_by.is_distinct_from(self._guard.name))
            .values(tries=Message.tries + 1, tried_by=self._guard.name)
            .execution_options(synchronize_session=False)
        )
        self._guard.owed.update(ids)

    def clear(self, ids: Iterable[int]) -> None:
        """Note that these messages were read to the end; their rows are no longer marked."""
        self._guard.owed.difference_update(ids)

    def _take_back(self) -> None:
        is_own = Message.tried_by == self._guard.name
        with self._sessions.begin() as session:
            session.execute(
                update(Message)
                .where(id_in(Message.id, sorted(self._guard.owed)), IS_SUSPECT)
                .values(
                    tries=Message.tries - 1, tried_by=case((is_own, None), else_=Message.tried_by)
                )
                .execution_options(synchronize_session=False)
            )
        self._guard.owed.clear()


def is_alive(session: Session, name: str | None) -> bool:
    """Return whether the process that marked a message still reads it; None: none has marked it."""
    return name is not None and not try_lock(session, _lock_name(name))


def _lock_name(name: str) -> str:
    return f"ordertrail reader {name}"


def find_suspects(session: Session, exclude: Sequence[int]) -> list[int]:
    """Return the ids of pending messages that a process tried to read, without those given."""
    statement = select_pending().with_only_columns(Message.id).where(IS_SUSPECT)
    if exclude:
        statement = statement.where(~id_in(Message.id, exclude))
    return list(session.scalars(statement.order_by(Message.id).limit(MAX_SUSPECTS)))
