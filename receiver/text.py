"""Texts: JSON with line breaks, numbers with their nouns, durations, what cannot be stored."""

import json
from datetime import timedelta


def indent_json(text: str) -> str:
    """Return JSON with line breaks and indents; a text that is not JSON comes back unchanged.

    It is for reading: a repeated name is shown once, and numbers may have other digits.
    """
    try:
        shown = json.dumps(json.loads(text), indent=2, ensure_ascii=False, allow_nan=False)
        shown.encode()  # Half a surrogate pair cannot be written: UnicodeEncodeError.
    except (ValueError, RecursionError):
        return text
    return shown


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
    return line if line.isprintable() else "".join(c if c.isprintable() else "?" for c in line)


def storable_name(name: str) -> str:
    """Return a name as names are stored: without surrounding blanks, with U+2400 for U+0000.

    PostgreSQL cannot store U+0000. Cut out, it would make two names one.
    """
    return name.strip().replace("\x00", "\u2400")
