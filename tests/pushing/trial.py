"""Eight writers, a shop that fails, processes that are killed, and what the shop got in the end."""

import itertools
import os
import signal
import statistics
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil

from receiver.db.pagination import CHANGES, read_cursor
from tests.bodies import START, cottoncast_signature, cottoncast_status, raw
from tests.faults.poster import LIFE, PATH, send_request
from tests.faults.stand import Stand, standing_as
from tests.faults.verdict import waiting
from tests.pushing.unsteady_shop import UnsteadyShop
from tests.service import wait_until

WRITERS = 8
# Orders of a writer whose messages go out between one another's.
AT_ONCE = 5
PAUSE_SECONDS = 0.05
# What is killed, over and over; PostgreSQL stays away for a moment.
KILLED = ("worker", "web", "postgres", "clock")
AWAY_SECONDS = 2.0
# After the last disturbance. On a machine that does other things besides, a start takes long.
PATIENCE = 240.0


@dataclass(frozen=True)
class Report:
    """What came of it.

    changes: in the feed; orders: that they are of. missing, misplaced, further: changes that the
    shop did not accept, not in the feed's place, or that are in no feed. gaps: orders whose
    versions were not accepted one after the other, or whose last one is missing. differing: batches
    that were sent again with other changes. repeated: accepted requests of a batch beyond its
    first. results: requests by how they were answered. calm, all_ages: seconds from a change's
    commit to the shop, before the first disturbance and over all.
    """

    seconds: float
    kills: dict[str, int]
    posted: int
    changes: int
    orders: int
    missing: int
    misplaced: int
    further: int
    gaps: int
    differing: int
    repeated: int
    refused: int
    results: dict[str, int]
    calm: list[float]
    all_ages: list[float]
    caught_up: float

    @property
    def is_right(self) -> bool:
        """Whether the shop got everything, in order."""
        wrong = (self.missing, self.misplaced, self.further, self.gaps, self.differing)
        return not any(wrong) and not self.refused and self.changes > 0

    def __str__(self) -> str:
        calm = f"{statistics.median(self.calm):.2f} s" if self.calm else "-"
        return (
            f"{WRITERS} writers for {self.seconds:.0f} s, kill -9 of {self.kills}: {self.posted}"
            f" bodies answered 200, {self.changes} changes of {self.orders} orders.\n"
            f"Requests by the shop's answer: {self.results}; accepted again: {self.repeated}.\n"
            f"Missing: {self.missing}, out of place: {self.misplaced}, in no feed: {self.further},"
            f" orders with a gap: {self.gaps}, batches that differ when sent again:"
            f" {self.differing}, wrong signatures: {self.refused}.\n"
            f"From a change to the shop: {calm} (median before the first fault),"
            f" {statistics.median(self.all_ages):.1f} s (median over all),"
            f" {max(self.all_ages):.1f} s at most; all was there"
            f" {self.caught_up:.1f} s after the end."
        )


class Writer(threading.Thread):
    """Posts the lives of its own orders, each body again until it is answered 200."""

    def __init__(self, number: int, stand: Stand, stop: threading.Event) -> None:
        super().__init__()
        self._number, self._stand, self._stop_posting = number, stand, stop
        self.kept = 0

    def _bodies(self) -> Iterator[bytes]:
        for first in itertools.count(0, AT_ONCE):
            for step, code in enumerate(LIFE):
                for order in range(first, first + AT_ONCE):
                    at = START.timestamp() + 60 * step
                    yield raw(cottoncast_status(code, at, f"W{self._number}-{order}", order))

    def run(self) -> None:
        connection = self._stand.connect()
        for body in self._bodies():
            if self._stop_posting.is_set():
                break
            while send_request(connection, "POST", PATH, body, cottoncast_signature(body)) != "200":
                connection.close()
                time.sleep(0.2)
            self.kept += 1
            time.sleep(PAUSE_SECONDS)
        connection.close()


