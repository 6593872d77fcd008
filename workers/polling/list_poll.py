"""Poll many orders by the pages of a courier's list."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from receiver import errors
from receiver.couriers.polling import Access, Api, Page
from receiver.settings import Account
from receiver.stats.totals import ANSWERED
from workers.polling import leases, poll_results
from workers.polling.circuit_breaker import Permit
from workers.polling.courier_api import CourierApi
from workers.polling.leases import Lease
from workers.polling.poll_outcomes import OutcomeRecorder
from workers.polling.request_permits import RequestPermits

MAX_PAGE_BYTES = 8 * 1_048_576
# The courier's clock and ours may differ, and a list starts after the given time.
CLOCK_MARGIN = timedelta(minutes=5)
# A list ends well before the leases on its orders do, and after so many pages at the latest.
LIST_SECONDS = leases.LEASE_DURATION.total_seconds() / 2
MAX_PAGES = 200


class ListStopped(Exception):
    """The list was left before its end; the leases have been dealt with.

    goes_on: whether to go on polling. unusable: whether the list itself is at fault.
    """

    def __init__(self, goes_on: bool, unusable: bool = False) -> None:
        super().__init__()
        self.goes_on = goes_on
        self.unusable = unusable


@dataclass(frozen=True, slots=True)
class ListPoll:
    """Fetches the pages of one account's list. Its api has a list."""

    account: Account
    access: Access
    api: Api
    courier: CourierApi
    permits: RequestPermits
    outcomes: OutcomeRecorder
    now: Callable[[], datetime]

    def poll(self, first_permit: Permit, held: list[Lease], since: datetime) -> dict[str, Lease]:
        """Fetch page by page, and return the leases of the orders that no page held, by name.

        The list ends with its last page, with a cursor that came before, after MAX_PAGES or
        LIST_SECONDS, and once polling one by one takes fewer requests.

        Raises: ListStopped.
        """
        left = {lease.courier_order_id: lease for lease in held}
        until = time.monotonic() + LIST_SECONDS
        permit: Permit | None = first_permit
        cursors: list[str | None] = [None]
        while left and time.monotonic() < until:
            permit = permit or self.permits.wait_for_permit()
            if permit is None:
                self.outcomes.release(left.values())
                raise ListStopped(goes_on=False)
            page = self._poll_page(permit, left, since, cursors[-1])
            permit = None
            if page.next_cursor is None or page.next_cursor in cursors:
                break
            if len(cursors) >= MAX_PAGES or self._is_too_long(page, len(cursors), held, left):
                break
            cursors.append(page.next_cursor)
        return left

    def _poll_page(
        self, permit: Permit, left: dict[str, Lease], since: datetime, cursor: str | None
    ) -> Page:
        """Fetch a page, record what it says, and remove from `left` the orders that it holds."""
        list_request, read_page = self.api.list_request, self.api.read_list_page
        assert list_request is not None and read_page is not None  # noqa: S101, PT018 (see above)
        asked_at = self.now()
        try:
            request = list_request(self.access, since - CLOCK_MARGIN, cursor)
            body = self.courier.fetch(request, MAX_PAGE_BYTES, self.now())
            page = read_page(body, cursor)
        except (
            errors.BrokenAnswer,
            errors.OutsideApi,
            errors.Undecodable,
            errors.UnknownToCourier,
        ) as error:
            # Whatever is wrong with the list, the orders can be polled one by one.
            self.outcomes.release(left.values())
            broken = errors.BrokenAnswer(f"the list of orders cannot be used: {error}", None)
            goes_on = self.outcomes.record_failure(permit, [], broken, asked_at)
            raise ListStopped(goes_on, unusable=True) from None
        except (errors.CourierBusy, errors.CourierRefused, errors.CourierUnavailable) as error:
            goes_on = self.outcomes.record_failure(permit, [*left.values()], error, asked_at)
            raise ListStopped(goes_on) from None
        answers = poll_results.read_list(self.account, page.bodies, left, asked_at)
        self.outcomes.record_answers(permit, answers.values(), ANSWERED)
        for name in answers:
            del left[name]
        return page

    def _is_too_long(
        self, page: Page, page_count: int, held: list[Lease], left: dict[str, Lease]
    ) -> bool:
        """Return whether one by one takes fewer requests: the list is longer than planned.

        Where the courier does not say how many pages follow, it has cost enough with as many pages
        as orders.
        """
        if any(map(self._is_only_listed, left.values())):
            return False
        if page.pages_left is None:
            return page_count >= len(held)
        return page.pages_left > len(left)

    def _is_only_listed(self, lease: Lease) -> bool:
        name = self.api.listed_name
        if name is None or lease.is_courier_id:
            return False
        return bool(re.fullmatch(name, lease.courier_order_id.strip(), re.IGNORECASE))
