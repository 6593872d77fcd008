"""Run the mutants of one module, each in a fork."""

import contextlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import coverage
import pytest

from tests.mutation.mutants import Mutant
from tests.mutation.transplant import transplant

# A mutant that loops, or waits, is noticed as well.
CPU_SECONDS = 30
SECONDS = 300


@dataclass
class Child:
    """A process that runs tests, and the file to which it writes its result."""

    mutant: Mutant | None
    number: int
    ends_at: float
    result: IO[bytes]

    def read(self) -> Any:
        self.result.seek(0)
        return json.loads(self.result.read() or b"null")


class Run:
    """The mutants of one module."""

    def __init__(
        self,
        session: pytest.Session,
        servers: Mapping[str, str],
        module: str,
        path: Path,
        tests: Iterable[str],
        jobs: int,
    ) -> None:
        self.session, self.module, self.path, self.jobs = session, module, path, jobs
        self.items = [it for it in session.items if it.nodeid.startswith(tuple(tests))]
        self.children: dict[int, Child] = {}
        self.durations: dict[str, float] = {}
        # By line, the tests that reach it.
        self.reaching: dict[int, set[str]] = {}
        self.killers: Counter[str] = Counter()
        # Of those that were noticed, how many had to be ended.
        self.ended = 0
        self.seconds = 0.0
        self.servers = servers

    def measure(self) -> None:
        """Run the tests without a mutant; they have to pass."""
        self._start(None, self._measure_tests)
        _, result = self._finish_one()
        if not result:
            raise pytest.UsageError(f"the tests of {self.module} fail without a mutant")
        self.durations = result["durations"]
        self.reaching = {int(line): set(tests) for line, tests in result["reaching"].items()}

    def survivors(self, mutants: list[Mutant]) -> list[Mutant]:
        started_at = time.monotonic()
        survivors = []
        for mutant in [*mutants, None]:
            while self.children and (mutant is None or len(self.children) >= self.jobs):
                finished, killer = self._finish_one()
                if killer == "":
                    survivors.append(finished)
                elif killer:
                    self.killers[killer] += 1
                else:
                    self.ended += 1
            if mutant is not None:
                self._start(mutant, partial(self._try, mutant))
        self.seconds = time.monotonic() - started_at
        return [mutant for mutant in survivors if mutant is not None]

    def _tests_of(self, mutant: Mutant) -> list[pytest.Item]:
        reaching = set().union(*(self.reaching.get(line, ()) for line in mutant.lines))
        items = [it for it in self.items if not mutant.lines or it.nodeid in reaching]

        def order(item: pytest.Item) -> tuple[int, float]:
            return -self.killers[item.nodeid], self.durations.get(item.nodeid, 0)

        return sorted(items, key=order)

    def _try(self, mutant: Mutant) -> str:
        """Return the test that notices the mutant; "" if none does."""
        try:
            transplant(sys.modules[self.module], mutant)
        except Exception:  # noqa: BLE001 (a module that cannot be loaded is noticed)
            return "import"
        return self._first_failure(self._tests_of(mutant))

    def _measure_tests(self) -> Any:
        measured = coverage.Coverage(data_file=None, config_file=False, include=[str(self.path)])
        measured.start()
        if failed := self._first_failure(self.items, measured.switch_context):
            sys.stderr.write(f"{failed} fails without a mutant\n")
            return None
        measured.stop()
        reaching = measured.get_data().contexts_by_lineno(str(self.path))
        return {"durations": self.durations, "reaching": reaching}

    def _first_failure(
        self, items: list[pytest.Item], begin: Callable[[str], object] | None = None
    ) -> str:
        """Run tests until one fails, and return its id; begin: what to call before each."""
        for item, following in zip(items, [*items[1:], None], strict=True):
            if begin is not None:
                begin(item.nodeid)
            started_at = time.monotonic()
            self.session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            self.durations[item.nodeid] = time.monotonic() - started_at
            if self.session.testsfailed:
                return item.nodeid
        return ""

    def _start(self, mutant: Mutant | None, work: Callable[[], Any]) -> None:
        number = min(set(range(self.jobs)) - {child.number for child in self.children.values()})
        result = TemporaryFile()  # noqa: SIM115 (closed once it is read)
        pid = os.fork()
        if not pid:
            with _ended():
                os.setsid()
                resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
                given = {"workerid": f"gw{number}", "servers": self.servers}
                self.session.config.workerinput = given  # type: ignore[attr-defined]
                if mutant is not None:
                    silent = os.open(os.devnull, os.O_WRONLY)
                    os.dup2(silent, 1)
                    os.dup2(silent, 2)
                result.write(json.dumps(work()).encode())
                result.flush()
        self.children[pid] = Child(mutant, number, time.monotonic() + SECONDS, result)

    def _finish_one(self) -> tuple[Mutant | None, Any]:
        """Wait for a child; its mutant, and its result, or None if it was ended."""
        while True:
            for pid, child in self.children.items():
                if time.monotonic() > child.ends_at:
                    os.killpg(pid, signal.SIGKILL)
                if os.waitpid(pid, os.WNOHANG)[0]:
                    del self.children[pid]
                    # What a test has started and could not stop.
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(pid, signal.SIGKILL)
                    with child.result:
                        return child.mutant, child.read()
            time.sleep(0.01)


@contextlib.contextmanager
def _ended() -> Iterator[None]:
    """End this process, whatever happens, without ending what its parent has begun."""
    try:
        yield
    except BaseException:  # noqa: BLE001 (there is nobody above)
        traceback.print_exc()
    finally:
        os._exit(0)
