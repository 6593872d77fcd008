"""How often and how long everything is measured."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.bench.stage import say


@dataclass(frozen=True, slots=True)
class Rounds:
    """count: of each measurement; seconds: of each load; scale: of what is counted in messages."""

    count: int
    seconds: float
    scale: float = 1.0

    def each(self, name: str) -> Iterator[int]:
        """Count the rounds, and say so."""
        for number in range(self.count):
            say(f"{name}: round {number + 1} of {self.count}")
            yield number

    def of(self, messages: int) -> int:
        """So many messages, to scale."""
        return max(50, int(messages * self.scale))
