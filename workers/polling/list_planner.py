"""Which due orders to fetch by pages of the courier's list instead of one by one.

A list contains every order placed since a time. So the newest of the due orders are fetched by
list, as far back as that takes fewer requests than polling each, and the older ones one by one.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from math import ceil

from sqlalchemy import select
from sqlalchemy.orm import Session

from receiver.db.models import Poll
from receiver.db.pagination import count_rows
from workers.polling.leases import find_due_orders

PAGE_SIZE = 100
# Fewer due orders are always polled one by one.
MIN_ORDERS = 4
# How many due orders are considered for one list.
MAX_ORDERS = 2_000
# How many starting points of the list are compared.
MAX_CUTS = 16


class ListPlanner:
    """Decide for one account when to use its courier's list of orders."""

    def __init__(self, account: str) -> None:
        self._account = account
        self._paused_until = 0.0

    def plan_list(self, session: Session, now: datetime) -> datetime | None:
        """Return since when to list the due orders, None to poll one by one."""
        if time.monotonic() < self._paused_until:
            return None
        placed_at = find_due_orders(session, self._account, now, MAX_ORDERS, listable=True)
        if len(placed_at) <= MIN_ORDERS:
            return None
        since = cheapest_cut(
            placed_at, lambda since, limit: _count_placed(session, self._account, since, limit)
        )
        if since is None:
            # Not computed again for each of these orders.
            self.pause(timedelta(seconds=1))
        return since

    def pause(self, duration: timedelta) -> None:
        """Use no list for a while."""
        self._paused_until = time.monotonic() + duration.total_seconds()


def cheapest_cut(
    placed_at: Sequence[datetime], count_listed: Callable[[datetime, int], int]
) -> datetime | None:
    """Return since when to list the due orders, None if polling one by one takes fewest requests.

    placed_at: when each due order was placed. count_listed: counts the orders in a list since a
    time, due or not, up to a limit.
    """
    newest_first = sorted(placed_at, reverse=True)
    fewest, since = len(newest_first), None
    step = max(1, len(newest_first) // MAX_CUTS)
    cuts = {*range(MIN_ORDERS, len(newest_first) + 1, step), len(newest_first)}
    for listed in sorted(cut for cut in cuts if cut >= MIN_ORDERS):
        oldest = newest_first[listed - 1]
        one_by_one = len(newest_first) - listed
        pages = ceil(count_listed(oldest, listed * PAGE_SIZE) / PAGE_SIZE)
        if pages + one_by_one < fewest:
            fewest, since = pages + one_by_one, oldest
    return since


def _count_placed(session: Session, account: str, since: datetime, limit: int) -> int:
    placed = select(Poll.order_id).where(Poll.account == account, Poll.placed_at >= since)
    return count_rows(session, placed, limit)
