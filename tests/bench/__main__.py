"""Everything of the bench side by side, and one table of ratios.

    make bench [ARGS="--rows accept,drain --rounds 5 --seconds 3 --json FILE"]
    make bench-peers        the same with a Node-RED flow, where Node.js is at hand

Every row is measured round by round beside what it is compared with; a ratio is the median of the
rounds' ratios. PostgreSQL flushes every commit, which is checked first. After the load each body
that was answered 200 is looked for in the database. Exit status: 0 all goals met, 1 not all, 2 the
figures cannot be trusted (the machine is unfit, or an answered body is missing).
"""

import argparse
import logging
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from tests.bench.accept import Lost, accept
from tests.bench.drain import drain
from tests.bench.inbox_growth import inbox_growth
from tests.bench.large_orders import large_orders
from tests.bench.load import NoWrk
from tests.bench.memory import memory
from tests.bench.reading import reading
from tests.bench.rounds import Rounds
from tests.bench.stage import Stage, Unfit, file_system, flush_milliseconds, say, staged
from tests.bench.table import Figure, as_json, as_text
from tests.bench.visible import visible

SIZES = [10_000, 100_000, 1_000_000]
LARGEST = 5_000_000
MESSAGES = 200_000
MANY = 1_000_000
ROWS = ("accept", "drain", "reading", "visible", "memory", "large", "growth")


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", default=",".join(ROWS), help="comma list; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="of each; default: %(default)s")
    parser.add_argument("--seconds", type=int, default=3, help="of a load; default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table for machines")
    parser.add_argument("--directory", type=Path, help="where the data stands meanwhile")
    parser.add_argument("--node-red", action="store_true", help="with the Node-RED flow")
    parser.add_argument(
        "--large", action="store_true", help="memory over 1 M, growth up to 5 M messages: 15 GB"
    )
    parser.add_argument("--scale", type=float, default=1.0, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    given.rows = given.rows.split(",")
    if unknown := set(given.rows) - set(ROWS):
        parser.error(f"no such rows: {', '.join(sorted(unknown))}")
    return given


def measured(stage: Stage, given: argparse.Namespace) -> list[Figure]:
    """The figures of the rows that are asked for."""
    rounds = Rounds(given.rounds, given.seconds, given.scale)
    sizes = [max(500, int(size * given.scale)) for size in SIZES]
    run: dict[str, Callable[[Stage], list[Figure]]] = {
        "accept": lambda stage: accept(stage, rounds, given.node_red),
        "drain": lambda stage: drain(stage, rounds),
        "reading": lambda stage: reading(stage, rounds),
        "visible": lambda stage: visible(stage, rounds),
        "memory": lambda stage: memory(stage, rounds.of(MANY if given.large else MESSAGES)),
        "large": lambda stage: large_orders(stage, rounds),
        "growth": lambda stage: inbox_growth(
            stage, rounds, [*sizes, LARGEST] if given.large else sizes
        ),
    }
    figures = []
    for name in ROWS:
        if name in given.rows:
            started = time.monotonic()
            # Processes of one row are gone before the next is measured.
            with stage.act() as act:
                figures += run[name](act)
            say(f"{name}: done in {time.monotonic() - started:.0f} s")
    return figures


def main(argv: list[str]) -> int:
    """Measure, and print the table."""
    given = arguments(argv)
    # What is drained in this process must not write into the table.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    parent = given.directory or Path(tempfile.gettempdir())
    directory = Path(tempfile.mkdtemp(prefix="ot-bench-", dir=parent)).resolve()
    try:
        circumstances = {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "file_system": file_system(directory),
            "flush_ms": round(flush_milliseconds(directory), 2),
            "load_before": round(os.getloadavg()[0], 2),
            "rounds": given.rounds,
            "seconds": given.seconds,
        }
        say(", ".join(f"{name}: {value}" for name, value in circumstances.items()))
        with staged(directory) as stage:
            figures = measured(stage, given)
    except (NoWrk, Unfit, Lost) as wrong:
        say(f"bench: {wrong}")
        return 2
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    sys.stdout.write(f"{as_text(figures)}\n")
    unmet = sum(not figure.met for figure in figures)
    sys.stdout.write(f"\n{len(figures) - unmet} of {len(figures)} goals met\n")
    if given.json:
        given.json.write_text(as_json(figures, circumstances) + "\n")
    return int(unmet > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
