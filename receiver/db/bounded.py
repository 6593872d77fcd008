"""A connection to PostgreSQL on which no waiting is without end.

PostgreSQL's own timeouts need a PostgreSQL that runs. One that is frozen, or a proxy that swallows
what it is sent, keeps the connection alive and never answers: there, we are the ones who give up.
"""

from typing import Any

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.errors import _WaitTimeout

# A connection is tested before it is used, by a statement that costs nothing.
PING_SECONDS = 2.0
# How often psycopg looks up from waiting, for a Ctrl-C.
LOOK_UP_SECONDS = 0.1


class Bounded(psycopg.Connection[Any]):
    """Raises OperationalError, and is closed, where PostgreSQL does not answer in time.

    answer_seconds: more than PostgreSQL, where it runs, lets any statement take; None: no bound.
    pinged: what is sent outside a transaction is a ping, and nothing else.
    """

    answer_seconds: float | None = None
    pinged = True

    def __del__(self, *warn: Any) -> None:
        # One of its own goes with whoever holds it, also if its engine went before.
        if not self.pinged:
            self.pgconn.finish()
        super().__del__(*warn)

    def ping(self) -> None:
        """Test a connection of its own that was not used for a while.

        Raises: OperationalError, and is closed, where nothing comes back within PING_SECONDS.
        """
        usual, self.answer_seconds = self.answer_seconds, PING_SECONDS
        try:
            self.execute("")
        finally:
            self.answer_seconds = usual

    def wait(
        self, gen: PQGen[RV], interval: float = LOOK_UP_SECONDS, timeout: float | None = None
    ) -> RV:
        if timeout is None:
            # A ping, and nothing else, is sent outside a transaction: but a migration's index, and
            # what goes over a connection of its own.
            is_ping = self.pinged and self.autocommit and self.answer_seconds is not None
            timeout = PING_SECONDS if is_ping else self.answer_seconds
        try:
            return super().wait(gen, interval, timeout)
        except _WaitTimeout:
            # What it answers later must not be taken for the answer to something else.
            self.pgconn.finish()
            raise psycopg.OperationalError(
                f"PostgreSQL has not answered for {timeout:g} seconds"
            ) from None
