"""One fault, from its beginning until the service is well again."""

import time
from collections.abc import Collection
from dataclasses import dataclass

from tests.faults.ledger import Ledger, Line, answers
from tests.faults.poster import Poster
from tests.faults.stand import Stand
from tests.faults.table import Fault
from tests.faults.verdict import seconds_to_recovery


@dataclass(frozen=True, slots=True)
class Trial:
    """What a fault did.

    lines: what was answered to bodies; reads: to a shop that asked for orders meanwhile.
    recovery: seconds since its parts were back.
    """

    fault: Fault
    lines: list[Line]
    reads: list[Line]
    recovery: float

    def __str__(self) -> str:
        return (
            f"{self.fault.name}: {answers(self.lines)} to bodies, {answers(self.reads)} to reads,"
            f" well again after {self.recovery:.1f} s"
        )

    def among(self, numbers: Collection[int]) -> int:
        """How many of these bodies were posted meanwhile."""
        return len({line.body for line in self.lines} & set(numbers))


def slowest(lines: Collection[Line]) -> float:
    """The longest that an HTTP answer took, in seconds."""
    return max((line.seconds for line in lines if line.said.isdigit()), default=0.0)


def go_through(
    fault: Fault, stand: Stand, poster: Poster, ledger: Ledger, patience: float, share: float = 1.0
) -> Trial:
    """Let a fault happen and end. share: of its time; patience: seconds to be well again in."""
    mark, mark_of_reads = len(ledger.lines), len(poster.reads)
    undo = fault.do(stand)
    time.sleep(share * fault.hold)
    undo()
    recovery = seconds_to_recovery(stand, poster, patience)
    return Trial(fault, ledger.since(mark), poster.reads[mark_of_reads:], recovery)
