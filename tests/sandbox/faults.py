"""What can go wrong with a courier's API, one small function for each kind.

Only 429 is a document's (003, "Response 429"); the rest is what networks and servers do.
"""

import functools
import threading
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

from tests.sandbox.orders import utc_now
from tests.sandbox.wire import Answer


@dataclass(frozen=True, slots=True)
class Honest:
    """What the courier would have said to the request at hand, for a fault to spoil.

    answer: the true answer; error: this status in the courier's form; other_order: an answer about
    an order that was not asked for; origin: where the courier is.
    """

    answer: Callable[[], Answer]
    error: Callable[[int], Answer]
    other_order: Callable[[], Answer]
    origin: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault, and what may be said about it; the kinds tell which they heed.

    seconds      to wait, before the answer or between bytes; None: the kind's own
    retry_after  how a 429 also says it in a header: `seconds`, `date` or not at all
    silent       whether a 429 leaves out the sentence
    status       of a kind that is about one
    size         bytes, once unpacked
    announced    whether a huge body says beforehand how long it is
    location     where a redirect points
    body         what is answered instead
    path         only requests with this in their path meet it
    """

    kind: str
    seconds: float | None = None
    retry_after: str | None = None
    silent: bool = False
    status: int | None = None
    size: int = 50_000_000
    announced: bool = False
    location: str | None = None
    body: str | None = None
    path: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no fault is called {self.kind!r}; there are {', '.join(KINDS)}")
        if self.retry_after not in {None, "seconds", "date"}:
            raise ValueError(f"retry_after is {self.retry_after!r}, not seconds or date")

    def spoil(self, honest: Honest) -> Answer:
        """The answer to give instead of the honest one."""
        return KINDS[self.kind](self, honest)


def too_many(fault: Fault, honest: Honest) -> Answer:
    """429 with the sentence of document 003; seconds: how long to wait, 30 as there."""
    seconds = 30.0 if fault.seconds is None else fault.seconds
    sentence = f"Too many requests, please retry request in {seconds:g} seconds."
    headers = {}
    if fault.retry_after == "seconds":
        headers["Retry-After"] = f"{seconds:.0f}"
    if fault.retry_after == "date":
        # Of our wall clock, whatever the courier's own is: this is about real waiting.
        at = utc_now() + timedelta(seconds=seconds)
        headers["Retry-After"] = format_datetime(at, usegmt=True)
    body = b"" if fault.silent else sentence.encode()
    return Answer(429, body, "text/plain; charset=utf-8", headers)


def status(fault: Fault, honest: Honest) -> Answer:
    """The status (500), in the courier's own form."""
    return honest.error(fault.status or 500)


def slow(fault: Fault, honest: Honest) -> Answer:
    """The honest answer, after so many seconds (1)."""
    return replace(honest.answer(), delay=1.0 if fault.seconds is None else fault.seconds)


def hang(fault: Fault, honest: Honest) -> Answer:
    """No answer ever."""
    return Answer(200, delay=float("inf"))


def drip(fault: Fault, honest: Honest) -> Answer:
    """The honest head, and its body a byte every so many seconds (0.05)."""
    return replace(honest.answer(), gap=0.05 if fault.seconds is None else fault.seconds)


def drip_head(fault: Fault, honest: Honest) -> Answer:
    """The same from the first byte of the head: whoever bounds only the body waits here."""
    return replace(drip(fault, honest), head_too=True)


