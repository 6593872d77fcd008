"""How the console shows times, durations, numbers, statuses and texts of couriers.

Texts of couriers are not trusted. Jinja escapes them; `render_value` also replaces invisible
characters and those that reverse a line; `link` only makes links to http and https.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from markupsafe import Markup, escape

from receiver.text import count_noun, replace_unprintable
from receiver.times import rfc3339

SECONDS = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}
MAX_URL_CHARACTERS = 2_000
DASH = "\u2013"


def render_value(value: Any) -> Any:
    """Return what an expression of a template is shown as."""
    if value is None:
        return ""
    return replace_unprintable(value) if type(value) is str else value


def at(value: datetime | str | None) -> Markup:
    """Show a time to the second, in UTC; the page's script can show it in local time."""
    if value is None:
        return Markup('<span class="none">&ndash;</span>')
    text = rfc3339(_parse_time(value)) or ""
    return Markup('<time datetime="{}">{} {}</time>').format(text, text[:10], text[11:19])


def ago(value: datetime | str | None, now: datetime) -> Markup:
    """Show how long ago a time was, or how far in the future it is."""
    if value is None:
        return Markup('<span class="none">never</span>')
    seconds = (now - _parse_time(value)).total_seconds()
    duration = render_duration(abs(seconds))
    relative = f"{duration} ago" if seconds >= 0 else f"in {duration}"
    text = rfc3339(_parse_time(value)) or ""
    return Markup('<time datetime="{}" class="ago" title="{} {} UTC">{}</time>').format(
        text, text[:10], text[11:19], relative if abs(seconds) >= 1 else "just now"
    )


def render_duration(value: float | timedelta | None) -> str:
    """Show a duration in its two largest units; below ten seconds with tenths."""
    if value is None:
        return DASH
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:  # noqa: PLR2004 (as the docstring says)
        return f"{seconds:.1f} s"
    parts: list[tuple[int, str]] = []
    rest = round(seconds)
    for unit, size in SECONDS.items():
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count)


def number(value: float | None) -> Markup:
    """Show a count, with thin spaces between thousands."""
    # Markup, because such a space counts as unprintable in a text of a courier.
    return Markup(DASH if value is None else f"{value:,.10g}".replace(",", "\u202f"))  # noqa: S704


def _parse_time(value: datetime | str) -> datetime:
    """Return the time of a row or of the API's JSON."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def breakable(text: str) -> Markup:
    """Show a word such as recipient_was_not_at_home, which may go on in the next line after a _."""
    return Markup("_<wbr>").join(escape(part) for part in replace_unprintable(text).split("_"))


def render_words(name: str) -> str:
    """Show a name as words: picked_up as "picked up"."""
    return name.replace("_", " ")


def is_web_address(value: Any) -> bool:
    """Whether a value may become a link."""
    if not isinstance(value, str) or len(value) > MAX_URL_CHARACTERS or not value.isprintable():
        return False
    try:
        address = urlsplit(value)
        return address.scheme in {"http", "https"} and bool(address.hostname)
    except ValueError:
        return False


def link(value: Any) -> Markup | str:
    """Show a courier's URL as a link that does not reveal where it was clicked, or as text."""
    if not is_web_address(value):
        return replace_unprintable(str(value))
    return Markup('<a href="{}" rel="noopener noreferrer nofollow" target="_blank">{}</a>').format(
        value, value
    )


def with_code(text: str) -> Markup:
    """Show text in which `this` is code."""
    code = Markup("<code>{}</code>")
    parts = enumerate(escape(replace_unprintable(text)).split("`"))
    return Markup("").join(code.format(part) if place % 2 else part for place, part in parts)


def render_delay(received: str, occurred: str) -> str:
    """Show how long after an event its message arrived."""
    delay = (_parse_time(received) - _parse_time(occurred)).total_seconds()
    if abs(delay) < 1:
        return "at once"
    return f"{render_duration(abs(delay))} {'after' if delay > 0 else 'before'} the event"


def visible(text: str) -> Markup:
    """Show a text of several lines in <pre>, with invisible characters as ?."""
    return Markup("\n").join(replace_unprintable(line) for line in text.split("\n"))


FILTERS: Mapping[str, Any] = {
    "at": at,
    "ago": ago,
    "duration": render_duration,
    "number": number,
    "noun": count_noun,
    "words": render_words,
    "breakable": breakable,
    "link": link,
    "delay": render_delay,
    "visible": visible,
    "with_code": with_code,
}
