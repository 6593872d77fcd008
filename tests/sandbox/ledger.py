"""The requests a courier received, so that a test can count and time them."""

import threading
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request.

    at is time.monotonic() when it came; path without its query; status None where nothing is ever
    answered; fault is the kind of fault that it met, None where it was answered honestly.
    """

    at: float
    method: str
    path: str
    query: str
    status: int | None
    fault: str | None = None


class Ledger:
    """The requests so far, in the order in which they came. A line is written before its answer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: list[RecordedRequest] = []

    def note(self, asked: RecordedRequest) -> None:
        with self._lock:
            self._lines.append(asked)

    def lines(
        self, path: str = "", status: int | None = None, after: float = 0.0, before: float = 0.0
    ) -> list[RecordedRequest]:
        """The requests whose path has `path` in it, answered with `status`, within a time.

        after, before: monotonic seconds; 0 sets no bound.
        """
        with self._lock:
            lines = list(self._lines)
        return [
            line
            for line in lines
            if path in line.path
            and (status is None or line.status == status)
            and line.at > after
            and (not before or line.at < before)
        ]

    def statuses(self) -> Counter[int | None]:
        """How many requests got which status."""
        return Counter(line.status for line in self.lines())

    def __len__(self) -> int:
        with self._lock:
            return len(self._lines)

    def clear(self) -> None:
        with self._lock:
            self._lines.clear()
