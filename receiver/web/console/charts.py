"""Charts of what came in over time, drawn here: bars for counts, lines for lengths of time.

Each has a title and a description for those who do not see it; the page shows the same numbers as a
table below.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from markupsafe import Markup

Value = float | None

WIDTH, HEIGHT = 520, 150
LEFT, RIGHT, TOP, BOTTOM = 52, 514, 8, 124
# How many lines across, and of which round numbers their distance may be.
LINES = 3
ROUND = (1, 2, 2.5, 5, 10)
# Those of seconds that people count in: up to a minute as any number, then as clocks have it.
ROUND_SECONDS = (60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)


@dataclass(frozen=True, slots=True)
class Series:
    """One kind of value over all moments, None where nothing was measured. look: its CSS class."""

    name: str
    look: str
    values: Sequence[Value]


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn. say: a value in words; beside: the same beside a line; until: where
    the last step ends.
    """

    key: str
    title: str
    moments: Sequence[datetime]
    until: datetime
    series: Sequence[Series]
    say: Callable[[float], str]
    stacked: bool = False
    of_time: bool = False
    beside: Callable[[float], str] | None = None

    def rows(self) -> Iterator[tuple[datetime, list[Value]]]:
        """The same as a table, the newest first; steps in which nothing was are left out."""
        columns = zip(*(it.values for it in self.series), strict=True)
        for at, values in reversed(list(zip(self.moments, columns, strict=True))):
            if any(values):
                yield at, list(values)

    def __html__(self) -> str:
        top = _top(self)
        parts = [*_grid(self, top), *(_bars if self.stacked else _lines)(self, top), *_hours(self)]
        return Markup(
            '<svg class="chart" viewBox="0 0 {0} {1}" role="img" aria-labelledby="{2}-t {2}-d">'
            '<title id="{2}-t">{3}</title><desc id="{2}-d">{4}</desc>{5}</svg>'
        ).format(WIDTH, HEIGHT, self.key, self.title, _summary(self), Markup("").join(parts))


def spark(values: Sequence[int], title: str) -> Markup:
    """Bars so small that they stand beside a name."""
    most, width = max([*values, 1]), 100 / len(values)
    bars = Markup("").join(
        Markup('<rect x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"/>').format(
            number * width, 22 - 20 * value / most, width * 0.8, max(20 * value / most, 1)
        )
        for number, value in enumerate(values)
        if value
    )
    return Markup(
        '<svg class="spark" viewBox="0 0 100 24" preserveAspectRatio="none" role="img"'
        ' aria-label="{}"><title>{}</title>'
        '<line class="rail" x1="0" x2="100" y1="22.5" y2="22.5"/>{}</svg>'
    ).format(title, title, bars)


def _summary(chart: Chart) -> str:
    told = []
    for it in chart.series:
        known = [value for value in it.values if value is not None]
        told.append(
            f"{it.name}: at most {chart.say(max(known))}, last {chart.say(known[-1])}"
            if known
            else f"{it.name}: nothing measured"
        )
    return "; ".join(told) + ". The table below says the same."


def _top(chart: Chart) -> float:
    """The value of the topmost line: round, and above all values."""
    if chart.stacked:
        columns = zip(*(it.values for it in chart.series), strict=True)
        most = max((sum(value or 0 for value in column) for column in columns), default=0)
    else:
        most = max((value or 0 for it in chart.series for value in it.values), default=0)
    if chart.of_time and most > ROUND_SECONDS[0]:
        step = next((it for it in ROUND_SECONDS if it * LINES >= most), most / LINES)
        return step * LINES
    least = most / LINES or 1
    size = 10.0 ** math.floor(math.log10(least))
    step = next(size * it for it in ROUND if size * it >= least)
    # Counts are whole.
    return (step if chart.of_time else max(math.ceil(step), 1)) * LINES


def _x(chart: Chart, at: datetime) -> float:
    whole = (chart.until - chart.moments[0]).total_seconds()
    return LEFT + (RIGHT - LEFT) * (at - chart.moments[0]).total_seconds() / whole


def _y(value: float, top: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * min(value / top, 1)


def _grid(chart: Chart, top: float) -> Iterator[Markup]:
    say = chart.beside or chart.say
    for number in range(LINES + 1):
        value = top * number / LINES
        y = _y(value, top)
        yield Markup(
            '<line class="rail" x1="{0}" x2="{1}" y1="{2:.1f}" y2="{2:.1f}"/>'
            '<text class="end" x="{3}" y="{4:.1f}">{5}</text>'
        ).format(LEFT, RIGHT, y, LEFT - 6, y + 4, say(value) if value else "0")


def _bars(chart: Chart, top: float) -> Iterator[Markup]:
    slot = (RIGHT - LEFT) / len(chart.moments)
    below = [0.0] * len(chart.moments)
    for it in chart.series:
        for number, value in enumerate(it.values):
            if not value:
                continue
            y, height = _y(below[number] + value, top), (BOTTOM - TOP) * value / top
            below[number] += value
            yield Markup(
                '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
            ).format(it.look, LEFT + number * slot + slot * 0.1, y, slot * 0.8, height)


def _lines(chart: Chart, top: float) -> Iterator[Markup]:
    """Lines through what was measured; where nothing was, there is a gap, and no zero."""
    half = (chart.until - chart.moments[0]) / len(chart.moments) / 2
    for it in chart.series:
        runs: list[list[tuple[float, float]]] = [[]]
        for at, value in zip(chart.moments, it.values, strict=True):
            if value is None:
                runs.append([])
            else:
                runs[-1].append((_x(chart, at + half), _y(value, top)))
        for run in filter(None, runs):
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in run)
            # A lone point is a line of no length, which its round ends make a dot.
            path += "h.01" if len(run) == 1 else ""
            yield Markup('<path class="line {}" d="M{}"/>').format(it.look, path)


def _hours(chart: Chart) -> Iterator[Markup]:
    """Times below: as many full hours, or days, as there is room for."""
    whole = chart.until - chart.moments[0]
    step = next(
        step
        for step in (timedelta(hours=1), timedelta(hours=4), timedelta(days=1))
        if whole / step <= 8  # noqa: PLR2004 - more would touch
    )
    at = chart.moments[0].replace(minute=0, second=0, microsecond=0)
    if step > timedelta(hours=1):
        at = at.replace(hour=0)
    while at <= chart.until:
        x = _x(chart, at)
        if LEFT <= x <= RIGHT - 12:
            text = f"{at:%a %-d}" if step == timedelta(days=1) else f"{at:%H:%M}"
            yield Markup(
                '<line class="axis" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>'
                '<text class="middle clock" x="{0:.1f}" y="{3}">{4}</text>'
            ).format(x, BOTTOM, BOTTOM + 4, BOTTOM + 18, text)
        at += step
