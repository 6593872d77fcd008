"""Nothing that was answered 200 is lost, whatever befalls the processes; the short form.

`make faults` goes through more of them, for longer, and prints a table (tests/faults/).
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.faults.ledger import KEPT, Ledger
from tests.faults.poster import Poster
from tests.faults.stand import Stand, standing
from tests.faults.table import FAULTS, Fault
from tests.faults.trial import go_through
from tests.faults.verdict import Verdict, dishonest, judge
from tests.service import wait_until

pytestmark = [pytest.mark.xdist_group("faults"), pytest.mark.timeout(300)]

BODIES_A_SECOND = 25.0
DISK_MEGABYTES = 400
# Of a fault's time, so much is enough to see what it does.
SHARE = 0.6
# Seconds: far more than it takes, for a machine that does other things besides. `make faults`
# holds the service to fifteen.
PATIENCE = 90.0
BRIEF = [fault for fault in FAULTS if fault.brief]


@dataclass(frozen=True)
class Scene:
    stand: Stand
    poster: Poster
    ledger: Ledger
    no_disk: str | None


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A service to which bodies are posted all the while."""
    directory = tmp_path_factory.mktemp("faults")
    with ExitStack() as stack:
        no_disk = None
        try:
            stand = stack.enter_context(standing(directory, DISK_MEGABYTES))
        except OSError as why:
            no_disk = f"no small disk can be mounted, run as root: {why}"
            stand = stack.enter_context(standing(tmp_path_factory.mktemp("faults")))
        ledger = Ledger(directory / "ledger.jsonl")
        stack.callback(ledger.close)
        poster = Poster(stand.connect, ledger, BODIES_A_SECOND)
        stack.callback(poster.give_up)
        poster.start()
        yield Scene(stand, poster, ledger, no_disk)


@pytest.mark.parametrize("fault", BRIEF, ids=[fault.name for fault in BRIEF])
def test_it_is_well_again_by_itself(fault: Fault, scene: Scene) -> None:
    if fault.name == "disk full" and scene.no_disk:
        assert "CI" not in os.environ, scene.no_disk
        pytest.skip(scene.no_disk)
    trial = go_through(fault, scene.stand, scene.poster, scene.ledger, PATIENCE, SHARE)
    print(trial)  # noqa: T201 (seen with -s)
    assert dishonest(trial.lines) == dishonest(trial.reads) == []
    assert any(line.said == KEPT for line in trial.lines)


def test_a_worker_that_gets_nowhere_is_told_by_what_waits_and_not_by_its_heartbeat(
    scene: Scene,
) -> None:
    scene.stand.signal("worker", signal.SIGSTOP)
    try:
        told = wait_until(lambda: waits(scene, lambda seconds: seconds > 3), PATIENCE)
        # Its heartbeat is kept for minutes, and all the while it counts as alive; so do those that
        # were killed a moment ago.
        assert told
        assert told["status"] == "ready"
        assert told["workers"] >= 1
    finally:
        scene.stand.signal("worker", signal.SIGCONT)
    wait_until(lambda: waits(scene, lambda seconds: seconds < 1), PATIENCE)


def waits(scene: Scene, fits: Callable[[float], bool]) -> dict[str, Any] | None:
    """What /readyz says where the oldest message waits for so many seconds."""
    told = scene.stand.ready()
    return told if told and fits(told["waiting_seconds"] or 0) else None


def test_all_that_was_answered_200_is_there_once_and_in_its_orders_state(scene: Scene) -> None:
    scene.poster.finish()
    verdict = judge(scene.stand, scene.poster, scene.ledger, PATIENCE)
    assert verdict == Verdict(lost=[], duplicated=[], not_told=[])
    # Whatever was refused was posted again, as couriers do, until it was taken.
    assert scene.ledger.kept() == {body.number for body in scene.poster.posted}
