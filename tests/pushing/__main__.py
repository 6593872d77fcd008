"""The push beside a shop that fails and processes that are killed: `python -m tests.pushing`."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.pushing.trial import run_trial


def main() -> int:
    """Return the exit code: 0 where the shop got each change, in order."""
    parser = argparse.ArgumentParser(prog="make pushes", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of faults (default: 60)")
    given = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="ot-pushing-logs-"))
    report = run_trial(directory, given.seconds, calm_seconds=5)
    print(report)
    print(f"logs: {directory}")
    return 0 if report.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