def run_trial(directory: Path, seconds: float, calm_seconds: float) -> Report:
    """Run it. seconds: for how long there are faults; calm_seconds: how long there are none before.

    directory: for the logs.
    """
    with ExitStack() as stack:
        shop = UnsteadyShop()
        stack.callback(shop.close)

        def make(logs: Path, data_dir: Path) -> Stand:
            stand = Stand(logs, data_dir)
            stand.environ |= shop.environ
            return stand

        stand = stack.enter_context(standing_as(make, directory))
        wait_until(lambda: _has_begun(stand))
        stop = threading.Event()
        writers = [Writer(number, stand, stop) for number in range(WRITERS)]
        stack.callback(stop.set)
        for writer in writers:
            writer.start()
        time.sleep(calm_seconds)
        disturbed_at = time.time()
        shop.begin(seconds)
        kills = _kill_in_turn(stand, seconds)
        shop.end()
        stop.set()
        for writer in writers:
            writer.join()
        ended_at = time.monotonic()
        wait_until(lambda: not waiting(stand) and _is_caught_up(stand), PATIENCE)
        caught_up = time.monotonic() - ended_at
        posted = sum(writer.kept for writer in writers)
        return _judge(stand, shop, seconds, kills, posted, disturbed_at, caught_up)


def _has_begun(stand: Stand) -> bool:
    with stand.database() as database:
        return bool(database.execute("SELECT FROM feed_pushes").fetchall())


def _is_caught_up(stand: Stand) -> bool:
    with stand.database() as database:
        row = database.execute(
            "SELECT position >= (SELECT COALESCE(max(seq), 0) FROM changes) FROM feed_pushes"
        ).fetchone()
    return bool(row and row[0])


def _kill_in_turn(stand: Stand, seconds: float) -> dict[str, int]:
    """Kill -9 of a part at a time, for so long; how often each."""
    ends_at, kills = time.monotonic() + seconds, Counter[str]()
    for name in itertools.cycle(KILLED):
        time.sleep(min(max(seconds / 12, 1.5), 5.0))
        if time.monotonic() > ends_at:
            break
        if name == "postgres":
            stand.hold_down(name)
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            os.kill(stand.pid(name), signal.SIGKILL)
            kills[name] += 1
        if name == "postgres":
            time.sleep(AWAY_SECONDS)
            stand.let_up(name)
    return dict(kills)


def _judge(
    stand: Stand,
    shop: UnsteadyShop,
    seconds: float,
    kills: dict[str, int],
    posted: int,
    disturbed_at: float,
    caught_up: float,
) -> Report:
    with stand.database() as database:
        feed = database.execute(
            "SELECT seq, courier_order_id, changes.version, changed_at"
            " FROM changes JOIN orders ON orders.id = order_id ORDER BY seq"
        ).fetchall()
        latest = dict(database.execute("SELECT courier_order_id, version FROM orders").fetchall())
    expected = [(seq, order, version) for seq, order, version, _ in feed]
    happened = {seq: at for seq, _, _, at in feed}
    got = [_key(change) for change in shop.changes()]
    versions: dict[str, list[int]] = defaultdict(list)
    for _, order, version in got:
        versions[order].append(version)
    gaps = sum(versions[order] != list(range(1, last + 1)) for order, last in latest.items())
    contents: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for push in list(shop.seen):
        contents[push.id].add(tuple(change["cursor"] for change in push.changes))
    accepted = shop.accepted()
    came: dict[int, float] = {}
    for push in accepted:
        for change in push.changes:
            came.setdefault(_key(change)[0], push.at)
    ages = {seq: at - _seconds(happened[seq]) for seq, at in came.items() if seq in happened}
    return Report(
        seconds=seconds,
        kills=kills,
        posted=posted,
        changes=len(expected),
        orders=len(latest),
        missing=len(set(expected) - set(got)),
        misplaced=sum(one != other for one, other in zip(expected, got, strict=False)),
        further=len(set(got) - set(expected)),
        gaps=gaps,
        differing=sum(len(sent) > 1 for sent in contents.values()),
        repeated=len(accepted) - len({push.id for push in accepted}),
        refused=shop.refused,
        results=dict(Counter(str(push.answered or "hung") for push in list(shop.seen))),
        calm=[age for seq, age in ages.items() if came[seq] < disturbed_at],
        all_ages=list(ages.values()) or [0.0],
        caught_up=caught_up,
    )


def _key(change: dict[str, object]) -> tuple[int, str, int]:
    number = read_cursor(str(change["cursor"]), CHANGES)
    return number, str(change["courier_order_id"]), int(str(change["version"]))


def _seconds(at: datetime) -> float:
    return at.timestamp()
