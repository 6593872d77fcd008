"""Draw an order's timeline as SVG: its status over time, its events and its messages.

From top to bottom: the status as a band; the events, by the courier's clock; the webhooks, poll
answers and tour plans, by our clock. A line connects each event with the message that reported it
first. The tables on the page say the same as text.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate, pairwise
from typing import Any

from markupsafe import Markup

from receiver.statuses import find_status
from receiver.text import count_noun, replace_unprintable
from receiver.web.console.template_filters import render_duration, render_words

Json = dict[str, Any]

WIDTH, LEFT, RIGHT = 1000, 92, 984
BAND_TOP, BAND_HEIGHT = 14, 26
EVENTS = 78
FIRST_LANE, LANE = 132, 40
# Events so close together that their marks would overlap are stacked.
MIN_DISTANCE, STACK_HEIGHT, MOST_STACKED = 13, 12, 3
LABEL_WIDTH, LETTER = 86.0, 7.2
# A wait is labelled if it is at least so wide in the picture, and lasted at least so long.
MIN_WAIT_WIDTH, MIN_WAIT = 74.0, timedelta(seconds=1)

LANES = {"webhook": "Webhooks", "poll": "Polls", "plan": "Plans"}
NOUNS = {"webhook": "webhook", "poll": "poll answer", "plan": "tour plan"}
# The width of a wait grows with its duration to this power, so that a night does not hide the
# minutes before it. This share of the width is divided equally, so that no wait disappears.
WAIT_POWER = 0.4
EQUAL_SHARE = 0.15


class TimeScale:
    """Maps the moments of a picture to horizontal positions between left and right."""

    def __init__(self, moments: Iterable[datetime], left: float, right: float) -> None:
        self.moments = sorted(set(moments))
        self.left, self.right = left, right
        waits = [(b - a).total_seconds() ** WAIT_POWER for a, b in pairwise(self.moments)]
        total = sum(waits)
        shares = [wait / total * (1 - EQUAL_SHARE) + EQUAL_SHARE / len(waits) for wait in waits]
        width = right - left
        self._positions = [left + width * share for share in accumulate(shares, initial=0.0)]
        if len(self.moments) == 1:
            self._positions = [left + width / 2]

    def __call__(self, at: datetime) -> float:
        """Return the position of one of the moments, or of the last one before."""
        return float(self._positions[max(0, bisect_right(self.moments, at) - 1)])

    def labels(self, min_distance: float) -> list[datetime]:
        """Return the moments to label on the axis, both ends included."""
        if not self.moments:
            return []
        first, last = self.moments[0], self.moments[-1]
        shown = [first]
        for at in self.moments[1:-1]:
            if self(at) - self(shown[-1]) >= min_distance and self.right - self(at) >= min_distance:
                shown.append(at)
        if last != first and self(last) - self(shown[-1]) >= min_distance / 2:
            shown.append(last)
        return shown


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark in the picture: its position, and the event or message that it stands for."""

    x: float
    y: float
    content: Json


def draw_order_timeline(explanation: Json, now: datetime) -> Markup:
    """Draw an order's timeline; an empty text if there are no events and messages.

    explanation: as ExplanationSchema dumps it. now: the end of the band of an order in progress.
    """
    events, messages = explanation["events"], explanation["messages"]
    moments = [_time(event["occurred_at"]) for event in events]
    moments += [_time(message["received_at"]) for message in messages]
    if not moments:
        return Markup()
    is_in_progress = not find_status(explanation["order"]["status"]).terminal
    scale = TimeScale([*moments, *([now] if is_in_progress else [])], LEFT, RIGHT)
    lanes = {
        kind: FIRST_LANE + float(LANE * number) for number, kind in enumerate(_lanes(messages))
    }
    message_marks = {
        message["id"]: Mark(scale(_time(message["received_at"])), lanes[_kind(message)], message)
        for message in messages
    }
    event_marks = list(_stack_events(scale, events))
    axis = FIRST_LANE + LANE * len(lanes)
    parts = [
        *_draw_band(explanation, scale, now if is_in_progress else scale.moments[-1]),
        *_draw_lanes(lanes),
        *_draw_connections(event_marks, message_marks),
        *map(_draw_event, event_marks),
        *map(_draw_message, message_marks.values()),
        *_draw_axis(scale, axis),
    ]
    return Markup(
        '<svg class="life" viewBox="0 0 {} {}" role="img" aria-labelledby="life-title life-desc">'
        '<title id="life-title">Timeline of the order</title><desc id="life-desc">{}</desc>{}</svg>'
    ).format(WIDTH, axis + 44, _summary(explanation), Markup("").join(parts))


