"""Which orders are cheaper to fetch by pages of a list than one by one: counted in requests.

A list tells of every order placed since a time. So the newest of the orders that are due are
fetched by list, as long as that costs less than asking about each, and the older ones by show.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from math import ceil

from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlalchemy.sql import func

from receiver.db.models import Poll

PAGE = 100
# Fewer are asked about one by one without ado.
LEAST = 4
# Their clock and ours may differ, and a list tells of what is later than the time given.
MARGIN = timedelta(minutes=5)
# Where the list may begin is tried at so many of the due orders.
CUTS = 16


def cheapest_cut(
    placed: Sequence[datetime], listed_since: Callable[[datetime, int], int]
) -> datetime | None:
    """Since when to list the orders that are due; None where asking one by one costs least.

    placed: when each due order was placed. listed_since: how many orders a list since then tells
    of, due or not, counted no further than is worth while.
    """
    newest_first = sorted(placed, reverse=True)
    cheapest, since = len(newest_first), None
    step = max(1, len(newest_first) // CUTS)
    cuts = {*range(LEAST, len(newest_first) + 1, step), len(newest_first)}
    for listed in sorted(cut for cut in cuts if cut >= LEAST):
        oldest = newest_first[listed - 1]
        one_by_one = len(newest_first) - listed
        pages = ceil(listed_since(oldest, listed * PAGE) / PAGE)
        if pages + one_by_one < cheapest:
            cheapest, since = pages + one_by_one, oldest
    return since


def placed_since(session: Session, account: str, since: datetime, most: int) -> int:
    """How many of an account's orders were placed since a time, counted no further than `most`."""
    placed = select(Poll.order_id).where(Poll.account == account, Poll.placed_at >= since)
    return session.scalar(select(func.count()).select_from(placed.limit(most).subquery())) or 0
