"""What a check says: how bad it is, what was seen, and what mends it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

OK, NOTE, WARNING, BROKEN = "ok", "note", "warning", "broken"

# Seconds by which two clocks may differ. Past the second, couriers' times are not believed
# (couriers/base.py, CLOCK_TOLERANCE), and tokens with a date are refused.
SKEW_SEEN, SKEW_BROKEN = 3.0, 60.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at and what was seen.

    level  `ok`; `note` for what may be meant so; `warning`; `broken`
    mend   what to do; empty where all is well
    """

    area: str
    check: str
    level: str
    seen: str
    mend: str = ""


Findings = Iterator[Finding]


def skew(area: str, theirs: datetime, ours: datetime, where: str, coarse: float = 0.0) -> Finding:
    """How another clock stands against ours; coarse: how many seconds it may be off as told."""
    seconds = (theirs - ours).total_seconds()
    off = max(0.0, abs(seconds) - coarse)
    seen = f"{abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} ours"
    if off <= SKEW_SEEN:
        return Finding(area, "clock", OK, f"within {SKEW_SEEN:.0f} s of ours")
    level = WARNING if off <= SKEW_BROKEN else BROKEN
    return Finding(area, "clock", level, seen, f"Set the clocks of {where} and of this host (NTP).")
