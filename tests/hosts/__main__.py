"""Every machine of a shop dies or is cut off in turn, and what came of it: `make hosts`."""

import argparse
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from tests.faults.ledger import Ledger, answers
from tests.faults.poster import Poster
from tests.faults.verdict import dishonest, judge
from tests.hosts.network import OURS, go_inside, why_not
from tests.hosts.shop import Shop
from tests.hosts.table import FAULTS, Fault
from tests.hosts.trial import HEAD, Trial, asked_twice, go_through
from tests.sandbox import Cottoncast
from tests.sandbox.orders import evenly, utc_now
from workers.clock import SCHEDULE

SILENT_ORDERS = 30
JOBS_A_SECOND = sum(1 / seconds for seconds in SCHEDULE.values())


def main() -> int:
    """Returns the exit code: 0 where nothing was lost or done twice and all was well in time."""
    wanted = argparse.ArgumentParser(prog="make hosts", description=__doc__)
    wanted.add_argument("--brief", action="store_true", help="only the faults of the test suite")
    wanted.add_argument("--only", default="", help="faults whose names hold this")
    wanted.add_argument("--rate", type=float, default=30.0, help="bodies a second (default: 30)")
    wanted.add_argument("--patience", type=float, default=60.0, help="seconds to be well again in")
    asked = wanted.parse_args()
    if why := why_not():
        print(f"no hosts here: {why}", file=sys.stderr)
        return 2
    go_inside([sys.executable, "-m", "tests.hosts", *sys.argv[1:]])

    faults = [it for it in FAULTS if asked.only in it.name and (it.brief or not asked.brief)]
    directory = Path(tempfile.mkdtemp(prefix="ot-hosts-")).resolve()
    if _go_through_all(faults, directory, asked.rate, asked.patience):
        shutil.rmtree(directory, ignore_errors=True)
        return 0
    print(f"logs: {directory}")
    return 1


def _go_through_all(faults: list[Fault], directory: Path, rate: float, patience: float) -> bool:
    """Whether nothing was lost and nothing done twice."""
    with ExitStack() as stack:
        silent = Cottoncast(host=OURS, account="COTTONCAST_SILENT")
        stack.enter_context(silent)
        shop = Shop(directory, silent)
        shop.start()
        print(f"{len(shop.hosts)} hosts are there", flush=True)
        # Before there is anything to ring for.
        per_second = _jobs_a_second(shop)
        _register(shop, silent)
        ledger = Ledger(directory / "ledger.jsonl")
        stack.callback(ledger.close)
        poster = Poster(shop.connect, ledger, rate)
        poster.start()
        stack.callback(poster.give_up)
        trials: list[tuple[Trial, int]] = []
        for fault in faults:
            before = len(asked_twice(silent.ledger.lines()))
            trial = go_through(fault, shop, poster, ledger, patience)
            trials.append((trial, len(asked_twice(silent.ledger.lines())) - before))
            print(f"{fault.name}: {answers(trial.lines)}, {trial.recovery:.1f} s", flush=True)
        poster.finish()
        return _tell(shop, silent, poster, ledger, trials, per_second)


def _tell(
    shop: Shop,
    silent: Cottoncast,
    poster: Poster,
    ledger: Ledger,
    trials: list[tuple[Trial, int]],
    per_second: float,
) -> bool:
    verdict = judge(shop, poster, ledger, seconds=120)
    doubled = len(asked_twice(silent.ledger.lines()))
    told_twice, tallied, posted = _told_twice(shop), _tallied(shop), len(poster.posted)
    print(f"\n{HEAD}")
    for trial, polls in trials:
        print(trial.row(shop, verdict, polls))
    print(
        f"\n{posted} bodies, {len(ledger.lines)} answers {answers(ledger.lines)};"
        f" of {len(ledger.kept())} answered 200: {len(verdict.lost)} lost,"
        f" {len(verdict.duplicated)} kept twice, {len(verdict.not_told)} not in their order's"
        f" state; {tallied} folded of {posted}."
        f"\nFeed: {told_twice} changes told twice. Polls: {len(silent.ledger)} requests about"
        f" {SILENT_ORDERS} silent orders, {doubled} doubled. Jobs queued by two clocks:"
        f" {per_second:.1f} a second (one alone: {JOBS_A_SECOND:.1f})."
    )
    wrong = [*verdict.lost, *verdict.duplicated, *verdict.not_told, *dishonest(ledger.lines)]
    one_clock = per_second <= 1.2 * JOBS_A_SECOND
    return not (wrong or doubled or told_twice) and tallied == posted and one_clock


def _register(shop: Shop, silent: Cottoncast) -> None:
    """Orders of which their courier says nothing by itself."""
    for _ in range(SILENT_ORDERS):
        order = silent.create(evenly("N", start=utc_now(), apart=timedelta()))
        told = {"account": "cottoncast-silent", "courier_order_id": order.id}
        status, _answer = shop.ask("POST", "/v1/orders", told)
        assert status == 201, _answer


def _jobs_a_second(shop: Shop, seconds: float = 6.0) -> float:
    """How many jobs both clocks queue: one alone would queue as many."""
    before = shop.jobs_queued()
    time.sleep(seconds)
    return (shop.jobs_queued() - before) / seconds


def _told_twice(shop: Shop) -> int:
    """How many versions of orders the feed tells more than once."""
    with shop.database() as database:
        row = database.execute(
            "SELECT count(*) - count(DISTINCT (order_id, version)) FROM changes"
        ).fetchone()
    return int((row or [0])[0])


def _tallied(shop: Shop) -> int:
    """How many webhooks were folded, as each drain counts them in its own commit."""
    with shop.database() as database:
        row = database.execute("SELECT coalesce(sum(hooks), 0) FROM tallies").fetchone()
    return int((row or [0])[0])


if __name__ == "__main__":
    sys.exit(main())
