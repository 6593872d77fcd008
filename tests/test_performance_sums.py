"""Couriers' performance is always what the stored orders come to, whatever came when.

HYPOTHESIS_PROFILE=long tries 500 sets of lives.
"""

import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.models import OrderPerformance
from receiver.inbox.accept import IncomingMessage, store_messages
from receiver.orders.performance.histogram import estimate_percentile, find_bucket
from receiver.orders.performance.report import Period, report_account
from receiver.settings import Settings
from tests.bodies import START, life, raw, tiramizoo_snapshots
from tests.hypothesis_profiles import examples
from tests.lives import Life, all_lives
from tests.plain_performance import differences, is_near, percentile
from workers.folding.drain import drain_batch
from workers.upkeep.performance import count_performance

Sessions = sessionmaker[Session]

DAY = timedelta(days=1)


def arrivals(lives: Sequence[Life], choose: random.Random) -> list[IncomingMessage]:
    """The messages of lives, each of an order of its own, in any order, some of them repeated."""
    found = []
    for number, each in enumerate(lives):
        # Over some days.
        shift = choose.randrange(3)
        for sent in each.sent:
            content = raw(sent.body)
            for name in ("6d1f0b1e-5f0e-4c39-8f0c-0a3c1e8a7b11", "a505ff78-67c5-4fbd-ab4f", "3AF7"):
                content = content.replace(name.encode(), f"{name[:-2]}{number:02}".encode())
            content = content.replace(b"SA-2001", f"SA-20{number:02}".encode())
            trust = "fetched" if sent.kind == "poll" else "token"
            message = IncomingMessage(
                each.courier, "orders", sent.kind, trust, content, sent.at + shift * DAY
            )
            found += [message] * choose.choice((1, 1, 1, 2))
    choose.shuffle(found)
    return found


@pytest.mark.timeout(300)
@given(st.lists(all_lives, min_size=1, max_size=8), st.randoms(use_true_random=False))
@hypothesis_settings(examples(0.1), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_report_is_what_the_orders_come_to_whatever_came_when(
    sessions: Sessions, settings: Settings, lives: list[Life], choose: random.Random
) -> None:
    with sessions.begin() as session:
        session.execute(
            text(
                "TRUNCATE orders, identifiers, events, messages, daily_performance,"
                " order_performance, cursors CASCADE"
            )
        )
    periods = [
        Period(START.date() + n * DAY, START.date() + (n + m) * DAY)
        for n, m in ((0, 0), (1, 0), (2, 1), (0, 400))
    ]

    def check() -> None:
        found = [line for period in periods for line in differences(sessions, settings, period)]
        assert found == []

    for message in arrivals(lives, choose):
        with sessions.begin() as session:
            store_messages(session, [message])
        if choose.random() < 0.4:
            drain_batch(sessions, settings, datetime.now(UTC))
        if choose.random() < 0.1:
            count_performance(sessions, 60)
            check()
    while drain_batch(sessions, settings, datetime.now(UTC)):
        pass
    check()
    count_performance(sessions, 60)
    check()


def test_workers_that_fold_beside_the_count_lose_nothing(
    sessions: Sessions, settings: Settings
) -> None:
    choose, is_done = random.Random(7), threading.Event()
    with sessions.begin() as session:
        for number in range(60):
            uuid = f"u-{number}"
            snapshots = tiramizoo_snapshots(uuid, life("created", "picked_up", "delivered"))
            failed = life("created", "picked_up", "delivered", "delivery_failed", "returned")
            snapshots += tiramizoo_snapshots(uuid, failed)[3:]
            choose.shuffle(snapshots)
            store_messages(
                session,
                [
                    IncomingMessage("tiramizoo", "orders", "webhook", "token", raw(body), START)
                    for body in snapshots
                ],
            )

    def fold() -> None:
        while drain_batch(sessions, settings, datetime.now(UTC)):
            pass

    def count() -> None:
        while not is_done.is_set():
            count_performance(sessions, 60)

    with ThreadPoolExecutor() as pool, mock.patch("workers.folding.drain.BATCH", 7):
        counting = pool.submit(count)
        try:
            for folding in [pool.submit(fold) for _ in range(3)]:
                folding.result()
        finally:
            is_done.set()
        counting.result()
    period = Period(START.date(), START.date())
    assert [*differences(sessions, settings, period)] == []
    count_performance(sessions, 60)
    with sessions() as session:
        assert report_account(session, settings.accounts, "tiramizoo", period)["orders"] == 60
        assert (
            session.scalars(select(OrderPerformance).where(~OrderPerformance.counted)).all() == []
        )
    assert [*differences(sessions, settings, period)] == []


@given(st.lists(st.floats(0.001, 1e8), min_size=1, max_size=50), st.floats(0, 1))
def test_percentiles_of_a_histogram_are_within_five_per_cent(
    durations: list[float], share: float
) -> None:
    counts: dict[int, int] = {}
    for duration in durations:
        counts[find_bucket(duration)] = counts.get(find_bucket(duration), 0) + 1
    assert is_near(estimate_percentile(counts, share), percentile(durations, share))
