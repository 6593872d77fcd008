"""How the console says things: times, spans, numbers, statuses, and what comes from couriers.

Courier text is hostile. Jinja escapes it; `finished` also shows what cannot be seen, or would turn
a line around, as ?; `link` makes a link of nothing but http(s).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from markupsafe import Markup, escape

from receiver.text import replace_unprintable
from receiver.times import rfc3339

SECONDS = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}
MOST_URL = 2_000
NONE = "\u2013"


def finished(told: Any) -> Any:
    """What every expression of a template comes out as."""
    if told is None:
        return ""
    return replace_unprintable(told) if type(told) is str else told


def moment(told: datetime | str) -> datetime:
    """A time of a row, or of the API."""
    return datetime.fromisoformat(told) if isinstance(told, str) else told


def at(told: datetime | str | None) -> Markup:
    """A time to the second, in UTC; the page's script can show it by the reader's clock."""
    if told is None:
        return Markup('<span class="none">&ndash;</span>')
    shown = rfc3339(moment(told)) or ""
    return Markup('<time datetime="{}">{} {}</time>').format(shown, shown[:10], shown[11:19])


def ago(told: datetime | str | None, now: datetime) -> Markup:
    """How long ago something was, or how far ahead it lies."""
    if told is None:
        return Markup('<span class="none">never</span>')
    gone = (now - moment(told)).total_seconds()
    text = f"{span(gone)} ago" if gone >= 0 else f"in {span(-gone)}"
    shown = rfc3339(moment(told)) or ""
    return Markup('<time datetime="{}" class="ago" title="{} UTC">{}</time>').format(
        shown, f"{shown[:10]} {shown[11:19]}", text if abs(gone) >= 1 else "just now"
    )


def span(told: float | timedelta | None) -> str:
    """A length of time in its two largest units; below ten seconds with tenths."""
    if told is None:
        return NONE
    seconds = told.total_seconds() if isinstance(told, timedelta) else told
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:  # noqa: PLR2004 - see above
        return f"{seconds:.1f} s"
    parts: list[tuple[int, str]] = []
    rest = round(seconds)
    for unit, size in SECONDS.items():
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count)


def number(told: float | None) -> str:
    """A count, with thin spaces between thousands."""
    return NONE if told is None else f"{told:,.10g}".replace(",", "\u202f")


def words(told: str) -> str:
    """One of our names as people write it: picked_up, picked up."""
    return told.replace("_", " ")


def is_web_address(told: Any) -> bool:
    """Whether somebody may be sent there."""
    if not isinstance(told, str) or len(told) > MOST_URL or not told.isprintable():
        return False
    try:
        address = urlsplit(told)
        return address.scheme in {"http", "https"} and bool(address.hostname)
    except ValueError:
        return False


def link(told: Any) -> Markup | str:
    """A courier's address as a link that tells its site nothing of us; else as the text it is."""
    if not is_web_address(told):
        return replace_unprintable(str(told))
    return Markup('<a href="{}" rel="noopener noreferrer nofollow" target="_blank">{}</a>').format(
        told, told
    )


def short(seconds: float) -> str:
    """A length of time in one unit, for beside a line."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    unit, size = next(it for it in SECONDS.items() if seconds >= it[1])
    count = seconds / size
    # .3g would write a thousand days and more with an exponent.
    return f"{count:.3g} {unit}" if count < 999.5 else f"{number(round(count))} {unit}"  # noqa: PLR2004


def with_code(told: str) -> Markup:
    """Text in which `this` is code."""
    parts = [escape(replace_unprintable(part)) for part in told.split("`")]
    marked = [Markup("<code>{}</code>").format(it) if n % 2 else it for n, it in enumerate(parts)]
    return Markup("").join(marked)


def after(received: str, occurred: str) -> str:
    """How long after it happened we heard of it."""
    late = (moment(received) - moment(occurred)).total_seconds()
    if abs(late) < 1:
        return "at once"
    return f"{span(late)} after it" if late > 0 else f"{span(-late)} before its time"


def visible(text: str) -> Markup:
    """A text of several lines, for <pre>: all that cannot be seen in a line is shown as ?."""
    return Markup("\n").join(replace_unprintable(line) for line in text.split("\n"))


FILTERS: Mapping[str, Any] = {
    "at": at,
    "ago": ago,
    "span": span,
    "number": number,
    "words": words,
    "link": link,
    "after": after,
    "visible": visible,
    "with_code": with_code,
}
