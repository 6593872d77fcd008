"""JSON as a courier sent it, laid out for reading and word for word."""

import json
import re
from datetime import timedelta
from itertools import pairwise

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
OPENING, CLOSING = {"{", "["}, {"}", "]"}


def laid_out(text: str) -> str:
    """JSON with line breaks and indents, and else word for word: names given twice, too.

    What is not JSON comes back as it is.
    """
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    parts = TOKEN.findall(text)
    lines, depth, line = [], 0, ""
    for part, following in pairwise([*parts, ""]):
        line += ": " if part == ":" else part
        opens = part in OPENING and following not in CLOSING
        closes = following in CLOSING and part not in OPENING
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
