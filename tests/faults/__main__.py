"""Every fault in turn, for ten minutes, and what came of it: `python -m tests.faults`."""

import argparse
import itertools
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.faults.ledger import Ledger, answers
from tests.faults.poster import Poster
from tests.faults.slow_clients import compare
from tests.faults.stand import Stand, standing
from tests.faults.table import FAULTS, Fault
from tests.faults.trial import Trial, go_through, slowest
from tests.faults.verdict import Verdict, dishonest, judge
from tests.service import Web

RECOVERED = 15.0
DISK_MEGABYTES = 400
SLOW_CLIENTS, SLOW_RATIO = 500, 2.0


def main() -> int:
    """Returns the exit code: 0 where nothing was lost and all was well again in time."""
    wanted = argparse.ArgumentParser(prog="make faults", description=__doc__)
    wanted.add_argument("--minutes", type=float, default=10.0, help="how long (default: 10)")
    wanted.add_argument("--rate", type=float, default=40.0, help="bodies a second (default: 40)")
    wanted.add_argument("--only", default="", help="faults whose names hold this")
    asked = wanted.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="ot-faults-logs-"))
    with ExitStack() as stack:
        stand, has_disk = _stand(stack, directory)
        ledger = Ledger(directory / "ledger.jsonl")
        stack.callback(ledger.close)
        poster = Poster(stand.connect, ledger, asked.rate)
        poster.start()
        stack.callback(poster.give_up)
        faults = [it for it in FAULTS if asked.only in it.name]
        faults = [it for it in faults if has_disk or it.name != "disk full"]
        trials = _trials(faults, stand, poster, ledger, 60 * asked.minutes)
        poster.finish()
        verdict = judge(stand, poster, ledger, seconds=120)
        _tell(trials, verdict, poster, ledger)
        ratio = _slow_clients(stand)
    print(f"logs and ledger: {directory}")
    late = [trial.fault.name for trial in trials if trial.recovery > RECOVERED]
    lies = dishonest(ledger.lines)
    lost = verdict.lost or verdict.duplicated or verdict.not_told
    return bool(lost or late or lies or ratio > SLOW_RATIO)


def _stand(stack: ExitStack, directory: Path) -> tuple[Stand, bool]:
    try:
        return stack.enter_context(standing(directory, DISK_MEGABYTES)), True
    except OSError as why:
        print(f"without a disk that can be full: {why}", file=sys.stderr)
        return stack.enter_context(standing(directory)), False


def _trials(
    faults: list[Fault], stand: Stand, poster: Poster, ledger: Ledger, seconds: float
) -> list[Trial]:
    """Each fault once and then on, until the time is over."""
    ends_at, trials = time.monotonic() + seconds, []
    for number, fault in enumerate(itertools.cycle(faults)):
        if number >= len(faults) and time.monotonic() > ends_at:
            break
        trial = go_through(fault, stand, poster, ledger, patience=60)
        print(trial, flush=True)
        trials.append(trial)
        time.sleep(2)
    return trials


def _slow_clients(stand: Stand) -> float:
    """How many times as long honest callers wait beside slow ones."""
    web = Web(stand.port, stand.logs / "web.log")
    without, beside, slow = compare(web, SLOW_CLIENTS, rounds=4, seconds=8)
    print(
        f"{SLOW_CLIENTS} clients that send a byte a second, each held for {max(slow.held):.1f} s at"
        f" most: honest callers' p99 is {1000 * beside:.1f} ms, {1000 * without:.1f} ms without"
        f" them: {beside / without:.2f} times"
    )
    return beside / without


def _tell(trials: list[Trial], verdict: Verdict, poster: Poster, ledger: Ledger) -> None:
    print(
        "\n| fault | times | 200 | 503 | cut off | lost | duplicated | slowest answer"
        " | slowest read | well again after |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    for fault in dict.fromkeys(trial.fault for trial in trials):
        own = [trial for trial in trials if trial.fault == fault]
        lines = [line for trial in own for line in trial.lines]
        told = answers(lines)
        cells = (
            fault.name,
            len(own),
            told.get("200", 0),
            told.get("503", 0),
            sum(count for said, count in told.items() if not said.isdigit()),
            sum(trial.among(verdict.lost) for trial in own),
            sum(trial.among(verdict.duplicated) for trial in own),
            f"{slowest(lines):.1f} s",
            f"{slowest([line for trial in own for line in trial.reads]):.1f} s",
            f"{max(trial.recovery for trial in own):.1f} s",
        )
        print("|", " | ".join(map(str, cells)), "|")
    print(
        f"\n{len(poster.posted)} bodies, {len(ledger.lines)} answers: {answers(ledger.lines)}."
        f" Of {len(ledger.kept())} bodies answered 200: {len(verdict.lost)} lost,"
        f" {len(verdict.duplicated)} duplicated, {len(verdict.not_told)} not in their order's state"
        f"\n{len(poster.reads)} reads: {answers(poster.reads)}"
    )


if __name__ == "__main__":
    sys.exit(main())
