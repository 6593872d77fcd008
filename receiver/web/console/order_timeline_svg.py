"""An order's life as a picture: its status over time, what happened, and what told us of it.

From top to bottom: the status as a band; the events, by the courier's clock; the hooks, the polls
and the plans that came in, by ours. A line leads from each event to the message that told it first,
so a late message's line is a long one. All of it stands as text in the tables beside the picture.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from markupsafe import Markup

from receiver.statuses import find_status
from receiver.text import replace_unprintable
from receiver.web.console.template_filters import span, words
from receiver.web.console.time_scale import Scale

Told = dict[str, Any]

WIDTH, LEFT, RIGHT = 1000, 92, 984
BAND_TOP, BAND_HEIGHT = 14, 26
EVENTS = 78
FIRST_LANE, LANE = 132, 40
# What happened so close together that its marks would touch stands above one another.
APART, STACK, MOST_STACKED = 13, 12, 3
LABEL_WIDTH, LETTER = 86.0, 7.2
# A wait that is written beside the axis: so wide on the picture, and so long in fact.
WIDE, LONG = 74.0, timedelta(seconds=1)

LANES = {"webhook": "Hooks", "poll": "Polls", "plan": "Plans"}


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing on the picture, and where it stands."""

    x: float
    y: float
    told: Told


def draw(told: Told, now: datetime) -> Markup:
    """The picture of an order that is explained; nothing where nothing happened.

    told: as explain.explain gives it. now: where the status of an order that goes on ends.
    """
    events, messages = told["events"], told["messages"]
    moments = [_time(it["occurred_at"]) for it in events]
    moments += [_time(it["received_at"]) for it in messages]
    if not moments:
        return Markup()
    goes_on = not find_status(told["order"]["status"]).terminal
    scale = Scale([*moments, *([now] if goes_on else [])], LEFT, RIGHT)
    lanes = {
        kind: FIRST_LANE + float(LANE * number) for number, kind in enumerate(_lanes(messages))
    }
    came = {it["id"]: _place(scale, it["received_at"], lanes[_kind(it)], it) for it in messages}
    happened = list(_stacked(scale, events))
    axis = FIRST_LANE + LANE * len(lanes)
    parts = [
        *_band(told, scale, now if goes_on else scale.moments[-1]),
        *_names(lanes),
        *_threads(happened, came),
        *map(_event, happened),
        *(_message(mark) for mark in came.values()),
        *_axis(scale, axis),
    ]
    return Markup(
        '<svg class="life" viewBox="0 0 {} {}" role="img" aria-labelledby="life-title life-desc">'
        '<title id="life-title">The life of the order</title><desc id="life-desc">{}</desc>{}</svg>'
    ).format(WIDTH, axis + 44, _summary(told), Markup("").join(parts))


def _summary(told: Told) -> str:
    events = told["events"]
    counted = sum(event["applied"] for event in events)
    kinds = Counter(LANES[_kind(message)].lower() for message in told["messages"])
    came = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return (
        f"{counted} events that count and {len(events) - counted} that do not, told by {came};"
        f" the status is {words(told['order']['status'])}. The tables below say the same."
    )


def _time(told: str) -> datetime:
    return datetime.fromisoformat(told)


def _kind(message: Told) -> str:
    return "plan" if message["topic"] != "orders" else message["kind"]


def _lanes(messages: Iterable[Told]) -> list[str]:
    seen = {_kind(message) for message in messages}
    return [kind for kind in LANES if kind in seen or kind == "webhook"]


def _place(scale: Scale, at: str, y: float, told: Told) -> Mark:
    return Mark(scale(_time(at)), y, told)


def _stacked(scale: Scale, events: Iterable[Told]) -> Iterator[Mark]:
    ends = [float("-inf")] * MOST_STACKED
    for event in events:
        x = scale(_time(event["occurred_at"]))
        free = (level for level, end in enumerate(ends) if x - end >= APART)
        level = next(free, MOST_STACKED - 1)
        ends[level] = x
        yield Mark(x, EVENTS - level * STACK, event)


def _band(told: Told, scale: Scale, until: datetime) -> Iterator[Markup]:
    """The status over time, as far as what applied says."""
    steps = [
        event
        for event in told["events"]
        if event["applied"] and (event["parcel"] is None or event["set_status"])
    ]
    ends = [*(_time(event["occurred_at"]) for event in steps[1:]), until]
    # One end more than steps where no word of the courier's is known: then there is no band.
    for event, end in zip(steps, ends, strict=False):
        x, status = scale(_time(event["occurred_at"])), event["status"]
        width = max(scale(max(end, _time(event["occurred_at"]))) - x, 2.0)
        name = words(status)
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


def _names(lanes: dict[str, float]) -> Iterator[Markup]:
    named = [("Status", BAND_TOP + BAND_HEIGHT / 2), ("Happened", EVENTS)]
    named += [(LANES[kind], y) for kind, y in lanes.items()]
    for name, y in named:
        yield Markup('<text class="lane" x="0" y="{}">{}</text>').format(y + 5, name)
        if name != "Status":
            yield Markup('<line class="rail" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
                LEFT, RIGHT, y, y
            )


def _threads(happened: Iterable[Mark], came: dict[str, Mark]) -> Iterator[Markup]:
    for mark in happened:
        message = came.get(mark.told["message_id"])
        if message is not None:
            yield Markup(
                '<line class="thread{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>'
            ).format("" if mark.told["applied"] else " not", mark.x, mark.y, message.x, message.y)


def _event(mark: Mark) -> Markup:
    event, x, y = mark.told, mark.x, mark.y
    outcome = "counts" if event["applied"] else f"does not count: {event['not_applied_why']}"
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


def _message(mark: Mark) -> Markup:
    message, x, y = mark.told, mark.x, mark.y
    kind = _kind(message)
    told = ", ".join(dict.fromkeys(message["first_told"])) or "nothing new"
    text = f"{_clock(message['received_at'])} UTC: {kind}, message {message['id']}, told {told}"
    shapes = {
        "webhook": f"M{x - 6:.1f} {y - 5:.1f}h12l-6 11Z",
        "poll": f"M{x:.1f} {y - 7:.1f}l7 7l-7 7l-7 -7Z",
        "plan": f"M{x - 5:.1f} {y - 5:.1f}h10v10h-10Z",
    }
    faint = "" if message["first_told"] or kind == "plan" else " faint"
    return Markup('<g><title>{}</title><path class="message {}{}" d="{}"/></g>').format(
        replace_unprintable(text), kind, faint, shapes[kind]
    )


def _axis(scale: Scale, y: float) -> Iterator[Markup]:
    yield Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(LEFT, RIGHT, y, y)
    shown, day = scale.marks(LABEL_WIDTH), ""
    for at in shown:
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
    for earlier, later in zip(scale.moments, scale.moments[1:], strict=False):
        left, right = scale(earlier), scale(later)
        if right - left >= WIDE and later - earlier >= LONG:
            yield Markup('<text class="wait middle" x="{:.1f}" y="{}">{}</text>').format(
                (left + right) / 2, y - 5, span(later - earlier)
            )


def _clock(at: str) -> str:
    return f"{at[:10]} {at[11:19]}"
