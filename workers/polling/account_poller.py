"""Asking one account's courier: what to ask about next, and what comes of it."""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from math import ceil

import structlog
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis import Redis, RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from receiver.couriers import DRIVERS
from receiver.couriers.contract import Access, Api
from receiver.errors import (
    BrokenAnswer,
    CourierBusy,
    CourierRefused,
    CourierUnavailable,
    OrdertrailError,
    Undecodable,
    UnknownToCourier,
    UnreadableBody,
)
from receiver.inbox.accept import Incoming
from receiver.logs import exception_fields
from receiver.queue.doorbell import ring_doorbell
from receiver.settings import Account
from receiver.stats import totals
from workers.polling import (
    answers,
    circuit_breaker,
    leases,
    list_planner,
    outage_recovery,
    poll_results,
)
from workers.polling.circuit_breaker import Turn
from workers.polling.courier_api import CourierApi
from workers.polling.leases import Claim

log = structlog.get_logger(__name__)

# Threads that ask one account's courier, in each worker.
ASKERS = 4
# Orders taken at once for a list.
LIST_MOST = 2_000
ONE_ORDER_BYTES = 1_048_576
PAGE_BYTES = 8 * 1_048_576
# A list ends well before the leases on its orders do, and no more orders than this are asked about
# one by one behind it.
LISTING_SECONDS = leases.LEASE.total_seconds() / 2
MOST_LEFT = 20

# How a request came out, beside `answered`, `unreadable` and `unknown`.
NONSENSE = "nonsense"
RESULTS: dict[type[OrdertrailError], str] = {
    BrokenAnswer: NONSENSE,
    CourierBusy: "busy",
    CourierRefused: "refused",
    CourierUnavailable: "unavailable",
}

Clock = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


