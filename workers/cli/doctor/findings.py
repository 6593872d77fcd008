"""What a check finds: how bad it is, what was seen, and what to do."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

OK, NOTE, WARNING, BROKEN = "ok", "note", "warning", "broken"

# Seconds by which two clocks may differ. Past the second limit couriers' times count as in the
# future (CLOCK_TOLERANCE), and credentials with a date are rejected.
SKEW_OK, SKEW_BROKEN = 3.0, 60.0


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check, which is one line of the output.

    level: ok; note, which may be intended; warning; broken.
    mend: what to do; empty where nothing needs to be done. area: set by the command.
    """

    check: str
    level: str
    seen: str
    mend: str = ""
    area: str = ""


Findings = Iterator[Finding]


def judge(check: str, good: bool, seen: str, mend: str, level: str = WARNING) -> Finding:
    """Return a finding that is ok if all is good, and else has this level and what to do."""
    return Finding(check, OK, seen) if good else Finding(check, level, seen, mend)


def compare_clocks(
    check: str, theirs: datetime, ours: datetime, host: str, uncertainty: float = 0.0
) -> Finding:
    """Compare another clock with ours; uncertainty: how imprecise their time is, in seconds."""
    seconds = (theirs - ours).total_seconds()
    difference = max(0.0, abs(seconds) - uncertainty)
    if difference <= SKEW_OK:
        return Finding(check, OK, f"the clock of {host} is within {SKEW_OK:.0f} s of ours")
    seen = f"the clock of {host} is {abs(seconds):.1f} s {'ahead' if seconds > 0 else 'behind'}"
    level = WARNING if difference <= SKEW_BROKEN else BROKEN
    return Finding(check, level, seen, f"Set the clocks of {host} and of this host (NTP).")
