"""The formats of times: as the API shows them, and as a text that sorts."""

from datetime import UTC, datetime, timedelta


def rfc3339(at: datetime | None) -> str | None:
    """Format a time as RFC 3339 in UTC with Z, with a fraction only where there is one."""
    if at is None:
        return None
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    return f"{utc.isoformat().removesuffix('+00:00')}Z"


def sortable_time(at: datetime) -> str:
    """Format a time in UTC, always with microseconds, so that the texts sort as the times do."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def shift_time(at: datetime, by: timedelta) -> datetime:
    """Return a time that is later by so much, as far as there are years."""
    try:
        return at + by
    except OverflowError:
        return at
