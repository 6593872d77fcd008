"""Texts for people: JSON with line breaks, numbers with their nouns, durations."""

import json
import re
from datetime import timedelta
from itertools import pairwise

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_OPENING, _CLOSING = {"{", "["}, {"}", "]"}


def indent_json(text: str) -> str:
    """Return JSON with line breaks and indents; a text that is not JSON comes back unchanged.

    Every token stays as the courier sent it, also repeated names and the digits of numbers, because
    these may be why a message is quarantined.
    """
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    lines, depth, line = [], 0, ""
    for part, following in pairwise([*_TOKEN.findall(text), ""]):
        line += ": " if part == ":" else part
        opens = part in _OPENING and following not in _CLOSING
        closes = following in _CLOSING and part not in _OPENING
        depth += opens - closes
        if opens or closes or part == ",":
            lines.append(line)
            line = "  " * depth
    return "\n".join([*lines, line])


def count_noun(count: int, singular: str, plural: str = "", limit: int | None = None) -> str:
    """Return a number with its noun, such as "1 order", "3 orders", "10,000 or more orders".

    plural: the default is the singular with an s. limit: where counting stopped.
    """
    number = f"{count:,}" if limit is None or count < limit else f"{limit:,} or more"
    return f"{number} {singular if count == 1 else plural or f'{singular}s'}"


def duration_text(duration: timedelta) -> str:
    """Return a duration in the largest unit of which at least two fit, such as "90 minutes"."""
    for unit, name in (
        (timedelta(days=1), "days"),
        (timedelta(hours=1), "hours"),
        (timedelta(minutes=1), "minutes"),
    ):
        if duration >= 2 * unit:
            return f"{round(duration / unit, 1):g} {name}"
    return count_noun(round(duration.total_seconds()), "second")


def replace_unprintable(line: str) -> str:
    """Replace what could break a line or control a terminal, whatever a courier sent."""
    return "".join(char if char.isprintable() else "?" for char in line)
