"""Every incident on real processes, and what was said of it: `make incidents`."""

import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from tests.incidents.incident import Incident, Outcome, play
from tests.incidents.postgresql import build_library
from tests.incidents.stage import Stage, staged
from tests.incidents.table import INCIDENTS, ONLY_TESTED, by_stage, render, render_list, render_row


def main() -> int:
    """Returns the exit code: 0 where each incident was told as it should be, and nothing lost."""
    wanted = argparse.ArgumentParser(prog="make incidents", description=__doc__)
    wanted.add_argument("names", nargs="*", help="incidents by name (default: all)")
    wanted.add_argument(
        "--list", action="store_true", help="name the incidents and what they play, and end"
    )
    wanted.add_argument(
        "--at-once", type=int, default=3, help="incidents at the same time (default: 3)"
    )
    asked = wanted.parse_args()
    if asked.list:
        print(render_list())
        return 0
    unknown = set(asked.names) - {incident.name for incident in INCIDENTS}
    if unknown:
        wanted.error(f"no incident is called {', '.join(sorted(unknown))}; see --list")
    chosen = [incident for incident in INCIDENTS if incident.name in asked.names or not asked.names]
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="ot-incidents-"))
        directory.chmod(0o711)
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        try:
            Stage.slow_library = build_library(directory)
        except OSError as why:
            print(f"without slow disks and wrong clocks: {why}", file=sys.stderr)
        pool = stack.enter_context(ThreadPoolExecutor(asked.at_once))
        played = {
            outcome.incident.name: outcome
            for outcomes in pool.map(_play, by_stage(chosen))
            for outcome in outcomes
        }
    outcomes = [played[incident.name] for incident in chosen]
    print(f"\n{render(outcomes)}")
    wrong = [outcome.incident.name for outcome in outcomes if outcome.complaints]
    print(
        f"\n{len(outcomes)} incidents played, {len(wrong)} wrong{': ' if wrong else ''}"
        f"{', '.join(wrong)}; {sum(outcome.lost for outcome in outcomes)} bodies lost;"
        f" {len(ONLY_TESTED)} more are played by tests."
    )
    return int(bool(wrong))


def _play(incidents: Sequence[Incident]) -> list[Outcome]:
    """What came of the incidents of one stage, also where it could not be set up."""
    began, names = time.monotonic(), ", ".join(incident.name for incident in incidents)
    outcomes = [Outcome(incident) for incident in incidents]
    stage: Stage | None = None
    try:
        with ExitStack() as stack:
            environ: dict[str, str] = {}
            for incident in incidents:
                if incident.around is not None:
                    environ |= stack.enter_context(incident.around())
            disk = max((incident.disk_megabytes or 0 for incident in incidents), default=0)
            rate = max(incident.rate for incident in incidents)
            stage = stack.enter_context(staged(environ, rate, disk or None))
            outcomes = play(incidents, stage)
    except Exception as error:  # noqa: BLE001 (a row of the table: the others are played all the same)
        print(traceback.format_exc(limit=-4, chain=False), file=sys.stderr)
        what = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        for outcome in outcomes:
            outcome.complaints.append(f"not played: {what}")
    complaints = [text for outcome in outcomes for text in outcome.complaints]
    rows = "\n".join(map(render_row, outcomes))
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    took = f"{time.monotonic() - began:.0f} s, load {load:.0f} a core"
    print(f"{names}: {took}{_list(complaints)}\n{rows}", flush=True)
    if stage is not None and not complaints:
        shutil.rmtree(stage.logs, ignore_errors=True)
    elif stage is not None:
        print(f"  logs: {stage.logs}", flush=True)
    return outcomes


def _list(complaints: Sequence[str]) -> str:
    return "".join(f"\n  - {text}" for text in complaints)


if __name__ == "__main__":
    sys.exit(main())
