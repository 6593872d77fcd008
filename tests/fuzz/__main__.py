"""50,000 random and mutated requests, and what became of them: `python -m tests.fuzz`."""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from tests.faults.stand import standing
from tests.fuzz.campaign import send_all
from tests.fuzz.requests import requests
from tests.service import wait_until

STEP = 2_500
# Python's memory grows until it has seen everything once.
WARM_STEPS = 4
FLAT_MEGABYTES = 12.0


def main() -> int:
    """Returns the exit code: 0 where no answer was 5xx and memory stayed flat."""
    wanted = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    wanted.add_argument("--count", type=int, default=50_000, help="requests (default: 50000)")
    wanted.add_argument("--seed", type=int, default=2026, help="what they are made of")
    asked = wanted.parse_args()
    logs = Path(tempfile.mkdtemp(prefix="ot-fuzz-logs-"))
    said, wrong, sizes = Counter[int](), [], []
    with standing(logs) as stand:
        for step in range(-(-asked.count // STEP)):
            started = time.monotonic()
            done = send_all(stand.port, requests(asked.seed + step, STEP))
            said += done.said
            wrong += done.wrong
            for sent, fault in done.wrong[:5]:
                print(f"{fault}\n    {sent[:400]!r}")
            sizes.append(
                {
                    "web": sum(_megabytes(it) for it in stand.children("web")),
                    "worker": _megabytes(psutil.Process(stand.pid("worker"))),
                }
            )
            speed = STEP / (time.monotonic() - started)
            memory = ", ".join(f"{name} {size:.1f} MB" for name, size in sizes[-1].items())
            print(f"{said.total()} requests, {speed:.0f} a second; {memory}", flush=True)
        wait_until(
            lambda: (stand.ready() or {"waiting_seconds": 1})["waiting_seconds"] is None, 120
        )
    warm = sizes[min(WARM_STEPS, len(sizes)) - 1]
    grown = {name: sizes[-1][name] - size for name, size in warm.items()}
    print(f"answers: {dict(sorted(said.items()))} (0: closed without one); {len(wrong)} wrong")
    print(f"memory grown since the first {WARM_STEPS * STEP}: {grown} MB; logs: {logs}")
    return bool(wrong or max(grown.values()) > FLAT_MEGABYTES)


def _megabytes(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20


if __name__ == "__main__":
    sys.exit(main())
