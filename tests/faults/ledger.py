"""What was posted and what was answered: a file outside the service, a line for each answer."""

import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

KEPT = "200"


@dataclass(frozen=True, slots=True)
class Line:
    """One answer. said: its status, or the name of what befell the connection."""

    body: int
    said: str
    at: float
    seconds: float


class Ledger:
    """Lines are only ever added: each stands in the file before the next body goes out."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()
        self.lines: list[Line] = []

    def write(self, body: int, said: str, started: float) -> None:
        """Note what was answered to a body. started: when it went out, by time.monotonic()."""
        now = time.monotonic()
        line = Line(body, said, now, now - started)
        with self._lock:
            self.lines.append(line)
            self._file.write(json.dumps(asdict(line)) + "\n")

    def since(self, mark: int) -> list[Line]:
        """The lines after the first `mark` of them."""
        return self.lines[mark:]

    def kept(self) -> set[int]:
        """The bodies that were answered 200, by their numbers."""
        return {line.body for line in self.lines if line.said == KEPT}

    def close(self) -> None:
        self._file.close()


def answers(lines: Sequence[Line]) -> dict[str, int]:
    """How often each answer was given."""
    return dict(sorted(Counter(line.said for line in lines).items()))