def broken_json(fault: Fault, honest: Honest) -> Answer:
    """The first half of the honest body, as if it were whole."""
    answer = honest.answer()
    return replace(answer, body=answer.body[: len(answer.body) // 2])


def html(fault: Fault, honest: Honest) -> Answer:
    """A web page with 200, as a proxy or a login puts before an API."""
    page = fault.body or "<!doctype html><title>Maintenance</title><p>We will be back soon."
    return Answer(200, page.encode(), "text/html; charset=utf-8")


def wrong_shape(fault: Fault, honest: Honest) -> Answer:
    """JSON that is no order and no list of any; `body` gives another."""
    return Answer(200, (fault.body or '[1, "two", null]').encode())


def huge(fault: Fault, honest: Honest) -> Answer:
    """A JSON body of `size` bytes, streamed."""
    return Answer(200, b'{"a": "', filler=fault.size, tail=b'"}', announced=fault.announced)


def bomb(fault: Fault, honest: Honest) -> Answer:
    """A small gzip body that unpacks to `size` bytes, whether or not gzip was asked for."""
    return Answer(200, packed(fault.size), headers={"Content-Encoding": "gzip"})


def cut(fault: Fault, honest: Honest) -> Answer:
    """The honest answer, and the connection ends in the middle of its body."""
    return replace(honest.answer(), cut=True)


def redirect(fault: Fault, honest: Honest) -> Answer:
    """302 (or `status`) to `location`, else to /elsewhere, where the ledger shows who follows."""
    location = fault.location or f"{honest.origin}/elsewhere"
    return Answer(fault.status or 302, headers={"Location": location})


def other_order(fault: Fault, honest: Honest) -> Answer:
    """A sound answer about an order that was not asked for."""
    return honest.other_order()


KINDS: dict[str, Callable[[Fault, Honest], Answer]] = {
    kind.__name__: kind
    for kind in (
        too_many,
        status,
        slow,
        hang,
        drip,
        drip_head,
        broken_json,
        html,
        wrong_shape,
        huge,
        bomb,
        cut,
        redirect,
        other_order,
    )
}


@functools.lru_cache(maxsize=4)
def packed(size: int) -> bytes:
    """A gzip of a JSON string that long, made in pieces: we shall not fall for it ourselves."""
    packer = zlib.compressobj(9, wbits=31)
    piece = b"a" * 1_000_000
    pieces = [packer.compress(b'"')]
    pieces += [packer.compress(piece) for _ in range(size // len(piece))]
    pieces += [packer.compress(piece[: size % len(piece)] + b'"'), packer.flush()]
    return b"".join(pieces)


class Faults:
    """The faults of one courier, switched at run time.

    Those for the next n requests come first, in the order in which they were ordered, then the
    lasting one, then the rate limit.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next: list[tuple[Fault, int]] = []
        self._lasting: Fault | None = None
        self._limit: tuple[float, Fault] | None = None
        self._served: deque[float] = deque()

    def next(self, times: int, kind: str, **options: Any) -> None:
        """The next requests meet this fault; options are the names of Fault."""
        fault = Fault(kind, **options)
        with self._lock:
            self._next.append((fault, times))

    def always(self, kind: str, **options: Any) -> None:
        """Every request meets this fault, until it is cleared or another takes its place."""
        fault = Fault(kind, **options)
        with self._lock:
            self._lasting = fault

    def limit(self, per_second: float, **options: Any) -> None:
        """More than so many requests within a second get 429; options as for too_many."""
        fault = Fault("too_many", **options)
        with self._lock:
            self._limit = (per_second, fault)
            self._served.clear()

    def clear(self) -> None:
        """Behave."""
        with self._lock:
            self._next.clear()
            self._lasting = self._limit = None

    def take(self, path: str, at: float) -> Fault | None:
        """The fault that a request to this path meets, at this monotonic time."""
        with self._lock:
            for place, (fault, times) in enumerate(self._next):
                if fault.path in path:
                    self._next[place : place + 1] = [(fault, times - 1)] if times > 1 else []
                    return fault
            if self._lasting is not None and self._lasting.path in path:
                return self._lasting
            return self._over_limit(path, at)

    def _over_limit(self, path: str, at: float) -> Fault | None:
        if self._limit is None or self._limit[1].path not in path:
            return None
        per_second, fault = self._limit
        while self._served and self._served[0] <= at - 1:
            self._served.popleft()
        if len(self._served) >= per_second:
            return fault
        self._served.append(at)
        return None

    def describe(self) -> list[str]:
        """What is switched on, a line each."""
        with self._lock:
            lines = [f"the next {times}: {fault}" for fault, times in self._next]
            if self._lasting is not None:
                lines.append(f"always: {self._lasting}")
            if self._limit is not None:
                lines.append(f"more than {self._limit[0]:g} a second: {self._limit[1]}")
            return lines
