"""Histograms of durations: each bucket is six per cent wider than the one before.

A duration that is read back from its bucket is within three per cent of the true one.
"""

from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate
from math import ceil, floor, log

ERROR = 0.03
GROWTH = (1 + ERROR) / (1 - ERROR)
# Of less than a millisecond, and of what two clocks put into the wrong order.
ZERO = -1


def find_bucket(seconds: float) -> int:
    """Return the number of the bucket of a duration; a negative one counts as none."""
    milliseconds = seconds * 1000
    # Rounded, so that a power of GROWTH does not slip into the next bucket.
    return ceil(round(log(milliseconds) / log(GROWTH), 9)) if milliseconds >= 1 else ZERO


def estimate_seconds(bucket: int) -> float:
    """Return the duration that is at most ERROR away from all that are in a bucket."""
    return 0.0 if bucket == ZERO else 2 * GROWTH**bucket / (GROWTH + 1) / 1000


def estimate_percentile(counts: Mapping[int, int], share: float) -> float | None:
    """Return the percentile of durations in seconds; None where there are none.

    counts: how many durations are in each bucket. share: 0.5 is the median. Between two durations
    it is interpolated, as PostgreSQL's percentile_cont() does.
    """
    buckets = sorted(bucket for bucket, count in counts.items() if count > 0)
    ends = list(accumulate(counts[bucket] for bucket in buckets))
    if not ends:
        return None
    rank = share * (ends[-1] - 1)
    below, above = (
        estimate_seconds(buckets[bisect_left(ends, place + 1)])
        for place in (floor(rank), ceil(rank))
    )
    return below + (above - below) * (rank - floor(rank))
