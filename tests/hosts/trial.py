"""One fault, from its beginning until all hosts are there again and the service is well."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.faults.ledger import Ledger, Line, answers
from tests.faults.poster import Poster
from tests.faults.verdict import Verdict, seconds_to_recovery
from tests.hosts.shop import FACTOR, Shop
from tests.hosts.table import Fault
from tests.sandbox import RecordedRequest

# The shortest time between two looks at one order is 1 h times FACTOR, less a tenth (schedule.py);
# a look comes some tenths of a second late, and the one after it may come at its time.
DOUBLED_WITHIN = 3600 * FACTOR / 2


@dataclass(frozen=True, slots=True)
class Trial:
    """lines: what was answered to bodies meanwhile. recovery: seconds from the fault's beginning
    until a new message was kept and shown, or from its end, where nobody else does the host's work.
    """

    fault: Fault
    lines: list[Line]
    recovery: float
    began: datetime
    ended: datetime

    def slowest(self, shop: Shop) -> float:
        """The longest, in seconds, from a message's coming in until a worker had folded it."""
        with shop.database() as database:
            row = database.execute(
                "SELECT max(extract(epoch FROM processed_at - received_at)) FROM messages"
                " WHERE kind = 'webhook' AND received_at BETWEEN %s AND %s",
                [self.began, self.ended],
            ).fetchone()
        return float((row or [None])[0] or 0)

    def row(self, shop: Shop, verdict: Verdict, doubled: int) -> str:
        told = answers(self.lines)
        bodies = {line.body for line in self.lines}
        twice = set(verdict.duplicated) | set(verdict.not_told)
        cells = (
            self.fault.name,
            told.get("200", 0),
            told.get("503", 0),
            sum(count for said, count in told.items() if said not in {"200", "503"}),
            len(bodies & set(verdict.lost)),
            len(bodies & twice),
            doubled,
            f"{self.recovery:.1f}{' after its return' if self.fault.alone else ''}",
            f"{self.slowest(shop):.1f}",
        )
        return f"| {' | '.join(map(str, cells))} |"


HEAD = (
    "| fault | 200 | 503 | other or no answer | lost | folded twice | polls doubled"
    " | well again, seconds | longest until folded, seconds |"
    "\n|---|---|---|---|---|---|---|---|---|"
)


def go_through(fault: Fault, shop: Shop, poster: Poster, ledger: Ledger, patience: float) -> Trial:
    mark, began, since = len(ledger.lines), time.monotonic(), datetime.now(UTC)
    undo = fault.do(shop)
    if fault.alone:
        time.sleep(fault.hold)
        undo()
        recovery = seconds_to_recovery(shop, poster, patience)
    else:
        recovery = seconds_to_recovery(shop, poster, patience)
        time.sleep(max(0.0, began + fault.hold - time.monotonic()))
        undo()
        seconds_to_recovery(shop, poster, patience)
    return Trial(fault, ledger.since(mark), recovery, since, datetime.now(UTC))


def asked_twice(asked: Sequence[RecordedRequest]) -> list[tuple[str, float]]:
    """Orders that were asked about twice for one reason: path, and when, by time.monotonic()."""
    last: dict[str, float] = {}
    doubled = []
    for line in asked:
        before = last.get(line.path)
        if before is not None and line.at - before < DOUBLED_WITHIN:
            doubled.append((line.path, line.at))
        last[line.path] = line.at
    return doubled