def _summary(explanation: Json) -> str:
    events = explanation["events"]
    applied = sum(event["applied"] for event in events)
    kinds = Counter(_kind(message) for message in explanation["messages"])
    sources = ", ".join(count_noun(count, NOUNS[kind]) for kind, count in kinds.items())
    return (
        f"{count_noun(applied, 'event')} applied, {len(events) - applied} not applied; reported by"
        f" {sources}. The status is {render_words(explanation['order']['status'])}."
        " The tables below contain the same."
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _kind(message: Json) -> str:
    return "plan" if message["topic"] != "orders" else message["kind"]


def _lanes(messages: Iterable[Json]) -> list[str]:
    seen = {_kind(message) for message in messages}
    return [kind for kind in LANES if kind in seen or kind == "webhook"]


def _stack_events(scale: TimeScale, events: Iterable[Json]) -> Iterator[Mark]:
    ends = [float("-inf")] * MOST_STACKED
    for event in events:
        x = scale(_time(event["occurred_at"]))
        free = (level for level, end in enumerate(ends) if x - end >= MIN_DISTANCE)
        level = next(free, MOST_STACKED - 1)
        ends[level] = x
        yield Mark(x, EVENTS - level * STACK_HEIGHT, event)


def _draw_band(explanation: Json, scale: TimeScale, until: datetime) -> Iterator[Markup]:
    """Draw the status over time, from the events that were applied."""
    steps = [
        event
        for event in explanation["events"]
        if event["applied"] and (event["parcel"] is None or event["set_status"])
    ]
    ends = [*(_time(event["occurred_at"]) for event in steps[1:]), until]
    # Without steps there is still the end: then there is no band.
    for event, end in zip(steps, ends, strict=False):
        x, status = scale(_time(event["occurred_at"])), event["status"]
        width = max(scale(max(end, _time(event["occurred_at"]))) - x, 2.0)
        name = render_words(status)
        yield Markup(
            '<g class="g-{}"><title>{} since {} UTC</title>'
            '<rect class="band" x="{:.1f}" y="{}" width="{:.1f}" height="{}" rx="3"/>{}</g>'
        ).format(
            find_status(status).group,
            name,
            _clock(event["occurred_at"]),
            x,
            BAND_TOP,
            width,
            BAND_HEIGHT,
            Markup('<text class="in-band" x="{:.1f}" y="{}">{}</text>').format(
                x + 7, BAND_TOP + 18, name
            )
            if len(name) * LETTER + 12 < width
            else "",
        )


def _draw_lanes(lanes: dict[str, float]) -> Iterator[Markup]:
    labels = [("Status", BAND_TOP + BAND_HEIGHT / 2), ("Events", EVENTS)]
    labels += [(LANES[kind], y) for kind, y in lanes.items()]
    for name, y in labels:
        yield Markup('<text class="lane" x="0" y="{}">{}</text>').format(y + 5, name)
        if name != "Status":
            yield Markup('<line class="rail" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
                LEFT, RIGHT, y, y
            )


def _draw_connections(
    event_marks: Iterable[Mark], message_marks: dict[str, Mark]
) -> Iterator[Markup]:
    for mark in event_marks:
        message = message_marks.get(mark.content["message_id"])
        if message is not None:
            yield Markup(
                '<line class="thread{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>'
            ).format(
                "" if mark.content["applied"] else " not", mark.x, mark.y, message.x, message.y
            )


def _draw_event(mark: Mark) -> Markup:
    event, x, y = mark.content, mark.x, mark.y
    outcome = "applied" if event["applied"] else f"not applied: {event['not_applied_why']}"
    text = f"{_clock(event['occurred_at'])} UTC: {event['courier_status']}, {outcome}"
    if event["applied"]:
        shape = Markup('<circle class="event" cx="{:.1f}" cy="{:.1f}" r="5.5"/>').format(x, y)
    else:
        shape = Markup(
            '<circle class="event not" cx="{0:.1f}" cy="{1:.1f}" r="5.5"/>'
            '<path class="cross" d="M{2:.1f} {4:.1f}L{3:.1f} {5:.1f}'
            'M{2:.1f} {5:.1f}L{3:.1f} {4:.1f}"/>'
        ).format(x, y, x - 2.6, x + 2.6, y - 2.6, y + 2.6)
    ring = Markup('<circle class="ring" cx="{:.1f}" cy="{:.1f}" r="9"/>').format(x, y)
    group = find_status(event["status"]).group
    return Markup('<g class="g-{}"><title>{}</title>{}{}</g>').format(
        group, replace_unprintable(text), shape, ring if event["set_status"] else ""
    )


def _draw_message(mark: Mark) -> Markup:
    message, x, y = mark.content, mark.x, mark.y
    kind = _kind(message)
    reported = ", ".join(dict.fromkeys(message["first_told"])) or "nothing new"
    source = f"{NOUNS[kind]}, message {message['id']}"
    text = f"{_clock(message['received_at'])} UTC: {source}, reported {reported}"
    shapes = {
        "webhook": f"M{x - 6:.1f} {y - 5:.1f}h12l-6 11Z",
        "poll": f"M{x:.1f} {y - 7:.1f}l7 7l-7 7l-7 -7Z",
        "plan": f"M{x - 5:.1f} {y - 5:.1f}h10v10h-10Z",
    }
    faint = "" if message["first_told"] or kind == "plan" else " faint"
    return Markup('<g><title>{}</title><path class="message {}{}" d="{}"/></g>').format(
        replace_unprintable(text), kind, faint, shapes[kind]
    )


def _draw_axis(scale: TimeScale, y: float) -> Iterator[Markup]:
    yield Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(LEFT, RIGHT, y, y)
    day = ""
    for at in scale.labels(LABEL_WIDTH):
        x, date = scale(at), f"{at:%-d %b}"
        anchor = "end" if x > RIGHT - LABEL_WIDTH / 2 else "start" if x == LEFT else "middle"
        yield Markup('<line class="axis" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>').format(
            x, y, y + 5
        )
        label = Markup('<text class="clock {}" x="{:.1f}" y="{}">{}</text>')
        yield label.format(anchor, x, y + 19, f"{at:%H:%M:%S}")
        if date != day:
            yield label.format(f"{anchor} date", x, y + 34, f"{date} {at:%Y}")
        day = date
    for earlier, later in pairwise(scale.moments):
        left, right = scale(earlier), scale(later)
        if right - left >= MIN_WAIT_WIDTH and later - earlier >= MIN_WAIT:
            yield Markup('<text class="wait middle" x="{:.1f}" y="{}">{}</text>').format(
                (left + right) / 2, y - 5, render_duration(later - earlier)
            )


def _clock(at: str) -> str:
    return f"{at[:10]} {at[11:19]}"
