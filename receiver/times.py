"""Times as everybody outside is told them."""

from datetime import UTC, datetime


def rfc3339(at: datetime | None) -> str | None:
    """A time as the API shows it: UTC with Z, fractions only where there are any."""
    if at is None:
        return None
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    return f"{utc.isoformat().removesuffix('+00:00')}Z"
