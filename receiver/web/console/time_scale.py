"""Where moments stand on a drawing as wide as a page, so that all of them can be told apart."""

from bisect import bisect_right
from collections.abc import Iterable
from datetime import datetime
from itertools import accumulate, pairwise

# The width is shared out by how long each wait was, drawn in by this power: a night does not push
# the minutes before it into one. A part of it all waits have alike, so that none is nothing.
POWER = 0.4
ALIKE = 0.15


class Scale:
    """From moments to places between left and right, in their order."""

    def __init__(self, moments: Iterable[datetime], left: float, right: float) -> None:
        self.moments = sorted(set(moments))
        self.left, self.right = left, right
        waits = [(b - a).total_seconds() ** POWER for a, b in pairwise(self.moments)]
        whole = sum(waits)
        shares = [wait / whole * (1 - ALIKE) + ALIKE / len(waits) for wait in waits]
        width = right - left
        self._places = [left + width * share for share in accumulate(shares, initial=0.0)]
        if len(self.moments) == 1:
            self._places = [left + width / 2]

    def __call__(self, at: datetime) -> float:
        """The place of one of the moments, or of the last one before."""
        return float(self._places[max(0, bisect_right(self.moments, at) - 1)])

    def marks(self, apart: float) -> list[datetime]:
        """Moments to be written beside the axis, never closer than this, with both ends."""
        if not self.moments:
            return []
        first, last = self.moments[0], self.moments[-1]
        shown = [first]
        for at in self.moments[1:-1]:
            if self(at) - self(shown[-1]) >= apart and self.right - self(at) >= apart:
                shown.append(at)
        if last != first and self(last) - self(shown[-1]) >= apart / 2:
            shown.append(last)
        return shown
