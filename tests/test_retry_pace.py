"""Sending everything back after a fix: on its own pace beside live traffic, and repeatable."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from flask.testing import FlaskClient
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.models import PENDING, QUARANTINED, Message, Order
from receiver.settings import Settings
from tests.bodies import after, tiramizoo_order
from tests.shop import deliver
from tests.test_drain import put
from workers.folding.drain import BATCH, SENT_BACK, drain_batch

Sessions = sessionmaker[Session]

STUCK = 3 * SENT_BACK
NOW = datetime.now(UTC)


def waiting(sessions: Sessions, live: bool) -> int:
    with sessions() as session:
        kind = Message.retried_at.is_(None) if live else Message.retried_at.is_not(None)
        statement = select(func.count()).where(Message.outcome == PENDING, kind)
        return session.scalar(statement) or 0


def test_live_messages_do_not_wait_for_those_that_were_sent_back(
    shop: FlaskClient, sessions: Sessions, settings: Settings
) -> None:
    """While many are tried anew, each batch takes all that came in since the one before."""
    put(sessions, *(tiramizoo_order(f"stuck {it}", {"created": after(0)}) for it in range(STUCK)))
    with sessions.begin() as session:
        session.execute(update(Message).values(outcome=QUARANTINED, reason="a driver's mistake"))
    told = shop.post("/v1/messages/retry", json={"outcome": "quarantined"}).get_json()
    assert told == {"retried": STUCK, "next_cursor": None}
    # Once more, as by somebody who lost the answer: nothing is sent back twice.
    again = shop.post("/v1/messages/retry", json={"outcome": "quarantined"}).get_json()
    assert again == {"retried": 0, "next_cursor": None}

    batches = 0
    while left := waiting(sessions, live=False):
        names = [f"live {batches} {number}" for number in range(5)]
        deliver(shop, *(tiramizoo_order(name, {"created": after(0)}) for name in names))
        assert drain_batch(sessions, settings, NOW + timedelta(seconds=batches)) > 0
        batches += 1
        assert waiting(sessions, live=True) == 0, "what came in is folded in the very next batch"
        assert left - waiting(sessions, live=False) <= SENT_BACK
    assert batches == STUCK / SENT_BACK
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Order)) == STUCK + 5 * batches


def test_under_a_load_that_fills_every_batch_nothing_is_taken_from_it(
    sessions: Sessions, settings: Settings, drain: Callable[[], int]
) -> None:
    put(sessions, *(tiramizoo_order(f"stuck {it}") for it in range(5)))
    with sessions.begin() as session:
        session.execute(update(Message).values(retried_at=NOW))
    put(sessions, *(tiramizoo_order(f"live {it}") for it in range(BATCH)))
    assert drain_batch(sessions, settings, NOW) == BATCH
    assert (waiting(sessions, live=True), waiting(sessions, live=False)) == (0, 5)
    assert drain() == 5
