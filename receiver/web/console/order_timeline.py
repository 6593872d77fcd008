"""Lay out the drawing of an order's timeline; templates/console/timeline.svg is its markup.

From top to bottom: the status as a band; the events, by the courier's clock; the webhooks, poll
answers and tour plans, by our clock. A line connects each event with the message that reported it
first. The tables on the page say the same as text.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import accumulate, pairwise
from math import log1p
from typing import Any

from receiver.statuses import find_status
from receiver.text import count_noun
from receiver.web.console.template_filters import render_words

Json = dict[str, Any]

LEFT, RIGHT = 92, 984
EVENTS, FIRST_LANE, LANE = 78, 132, 40
# Events so close together that their marks would overlap are stacked.
MIN_DISTANCE, STACK_HEIGHT, MOST_STACKED = 13, 12, 3
LABEL_WIDTH, LETTER = 86.0, 7.2
# A wait is labelled if it is at least so wide in the picture, and lasted at least so long.
MIN_WAIT_WIDTH, MIN_WAIT = 74.0, timedelta(seconds=1)

LANES = {"webhook": "Webhooks", "poll": "Polls", "plan": "Plans"}
NOUNS = {"webhook": "webhook", "poll": "poll answer", "plan": "tour plan"}
# The width of a wait grows with the logarithm of its duration, in this unit: a night, or a year,
# does not hide the minutes before it. This share of the width is divided equally, so that no wait
# disappears.
WAIT_UNIT = timedelta(minutes=1)
EQUAL_SHARE = 0.15


def lay_out_timeline(explanation: Json, now: datetime) -> Json | None:
    """Return what is drawn and where; None if there are no events and messages.

    explanation: its order, events and messages, as ExplanationSchema describes them.
    now: the end of the band of an order in progress.
    """
    events = [
        event | {"at": datetime.fromisoformat(event["occurred_at"])}
        for event in explanation["events"]
    ]
    messages = [
        message
        | {
            "at": datetime.fromisoformat(message["received_at"]),
            "lane": "plan" if message["topic"] != "orders" else message["kind"],
        }
        for message in explanation["messages"]
    ]
    moments = [mark["at"] for mark in events + messages]
    if not moments:
        return None
    status = explanation["order"]["status"]
    until = max(moments) if find_status(status).terminal else now
    x = place_moments([*moments, until], LEFT, RIGHT)
    counts = Counter(message["lane"] for message in messages)
    lanes = [lane for lane in LANES if lane in counts or lane == "webhook"]
    y = {lane: FIRST_LANE + LANE * number for number, lane in enumerate(lanes)}
    sources = ", ".join(count_noun(count, NOUNS[lane]) for lane, count in counts.items())
    applied = sum(event["applied"] for event in events)
    return {
        "summary": f"{count_noun(applied, 'event')} applied, {len(events) - applied} not applied;"
        f" reported by {sources}. The status is {render_words(status)}."
        " The tables below contain the same.",
        "band": list(_lay_out_band(events, x, until)),
        "rails": [("Events", EVENTS), *((LANES[lane], y[lane]) for lane in lanes)],
        "events": list(_stack_events(events, x)),
        "messages": {
            message["id"]: message
            | {"x": x[message["at"]], "y": y[message["lane"]], "noun": NOUNS[message["lane"]]}
            for message in messages
        },
        "axis": FIRST_LANE + LANE * len(lanes),
        "labels": list(_lay_out_labels(x)),
        "waits": [
            ((left + right) / 2, later - earlier)
            for (earlier, left), (later, right) in pairwise(x.items())
            if right - left >= MIN_WAIT_WIDTH and later - earlier >= MIN_WAIT
        ],
    }


def place_moments(moments: Iterable[datetime], left: float, right: float) -> dict[datetime, float]:
    """Return the horizontal position of each moment between left and right, in their order."""
    ordered = sorted(set(moments))
    if len(ordered) == 1:
        return {ordered[0]: (left + right) / 2}
    waits = [log1p((later - earlier) / WAIT_UNIT) for earlier, later in pairwise(ordered)]
    equal, total = EQUAL_SHARE / len(waits), sum(waits)
    widths = ((right - left) * (wait / total * (1 - EQUAL_SHARE) + equal) for wait in waits)
    positions = accumulate(widths, initial=left)
    return {at: round(position, 1) for at, position in zip(ordered, positions, strict=True)}


def choose_labels(x: dict[datetime, float], min_distance: float) -> list[datetime]:
    """Return the moments to label on the axis, both ends included."""
    first, last = min(x), max(x)
    shown = [first]
    for at, position in x.items():
        if min(position - x[shown[-1]], x[last] - position) >= min_distance:
            shown.append(at)
    return [*shown, last] if x[last] - x[shown[-1]] >= min_distance / 2 else shown


def _lay_out_band(
    events: Sequence[Json], x: dict[datetime, float], until: datetime
) -> Iterator[Json]:
    """Lay out the status over time, from the events that were applied."""
    steps = [
        event
        for event in events
        if event["applied"] and (event["parcel"] is None or event["set_status"])
    ]
    # Without steps there is still the end: then there is no band.
    for step, end in zip(steps, [*(step["at"] for step in steps[1:]), until], strict=False):
        start = x[step["at"]]
        width = round(max(x[max(end, step["at"])] - start, 2.0), 1)
        is_labelled = len(step["status"]) * LETTER + 12 < width
        yield step | {"x": start, "width": width, "is_labelled": is_labelled}


def _stack_events(events: Iterable[Json], x: dict[datetime, float]) -> Iterator[Json]:
    ends = [float("-inf")] * MOST_STACKED
    for event in events:
        at = x[event["at"]]
        free = (level for level, end in enumerate(ends) if at - end >= MIN_DISTANCE)
        level = next(free, MOST_STACKED - 1)
        ends[level] = at
        yield event | {"x": at, "y": EVENTS - level * STACK_HEIGHT}


def _lay_out_labels(x: dict[datetime, float]) -> Iterator[Json]:
    """Lay out the times on the axis, with a date where the day begins to be another."""
    day = ""
    for at in choose_labels(x, LABEL_WIDTH):
        date = f"{at:%-d %b %Y}"
        anchor = "middle" if x[at] > LEFT else "start"
        anchor = "end" if x[at] > RIGHT - LABEL_WIDTH / 2 else anchor
        yield {"x": x[at], "at": at, "anchor": anchor, "date": date if date != day else None}
        day = date
