"""The console's page of couriers' performance, without a browser."""

import re
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from xml.etree import ElementTree as ET

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from receiver.web.console.performance_chart import BOTTOM, LEFT, RIGHT, TOP, lay_out_chart
from tests.bodies import life, tiramizoo_order
from tests.console import sign_in, text_of
from tests.shop import deliver

DAY = timedelta(days=1)
MONDAY = date(2026, 4, 13)

# Orders, and how many of them were delivered, of those with a promise, of those in time.
counts = st.lists(st.integers(0, 10**6), min_size=4, max_size=4).map(
    lambda numbers: sorted(numbers, reverse=True)
)


def days_of(*of_days: list[int]) -> dict[date, Counter[str]]:
    names = ("orders", "delivered", "expected", "on_time")
    return {
        MONDAY + number * DAY: Counter(dict(zip(names, found, strict=True)))
        for number, found in enumerate(of_days)
    }


@given(st.lists(counts, min_size=1, max_size=400))
def test_the_chart_shows_every_order_and_stays_within_its_bounds(of_days: list[list[int]]) -> None:
    days = days_of(*of_days)
    chart = lay_out_chart(days)
    total = sum(found["orders"] for found in days.values())
    if chart is None:
        assert total == 0
        return
    assert len(chart["columns"]) <= 62
    bars = [bar for column in chart["columns"] for bar in column["bars"]]
    assert sum(bar["count"] for bar in bars) == total
    for column in chart["columns"]:
        assert LEFT <= column["x"] <= column["x"] + chart["width"] <= RIGHT + 0.1
        below = float(BOTTOM)
        for bar in column["bars"]:
            assert bar["y"] + bar["height"] == pytest.approx(below, abs=0.11)
            below = bar["y"]
        assert below >= TOP
    assert 2 <= len(chart["grid"]) <= 6


def test_many_days_are_drawn_as_weeks() -> None:
    chart = lay_out_chart(days_of(*[[4, 3, 2, 1]] * 65))
    assert chart is not None
    assert (chart["by"], len(chart["columns"])) == ("week", 10)
    assert chart["columns"][0]["parts"] == {
        "on-time": 7,
        "unpromised": 7,
        "late": 7,
        "undelivered": 7,
    }
    assert (chart["columns"][-1]["since"], chart["columns"][-1]["until"]) == (
        MONDAY + 63 * DAY,
        MONDAY + 64 * DAY,
    )


def test_the_page_shows_a_period(client: FlaskClient, drain: Callable[[], int]) -> None:
    sign_in(client)
    assert "No order ended in these days." in text_of(client.get("/ops/performance"))
    times = life("created", "dispatched", "picked_up", "delivered", minutes=60)
    deliver(client, tiramizoo_order(times=times))
    drain()
    page = text_of(client.get("/ops/performance?since=2026-04-10&until=2026-04-20&account="))
    assert "100.0 %" in page
    assert "9 of 10 within" in page
    drawing = re.search(r'<svg class="columns-chart".*?</svg>', page, re.DOTALL)
    assert drawing is not None
    titles = [node.text for node in ET.fromstring(drawing[0]).iter() if node.tag == "title"]  # noqa: S314
    assert titles == ["Orders that ended, by day", "16 Apr 2026: 1 delivered, no time was promised"]
    other = text_of(
        client.get("/ops/performance?since=2026-04-10&until=2026-04-20&account=cottoncast")
    )
    assert "No order ended in these days." in other


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("since=2026-04-20&until=2026-04-10", 422),
        ("since=yesterday", 422),
        ("since=2020-01-01", 422),
        ("account=nobody", 404),
    ],
)
def test_what_is_no_period_is_a_page_that_says_so(
    client: FlaskClient, query: str, status: int
) -> None:
    sign_in(client)
    answer = client.get(f"/ops/performance?{query}")
    assert answer.status_code == status
    assert "Ordertrail" in text_of(answer)
