"""Lay out the chart of ended orders; templates/console/performance_chart.svg is its markup.

A column is a day, or a week where there are many days. It is made of orders delivered in time,
delivered where no time was known, delivered late, and not delivered, from the bottom to the top.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from math import ceil, floor, log10
from typing import Any

from receiver.orders.performance import counters
from receiver.text import count_noun

Json = dict[str, Any]

LEFT, RIGHT = 76, 992
TOP, BOTTOM = 14, 204
# More days than that are drawn as weeks.
MOST_COLUMNS = 62
WEEK = 7
# Between two columns, as a share of their width; and so many labels fit under them.
GAP, MOST_LABELS = 0.22, 9
GRID_LINES = 4

# The parts of a column, from the bottom, and what they are called.
PARTS = {
    "on-time": "delivered on time",
    "unpromised": "delivered, no time was promised",
    "late": "delivered late",
    "undelivered": "cancelled or returned",
}


def lay_out_chart(days: Mapping[date, Counter[str]]) -> Json | None:
    """Return what is drawn and where; None where no order ended.

    days: every day of the period in turn, as read_days() returns them.
    """
    size = 1 if len(days) <= MOST_COLUMNS else WEEK
    columns = list(_group(days, size))
    highest = max(column["orders"] for column in columns)
    if not highest:
        return None
    step = _grid_step(highest)
    top = step * ceil(highest / step)
    unit = (BOTTOM - TOP) / top
    width = (RIGHT - LEFT) / len(columns)
    labelled = ceil(len(columns) / MOST_LABELS)
    for number, column in enumerate(columns):
        column["x"] = round(LEFT + width * (number + GAP / 2), 1)
        column["middle"] = round(LEFT + width * (number + 0.5), 1)
        column["is_labelled"] = number % labelled == 0
        column["bars"] = list(_stack(column["parts"], unit))
    totals: Counter[str] = sum((Counter(column["parts"]) for column in columns), Counter())
    return {
        "columns": columns,
        "width": round(width * (1 - GAP), 1),
        "grid": [
            {"y": round(BOTTOM - value * unit, 1), "value": value}
            for value in range(0, top + 1, step)
        ],
        "parts": PARTS,
        "by": "week" if size == WEEK else "day",
        "summary": f"{count_noun(sum(totals.values()), 'order')}: "
        + ", ".join(f"{totals[part]:,} {name}" for part, name in PARTS.items())
        + ". The table below the chart has the numbers.",
    }


def _group(days: Mapping[date, Counter[str]], size: int) -> Iterator[Json]:
    """Sum up so many days in a row."""
    listed = list(days)
    for start in range(0, len(listed), size):
        group = listed[start : start + size]
        found: Counter[str] = sum((days[day] for day in group), Counter())
        delivered, expected = found[counters.DELIVERED], found[counters.EXPECTED]
        yield {
            "since": group[0],
            "until": group[0] + timedelta(days=len(group) - 1),
            "orders": found[counters.ORDERS],
            "parts": {
                "on-time": found[counters.ON_TIME],
                "unpromised": delivered - expected,
                "late": expected - found[counters.ON_TIME],
                "undelivered": found[counters.ORDERS] - delivered,
            },
        }


def _stack(parts: Mapping[str, int], unit: float) -> Iterator[Json]:
    below = 0
    for part, count in parts.items():
        if count:
            top, height = BOTTOM - (below + count) * unit, count * unit
            yield {"part": part, "count": count, "y": round(top, 1), "height": round(height, 1)}
        below += count


def _grid_step(highest: int) -> int:
    """Return 1, 2 or 5 times a power of ten, so that there are about GRID_LINES lines."""
    least = highest / GRID_LINES
    power: int = 10 ** max(0, floor(log10(least)))
    return next(times * power for times in (1, 2, 5, 10) if times * power >= least)
