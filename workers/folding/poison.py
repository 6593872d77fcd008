"""Suspects: messages of which the process that read them may have died.

An exception is caught, and its message quarantined, where it happens. A process that ends (out of
memory, a fault in a C library, killed since it hung) writes nothing down, and the next one would
die of the same message, and the one after it.

So a process that was just started is careful: before it reads a batch it commits that it tries
these. What is still pending and was tried is suspected, and tried alone, which is committed before
as well. What three processes tried and none concluded is quarantined unread.

Being careful costs a commit and a second write of every message, so it ends after a few batches, or
once the inbox is empty. A few are enough: the oldest messages come first, so what the dead process
had in hand is met in the first batch of whoever follows it, and behind other batches only where
other workers ended at the same moment and left theirs as well. Whoever of them is started anew is
careful, too, and takes the next of these. But a message that was sent back comes behind all new
ones, perhaps long after the start: with such messages every batch is read carefully. They come only
while there is no whole batch of new ones, so it costs nothing when there is much to do.
"""

import signal
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import literal, update
from sqlalchemy.orm import Session

from receiver.db.bulk import id_in
from receiver.db.models import Message
from receiver.inbox.pending import pending

# How many processes may have died of a message until it is read no more: one in company, two alone.
MOST_TRIES = 3
DIED_OF_IT = (
    f"{MOST_TRIES} workers ended while they read it, the last two with nothing else in hand: see"
    " their logs, and the system's for lack of memory; retry it once that is mended"
)
# A process is careful for so many batches, or until the inbox is empty.
CAREFUL_BATCHES = 5
# How many suspects are tried between two batches.
SUSPECTS = 20


@dataclass
class Care:
    """How carefully a process reads. name: what tells it from others."""

    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    batches: int = CAREFUL_BATCHES

    @property
    def careful(self) -> bool:
        return self.batches > 0

    def marks(self, batch: Sequence[Message]) -> bool:
        """Whether to write down what is tried before this batch is read."""
        return self.careful or any(message.retried_at is not None for message in batch)

    def went_well(self, size: int) -> None:
        """A batch of so many messages was concluded."""
        self.batches = self.batches - 1 if size and self.careful else 0


def tried(session: Session, ids: Sequence[int], care: Care) -> None:
    """Write down that this process tries to read these messages; the caller commits.

    Once for each process: one that comes back to a message has not died of it.
    """
    session.execute(
        update(Message)
        .where(id_in(Message.id, ids), Message.tried_by.is_distinct_from(care.name))
        .values(tries=Message.tries + 1, tried_by=care.name)
        .execution_options(synchronize_session=False)
    )


def suspects(session: Session, but: Sequence[int]) -> list[int]:
    """Pending messages that somebody tried to read, by id, without those that we just try."""
    statement = pending().with_only_columns(Message.id).where(SUSPECTED)
    if but:
        statement = statement.where(~id_in(Message.id, but))
    return list(session.scalars(statement.order_by(Message.id).limit(SUSPECTS)))


# In the statement's text, as it stands in the index that holds these alone.
SUSPECTED = Message.tries > literal(0, literal_execute=True)
UNSUSPECTED = Message.tries == 0


class TooLong(Exception):
    """Reading and folding took more computing than any honest message needs."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"it took more than {seconds:g} seconds of computing")


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Bound what this process may compute meanwhile, by the processor's time.

    A machine that is slow, or a PostgreSQL that lets us wait, costs none of it. Where even the
    exception does not end it (a C library that never comes back), the kernel ends the process.
    Only in the main thread, where Python handles signals; elsewhere it bounds nothing.
    Raises: TooLong.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def give_up(*_: Any) -> None:
        raise TooLong(seconds)

    before = signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    signal.setitimer(signal.ITIMER_PROF, 2 * seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGVTALRM, before)
