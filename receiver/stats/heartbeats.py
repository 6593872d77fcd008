"""Heartbeats: when something that has to go on was last done, whoever did it."""

from datetime import datetime, timedelta

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from receiver.db.models import Heartbeat

# The sweep was made, which takes clock, Redis and a worker.
SWEPT = "swept"

# How seldom a beat is written that says no more than the one before.
EVERY = timedelta(seconds=10)

BEAT = text("""
    INSERT INTO heartbeats AS known (name, at) VALUES (:name, :now)
    ON CONFLICT (name) DO UPDATE SET at = excluded.at WHERE known.at <= excluded.at - :every
""")


def beat(session: Session, name: str, now: datetime) -> None:
    """Write down that it was done just now."""
    session.execute(BEAT, {"name": name, "now": now, "every": EVERY})


def last(session: Session, name: str) -> datetime | None:
    """When it was last done, to within EVERY."""
    return session.scalar(select(Heartbeat.at).where(Heartbeat.name == name))
