"""Quarantines messages that end the process that reads them: out of memory, a crash in a C library.

Such a process records nothing, and the next one would end at the same message, and so on. So a
process that has just started commits, before it reads a batch, that it tries these messages. A
message that is still pending and was tried is a suspect. Suspects are tried one by one, each marked
first; one that MAX_TRIES processes tried is quarantined unread.

A mark costs a commit and a second write of each message, so a process marks only its first batches,
or until the inbox is empty: the oldest messages come first, so these hold what the dead process was
reading. Messages that were sent back come behind all new ones, perhaps long after the start, so a
batch with such messages is always marked.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import literal, update
from sqlalchemy.orm import Session

from receiver.db.bulk import id_in
from receiver.db.models import Message
from receiver.inbox.pending import select_pending

# After so many tries a message is quarantined unread: one in a batch, two alone.
MAX_TRIES = 3
POISON_REASON = (
    f"{MAX_TRIES} workers crashed while they processed this message, the last two while they"
    " processed nothing else: find the cause in the workers' log, and check the kernel's log for a"
    " lack of memory; retry the message when the cause is removed"
)
# A process is guarded for so many batches, or until the inbox is empty.
GUARDED_BATCHES = 5
# How many suspects are tried between two batches.
MAX_SUSPECTS = 20

# As literals, as in the text of the partial index of suspects.
IS_SUSPECT = Message.tries > literal(0, literal_execute=True)
IS_NO_SUSPECT = Message.tries == 0


@dataclass
class CrashGuard:
    """Decides whether this process marks the messages that it is about to read.

    name: distinguishes this process from others.
    """

    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    batches: int = GUARDED_BATCHES

    def must_mark(self, batch: Sequence[Message]) -> bool:
        """Return whether the batch has to be marked before it is read."""
        return self.batches > 0 or any(message.retried_at is not None for message in batch)

    def batch_done(self, size: int) -> None:
        """Count a batch that was folded; an empty one ends the guard."""
        self.batches = max(0, self.batches - 1) if size else 0


def mark_as_tried(session: Session, ids: Sequence[int], guard: CrashGuard) -> None:
    """Record that this process tries to read these messages; the caller commits.

    It counts once per process: a process that comes back to a message was not ended by it.
    """
    session.execute(
        update(Message)
        .where(id_in(Message.id, ids), Message.tried_by.is_distinct_from(guard.name))
        .values(tries=Message.tries + 1, tried_by=guard.name)
        .execution_options(synchronize_session=False)
    )


def find_suspects(session: Session, exclude: Sequence[int]) -> list[int]:
    """Return the ids of pending messages that a process tried to read, without those given."""
    statement = select_pending().with_only_columns(Message.id).where(IS_SUSPECT)
    if exclude:
        statement = statement.where(~id_in(Message.id, exclude))
    return list(session.scalars(statement.order_by(Message.id).limit(MAX_SUSPECTS)))
