"""Mutation of the core: which small changes to a module does no test notice?

    python -m tests.mutation [module ...]

All tests of the modules are collected once. Then each mutant is a fork of this process, which runs
the tests that reach the changed lines, up to the first failure. A survivor is a missing test, or it
is explained in explained.toml.
"""

import argparse
import os
import sys
import tomllib
from pathlib import Path

import pytest

from tests.mutation.modules import MODULES
from tests.mutation.mutants import Mutant, mutate
from tests.mutation.run import Run
from tests.servers import with_template

ROOT = Path(__file__).resolve().parents[2]
EXPLAINED = Path(__file__).with_name("explained.toml")


class Campaign:
    """The pytest plugin that runs mutants in place of the tests."""

    def __init__(self, modules: list[str], jobs: int, only: str) -> None:
        self.modules, self.jobs, self.only = modules, jobs, only
        self.explained = tomllib.loads(EXPLAINED.read_text())
        self.rows: list[tuple[str, int, int, int, int, int, int]] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        with with_template() as servers:
            for module in self.modules:
                path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
                run = Run(session, servers, module, path, MODULES[module], self.jobs)
                run.measure()
                mutants = [it for it in mutate(path, module) if self.only in it.name]
                survivors = sorted(run.survivors(mutants), key=lambda it: it.line)
                self.report(path, mutants, survivors, run)
        return True

    def report(self, path: Path, mutants: list[Mutant], survivors: list[Mutant], run: Run) -> None:
        unexplained = [it for it in survivors if it.name not in self.explained]
        for mutant in unexplained:
            print(f"\n{path.relative_to(ROOT)}:{mutant.line}: {mutant.name}", end="")
        known = {name for name in self.explained if name.startswith(f"{run.module}:")}
        if not self.only and (gone := known - {it.name for it in survivors}):
            print(f"\nexplained, but killed or gone: {sorted(gone)}")
        killed, explained = len(mutants) - len(survivors), len(survivors) - len(unexplained)
        figures = (len(mutants), killed, run.ended, explained, len(unexplained), round(run.seconds))
        self.rows.append((run.module, *figures))
        print(f"\n{self.rows[-1]}", flush=True)

    def pytest_unconfigure(self) -> None:
        print(f"\n\n{'module':38} mutants  killed  by time  explained  unexplained  seconds")
        for module, *figures in self.rows:
            print(f"{module:38} {'{:7}  {:6}  {:7}  {:9}  {:11}  {:7}'.format(*figures)}")


def main() -> int:
    """Mutate the modules and print a table; 1 where a survivor is not explained."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="module")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="mutants whose name contains this")
    arguments = parser.parse_args()
    campaign = Campaign(arguments.modules or list(MODULES), arguments.jobs, arguments.only)
    tests = {test: None for module in campaign.modules for test in MODULES[module]}
    os.environ["HYPOTHESIS_PROFILE"] = "mutation"
    status = pytest.main(["-x", "-q", "-s", "-o", "timeout=20", *tests], [campaign])
    return int(status) or any(row[5] for row in campaign.rows)


if __name__ == "__main__":
    sys.exit(main())
