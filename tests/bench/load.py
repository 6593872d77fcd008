"""Load by wrk: many connections, a body of its own each request, and which were answered."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 32
SCRIPT = Path(__file__).with_name("load.lua")
PLACE = b"@" * 12


class NoWrk(Exception):
    """wrk is not installed; one line that says what to do."""

    def __init__(self) -> None:
        super().__init__("wrk is missing: install it (Debian, Ubuntu: apt-get install wrk)")


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent, with PLACE wherever a request's own id goes; answered by a port."""

    port: int
    method: str
    path: str
    body: bytes = b""
    headers: tuple[str, ...] = ()

    def text(self) -> bytes:
        head = [f"{self.method} {self.path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}"]
        if self.body:
            head += ["Content-Type: application/json", f"Content-Length: {len(self.body)}"]
        return "\r\n".join([*head, *self.headers, "", ""]).encode() + self.body


@dataclass(frozen=True, slots=True)
class Loaded:
    """How a load went. p50, p99: milliseconds. threads: of each, how many were sent, and up to
    which number all were answered 200 (where that was asked for).

    refused: answers that are no 2xx or 3xx; broken: connections; late: answers after two seconds.
    """

    run: str
    requests: int
    seconds: float
    refused: int
    broken: int
    late: int
    p50: float
    p99: float
    threads: tuple[tuple[int, int], ...]

    @property
    def rate(self) -> float:
        return self.answered / self.seconds

    @property
    def answered(self) -> int:
        return self.requests - self.refused

    @property
    def errors(self) -> int:
        return self.refused + self.broken + self.late

    def sent_ids(self) -> Iterator[str]:
        """The ids of all that was sent, answered or not."""
        for number, (sent, _) in enumerate(self.threads, 1):
            yield from ids(self.run, number, sent)

    def answered_ids(self) -> Iterator[str]:
        """The ids that were surely answered 200; none unless the load was exact."""
        for number, (_, answered) in enumerate(self.threads, 1):
            yield from ids(self.run, number, answered)


def ids(run: str, thread: int, count: int) -> Iterator[str]:
    """The first ids that a thread of wrk gives."""
    return (f"{run}{thread:02}{number:09}" for number in range(1, count + 1))


def load(
    request: Request,
    seconds: float,
    run: str,
    *,
    connections: int = CONNECTIONS,
    exact: bool = False,
    among: int | None = None,
) -> Loaded:
    """Ask as fast as the answers come. run: a letter that no load before had on the same tables.

    exact: one thread a connection, so that it is known which requests were answered; costs wrk
    more, hence not for measuring. among: only so many different ids.

    Raises: NoWrk.
    """
    if shutil.which("wrk") is None:
        raise NoWrk
    with tempfile.NamedTemporaryFile(prefix="ot-bench-", suffix=".request") as file:
        file.write(request.text())
        file.flush()
        more = ["exact"] if exact else ["among", str(among)] if among else []
        done = subprocess.run(
            [
                *("wrk", "-t", str(connections if exact else 1), "-c", str(connections)),
                *("-d", f"{round(seconds)}s", "-s", str(SCRIPT)),
                *(f"http://127.0.0.1:{request.port}", "--", file.name, run, *more),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"requests"')]
    if done.returncode or not lines:
        raise SystemExit(f"wrk failed: {done.stdout}{done.stderr}")
    told = json.loads(lines[0])
    return Loaded(
        run=run,
        requests=told["requests"],
        seconds=told["microseconds"] / 1e6,
        refused=told["refused"],
        broken=told["broken"],
        late=told["late"],
        p50=told["p50"],
        p99=told["p99"],
        threads=tuple((sent, answered) for sent, answered in told["threads"]),
    )