class Asker:
    """Asks one account's courier about the orders that are due."""

    def __init__(
        self,
        account: Account,
        access: Access,
        factor: float,
        sessions: sessionmaker[Session],
        redis: Redis,
        stop: threading.Event,
        now: Clock = _now,
    ) -> None:
        api = DRIVERS[account.driver].api
        assert api is not None  # noqa: S101 (an account has an access only where there is an api)
        self.account = account
        self.slug = account.slug
        self.api: Api = api
        self.courier = CourierApi(account.slug, access, api)
        self._access = access
        self._factor = factor
        self._sessions = sessions
        self._redis = redis
        self._stop = stop
        self._now = now
        self._limiter = MovingWindowRateLimiter(
            RedisStorage("redis://", connection_pool=redis.connection_pool)
        )
        self._pace = pace(api.per_second, factor)
        self._one_by_one_until = 0.0

    def tend(self) -> int:
        """See whether an outage is to be made good; then how many orders are due, up to ASKERS."""
        now = self._now()
        with self._sessions.begin() as session:
            outage_recovery.tend(session, self.slug, self.api.schedule, self._factor, now)
            return len(leases.due(session, self.slug, now, ASKERS))

    def ask_around(self) -> None:
        """Ask about one order after the other until none is due, or the account has to wait."""
        try:
            while not self._stop.is_set() and self.ask_next():
                pass
        except Exception as failure:  # noqa: BLE001 (a thread's outermost edge; the leases run out)
            log.error(  # noqa: TRY400 (a traceback may show an answer)
                "asking a courier failed", account=self.slug, **exception_fields(failure)
            )

    def ask_next(self) -> bool:
        """Ask about what is due longest, or about many by list; whether to go on."""
        now = self._now()
        with self._sessions() as session:
            is_due = bool(leases.due(session, self.slug, now, 1))
            since = self._list_since(session, now)
        if not is_due or not self._in_pace():
            return False
        turn, claimed = self._take(now, since)
        if turn is None or not claimed:
            return False
        try:
            if since is None:
                return self._ask_one(turn, claimed[0])
            return self._list(turn, claimed, since)
        except Exception:
            # The leases would run out by themselves, but this is sooner.
            with suppress(SQLAlchemyError), self._sessions.begin() as session:
                poll_results.try_again(session, claimed, self._now(), self._factor)
            raise

    def _list_since(self, session: Session, now: datetime) -> datetime | None:
        if self.api.list_url is None or time.monotonic() < self._one_by_one_until:
            return None
        placed = leases.due(session, self.slug, now, LIST_MOST, listable=True)
        if len(placed) <= list_planner.LEAST:
            return None
        since = list_planner.cheapest_cut(
            placed, lambda since, most: list_planner.placed_since(session, self.slug, since, most)
        )
        if since is None:
            # Not to be reckoned anew for each order.
            self._one_by_one(minutes=1 / 60)
        return since

    def _in_pace(self) -> bool:
        return self._limiter.hit(self._pace, self.slug)

    def _take(self, now: datetime, since: datetime | None) -> tuple[Turn | None, list[Claim]]:
        """Leave to ask, and what to ask about: one order, or all to be listed since a time."""
        with self._sessions.begin() as session:
            turn = circuit_breaker.turn(session, self.slug, self._now())
            if turn is None:
                return None, []
            most = 1 if since is None else LIST_MOST
            claimed = leases.claim(session, self.slug, now, most, since)
            if not claimed:
                circuit_breaker.give_back(session, self.slug, turn, now)
            return turn, claimed

    # --- one order ---

    def _ask_one(self, turn: Turn, claim: Claim) -> bool:
        asked_at = self._now()
        leave: Turn | None = turn
        for url in self._addresses(claim):
            leave = leave or self._wait_for_turn()
            if leave is None:
                return self._give_back([claim])
            try:
                body = self.courier.ask(url, ONE_ORDER_BYTES, self._now())
            except UnknownToCourier:
                self._count("unknown")
                with self._sessions.begin() as session:
                    circuit_breaker.answered(session, self.slug, leave)
                leave = None
                continue
            except (BrokenAnswer, CourierBusy, CourierRefused, CourierUnavailable) as failure:
                return self._failed(leave, [claim], failure, asked_at)
            wrong = answers.what_is_wrong(self.account, claim, body, asked_at)
            incoming = answers.incoming(self.slug, body, asked_at, wrong)
            self._take_in(leave, {claim: incoming}, "unreadable" if wrong else "answered")
            return True
        with self._sessions.begin() as session:
            poll_results.not_known(
                session, claim, self.account, self.api.schedule, asked_at, self._factor
            )
            if leave is not None:
                # Nothing was sent: no address can be made of this id.
                circuit_breaker.give_back(session, self.slug, leave, self._now())
        return True

    def _addresses(self, claim: Claim) -> Iterator[str]:
        """Where to ask about an order, one after the other until the courier knows it."""
        with suppress(UnknownToCourier):
            yield self.api.order_url(self._access, claim.courier_order_id)
        if self.api.order_url_by_reference is not None and not claim.is_courier_id:
            name = claim.reference or claim.courier_order_id
            with suppress(UnknownToCourier):
                yield self.api.order_url_by_reference(self._access, name)

    # --- many orders ---

    def _list(self, turn: Turn, claimed: list[Claim], since: datetime) -> bool:
        """Fetch orders page by page; the few that no page tells of are asked about one by one."""
        left = {claim.courier_order_id: claim for claim in claimed}
        until = time.monotonic() + LISTING_SECONDS
        pages, page = 1, 0
        while left and page < pages and time.monotonic() < until:
            page += 1
            leave = turn if page == 1 else self._wait_for_turn()
            if leave is None:
                return self._give_back(left.values())
            asked_at = self._now()
            try:
                told_of, pages = self._page(since - list_planner.MARGIN, page, asked_at, left)
            except (BrokenAnswer, UnknownToCourier, Undecodable) as odd:
                # Whatever is wrong with the list, the orders may be had one by one.
                self._one_by_one(minutes=10)
                self._give_back(left.values())
                broken = BrokenAnswer(f"the list of orders cannot be used: {odd}", None)
                return self._failed(leave, [], broken, asked_at)
            except (CourierBusy, CourierRefused, CourierUnavailable) as failure:
                return self._failed(leave, list(left.values()), failure, asked_at)
            self._take_in(leave, told_of, "answered", saved=len(told_of) - 1)
            for claim in told_of:
                del left[claim.courier_order_id]
            if pages - page > len(left):
                # The list is longer than we reckoned: the rest costs less one by one.
                break
        if len(left) > MOST_LEFT:
            self._one_by_one(minutes=1)
            self._give_back(left.values())
            return True
        for claim in list(left.values()):
            leave = self._wait_for_turn()
            if leave is None or not self._ask_one(leave, claim):
                return self._give_back(left.values())
            del left[claim.courier_order_id]
        return True

    def _one_by_one(self, minutes: float) -> None:
        """Do without lists for a while."""
        self._one_by_one_until = time.monotonic() + 60 * minutes

    def _page(
        self, since: datetime, page: int, asked_at: datetime, left: Mapping[str, Claim]
    ) -> tuple[dict[Claim, Incoming], int]:
        """What a page tells of the orders that are left, and how many pages there are."""
        assert self.api.list_url and self.api.read_list_page  # noqa: S101, PT018 (see _list_since)
        url = self.api.list_url(self._access, since, page)
        listed = self.api.read_list_page(self.courier.ask(url, PAGE_BYTES, self._now()))
        told_of: dict[Claim, Incoming] = {}
        for body in listed.orders:
            try:
                ids = answers.ids(self.account, body, asked_at)
            except (Undecodable, UnreadableBody):
                # It is asked about by itself, and what comes then is quarantined under its name.
                continue
            for name in ids & left.keys():
                told_of[left[name]] = answers.incoming(self.slug, body, asked_at)
        return told_of, listed.page_count

    def _wait_for_turn(self) -> Turn | None:
        """Leave to go on: waits for the account's pace, and not for the end of a pause."""
        for _ in range(200):
            if not self._stop.is_set() and self._in_pace():
                with self._sessions.begin() as session:
                    return circuit_breaker.turn(session, self.slug, self._now())
            if self._stop.wait(0.05):
                break
        return None

    # --- what comes of it ---

    def _take_in(
        self, turn: Turn, told_of: Mapping[Claim, Incoming], result: str, saved: int = 0
    ) -> None:
        """Keep what was told; an answer that is nonsense speaks against the courier as a whole,
        one that cannot be used only against the order.
        """
        with self._sessions.begin() as session:
            kept = poll_results.record(
                session, told_of, self.api.schedule, self._factor, self._tells_the_same
            )
            if result == NONSENSE:
                circuit_breaker.failed(session, self.slug, turn, self._now(), self._factor)
            else:
                circuit_breaker.answered(session, self.slug, turn, saved)
        self._count(result)
        if kept:
            try:
                ring_doorbell(self._redis)
            except (RedisError, OSError):
                # Without Redis this job would not have come: it is kept, and the sweep will ring.
                log.warning("doorbell does not work, the sweep will")

    def _tells_the_same(self, before: bytes, incoming: Incoming) -> bool:
        return answers.tell_the_same(self.account, before, incoming)

    def _failed(
        self, turn: Turn, asked: list[Claim], failure: OrdertrailError, asked_at: datetime
    ) -> bool:
        """Write down that the courier did not tell; whether to go on asking."""
        log.warning("a courier did not tell", account=self.slug, why=str(failure))
        if isinstance(failure, BrokenAnswer) and failure.body is not None and len(asked) == 1:
            incoming = answers.incoming(self.slug, failure.body, asked_at, str(failure))
            self._take_in(turn, {asked[0]: incoming}, NONSENSE)
            return True
        now = self._now()
        with self._sessions.begin() as session:
            if isinstance(failure, CourierBusy):
                leases.release(session, asked)
                circuit_breaker.told_to_wait(session, self.slug, turn, now, failure.seconds)
            elif isinstance(failure, CourierRefused):
                leases.release(session, asked)
                circuit_breaker.turned_away(session, self.slug, turn, now)
            else:
                poll_results.try_again(session, asked, now, self._factor)
                circuit_breaker.failed(session, self.slug, turn, now, self._factor)
        self._count(RESULTS[type(failure)])
        return not isinstance(failure, CourierBusy | CourierRefused)

    def _give_back(self, left: Collection[Claim]) -> bool:
        with self._sessions.begin() as session:
            leases.release(session, left)
        return False

    def _count(self, result: str) -> None:
        with suppress(SQLAlchemyError), self._sessions.begin() as session:
            # Its flush is not worth waiting for.
            session.execute(text("SET LOCAL synchronous_commit = off"))
            totals.add_totals(session, {(totals.POLLS, self.slug, result): 1})


def pace(per_second: float, factor: float) -> RateLimitItem:
    """How many requests one account sends: POLL_INTERVAL_FACTOR stretches the time between two."""
    rate = per_second / factor
    if rate >= 1:
        return RateLimitItemPerSecond(int(rate))
    return RateLimitItemPerSecond(1, ceil(1 / rate))
