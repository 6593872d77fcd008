"""The console's timeline drawing and its template filters, without a browser."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from flask import Flask, render_template
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from receiver.statuses import VOCABULARY
from receiver.web import console, problems
from receiver.web.api.blueprint import CONVERTERS
from receiver.web.console.order_timeline import (
    LEFT,
    RIGHT,
    choose_labels,
    lay_out_timeline,
    place_moments,
)
from receiver.web.console.template_filters import (
    ago,
    is_web_address,
    link,
    render_delay,
    render_duration,
    render_value,
    visible,
    with_code,
)
from tests.bodies import START
from tests.bodies import after as minutes

moments = st.lists(
    st.integers(0, 10**8).map(lambda seconds: START + timedelta(seconds=seconds)), min_size=1
)


# The scale


@given(moments)
def test_moments_keep_their_order_and_their_bounds(told: list[datetime]) -> None:
    x = place_moments(told, 10, 990)
    assert list(x) == sorted(set(told))
    assert all(10 <= place <= 990 for place in x.values())
    assert all(left < right for left, right in pairwise(x.values()))


@given(moments, st.integers(20, 200))
def test_labels_never_touch(told: list[datetime], apart: int) -> None:
    x = place_moments(told, 0, 1000)
    assert all(x[b] - x[a] >= apart / 2 for a, b in pairwise(choose_labels(x, apart)))


def test_a_longer_wait_is_wider_and_a_night_does_not_hide_minutes() -> None:
    x = place_moments([minutes(0), minutes(5), minutes(65), minutes(60 * 24)], 0, 1000)
    short_wait, hour, night = (b - a for a, b in pairwise(x.values()))
    assert 40 < short_wait < hour < night


# The timeline of an order


def explained(status: str, *events: dict[str, Any], **messages: dict[str, Any]) -> dict[str, Any]:
    def time(minute: float) -> str:
        return minutes(minute).isoformat().replace("+00:00", "Z")

    shape: dict[str, Any] = {
        "courier_status": "word",
        "reason": None,
        "parcel": None,
        "applied": True,
        "not_applied_why": None,
        "set_status": False,
        "flags": [],
        "message_id": "1",
    }
    return {
        "order": {"status": status},
        "events": [
            {**shape, **it, "occurred_at": time(it["at"]), "received_at": time(it["at"])}
            for it in events
        ],
        "messages": [
            {
                "id": name.removeprefix("m"),
                "topic": "orders",
                "kind": "webhook",
                "first_told": ["word"],
                **it,
                "received_at": time(it["at"]),
            }
            for name, it in messages.items()
        ],
    }


pages = Flask("pages")
pages.url_map.converters.update(CONVERTERS)
problems.init_app(pages)
console.init_app(pages)


def draw(explanation: dict[str, Any]) -> str:
    timeline = lay_out_timeline(explanation, minutes(600))
    with pages.app_context():
        return render_template("console/timeline.svg", timeline=timeline)


def parsed(drawn: str) -> ET.Element:
    """The picture, which is to be well-formed whatever stands in it."""
    return ET.fromstring(drawn)  # noqa: S314 - our own


def shapes(drawn: str, look: str) -> list[ET.Element]:
    return [it for it in parsed(drawn).iter() if it.get("class", "").split()[:1] == [look]]


def test_an_order_without_events_has_no_drawing() -> None:
    assert lay_out_timeline(explained("pending"), minutes(0)) is None


def test_events_are_connected_with_the_messages_that_reported_them_first() -> None:
    explanation = explained(
        "delivered",
        {"at": 0, "status": "info_received", "message_id": "1"},
        {"at": 60, "status": "delivered", "message_id": "2", "set_status": True},
        {
            "at": 90,
            "status": "in_transit",
            "applied": False,
            "not_applied_why": "in_transit cannot follow delivered",
            "message_id": "3",
        },
        m1={"at": 1},
        m2={"at": 100, "kind": "poll"},
        m3={"at": 91},
    )
    drawn = draw(explanation)
    threads = shapes(drawn, "thread")
    assert [it.get("class") for it in threads] == ["thread", "thread", "thread not"]
    marks = shapes(drawn, "event")
    for thread, mark in zip(threads, marks, strict=True):
        assert (thread.get("x1"), thread.get("y1")) == (mark.get("cx"), mark.get("cy"))
    hooks, poll = shapes(drawn, "message")[0::2], shapes(drawn, "message")[1]
    assert {it.get("class") for it in hooks} == {"message webhook"}
    assert poll.get("class") == "message poll"
    assert len(shapes(drawn, "ring")) == 1
    assert "not applied: in_transit cannot follow delivered" in str(drawn)
    # The band is of what counts: from info_received on, and then delivered, to the picture's end.
    bands = [(float(it.get("x", 0)), float(it.get("width", 0))) for it in shapes(drawn, "band")]
    assert len(bands) == 2
    assert bands[0][0] == LEFT
    assert bands[0][0] + bands[0][1] == pytest.approx(bands[1][0], abs=0.2)
    assert bands[1][0] + bands[1][1] == pytest.approx(RIGHT, abs=0.2)


def test_an_order_in_progress_is_drawn_until_now() -> None:
    one = {"at": 0, "status": "in_transit", "set_status": True}
    (band,) = shapes(draw(explained("in_transit", one, m1={"at": 1})), "band")
    assert float(band.get("x", 0)) + float(band.get("width", 0)) == pytest.approx(RIGHT, abs=0.2)


def test_an_order_with_unknown_words_is_drawn() -> None:
    odd = {"at": 0, "status": "unknown", "applied": False, "set_status": True}
    drawn = draw(explained("unknown", odd, m1={"at": 1}))
    assert len(shapes(drawn, "event")) == 1
    assert shapes(drawn, "band") == []


def test_simultaneous_events_do_not_overlap() -> None:
    events = [{"at": 0, "status": status} for status in ("info_received", "picked_up", "lost")]
    marks = shapes(draw(explained("lost", *events, m1={"at": 1})), "event")
    assert len({(it.get("cx"), it.get("cy")) for it in marks}) == 3


@pytest.mark.parametrize("status", VOCABULARY)
def test_every_status_can_be_drawn_and_markup_is_text(status: str) -> None:
    hostile = "</svg><script>\x00\u202e"
    event = {"at": 0, "status": status, "courier_status": hostile, "not_applied_why": hostile}
    drawn = draw(explained(status, {**event, "applied": False}, m1={"at": 1}))
    assert "<script>" not in drawn
    parsed(drawn)


# Template filters


def test_durations_have_two_units_at_most() -> None:
    told = {0: "0 ms", 0.25: "250 ms", 4.26: "4.3 s", 59: "59 s", 60: "1 min", 3661: "1 h 1 min"}
    told |= {86_400: "1 d", 90_000: "1 d 1 h", 86_460: "1 d"}
    assert {seconds: render_duration(seconds) for seconds in told} == told


def test_times_are_relative_to_now() -> None:
    now = datetime(2026, 4, 16, 12, tzinfo=UTC)
    assert "3 min ago" in ago(now - timedelta(minutes=3), now)
    assert "in 2 h" in ago(now + timedelta(hours=2), now)
    assert "just now" in ago(now, now)
    assert "never" in ago(None, now)
    assert render_delay("2026-04-16T12:00:05Z", "2026-04-16T12:00:00Z") == "5.0 s after the event"
    assert render_delay("2026-04-16T12:00:00Z", "2026-04-16T12:01:00Z") == "1 min before the event"


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "data:text/html,<script>",
        "//evil.example",
        "/ops/signout",
        "https://",
        "https://\x00evil",
        "https://a\u202eb",
        "ftp://a.example",
        "https://[",
        "https://a.example/" + "x" * 3000,
        None,
        7,
    ],
)
def test_only_addresses_of_the_web_become_links(address: Any) -> None:
    assert not is_web_address(address)
    assert "<a" not in str(link(address))


def test_a_link_has_no_referrer_and_stays_within_its_quotes() -> None:
    told = str(link('https://a.example/"onclick="x'))
    assert told.count('"') == told.replace("&#34;", "").count('"')
    assert 'rel="noopener noreferrer nofollow"' in told


def test_invisible_characters_are_shown_and_lines_stay_lines() -> None:
    assert render_value("a\u202eb\x00\nc") == "a?b??c"
    assert render_value(None) == ""
    assert render_value(Markup("<b>\n</b>")) == "<b>\n</b>"
    assert visible('{\n  "a": "\u202e<b>"\n}') == "{\n  &#34;a&#34;: &#34;?&lt;b&gt;&#34;\n}"
    assert with_code("say `a<b` now") == "say <code>a&lt;b</code> now"
