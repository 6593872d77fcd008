"""Which failures say nothing of the message in hand."""

from rq.timeouts import BaseTimeoutException
from sqlalchemy.exc import DBAPIError, OperationalError

from workers.folding.bulk_write import Overtaken

# Classes of SQLSTATE that say nothing of the message: connection, deadlock, resources, locks held,
# an operator's doing, the system. Of all else the statement is the cause.
PASSING = ("08", "40", "53", "55", "57", "58")
# Not an operator's doing: the statement took too long.
QUERY_CANCELED = "57014"


def passes(failure: Exception) -> bool:
    """Whether a failure is PostgreSQL's and goes away by itself (lost, restarted, deadlocked).

    Or RQ's, whose time for a job is over, or due to another worker that was faster: neither says
    anything of the message in hand.
    """
    if isinstance(failure, (BaseTimeoutException, Overtaken)):
        return True
    if isinstance(failure, DBAPIError) and failure.connection_invalidated:
        return True
    if not isinstance(failure, OperationalError):
        return False
    sqlstate = getattr(failure.orig, "sqlstate", None)
    if sqlstate is None:
        return False
    return bool(sqlstate.startswith(PASSING)) and sqlstate != QUERY_CANCELED
