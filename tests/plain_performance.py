"""Couriers' performance computed plainly: from the orders and their events, one after the other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker, undefer

from receiver.db.models import Event, Order
from receiver.orders.performance.report import Period, report_account
from receiver.settings import Settings
from receiver.statuses import find_status

DURATIONS = ("pickup_to_delivery_seconds", "order_to_pickup_seconds", "webhook_delay_seconds")
BEFORE_PICKUP = ("pending", "info_received", "awaiting_pickup", "pickup_failed")


def is_near(found: float | None, true: float | None) -> bool:
    """Whether a percentile is as exact as is promised."""
    if found is None or true is None:
        return found is true
    return abs(found - true) <= max(0.05 * true, 0.001)


def percentile(durations: Sequence[float], share: float) -> float | None:
    """As PostgreSQL's percentile_cont() has it."""
    ordered = sorted(durations)
    if not ordered:
        return None
    place = share * (len(ordered) - 1)
    below, above = ordered[int(place)], ordered[min(int(place) + 1, len(ordered) - 1)]
    return below + (above - below) * (place - int(place))


def shown(event: Event) -> datetime:
    """When an event is shown to have happened."""
    if "minute_only" in event.flags and event.told_at is not None:
        return min(event.told_at, event.occurred_at)
    return event.occurred_at


def seconds(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds())


@dataclass
class Plain:
    """What the orders of an account come to."""

    orders: int = 0
    first: list[bool] = field(default_factory=list)
    timely: list[bool] = field(default_factory=list)
    durations: dict[str, list[float]] = field(
        default_factory=lambda: {name: [] for name in DURATIONS}
    )
    reported: int = 0
    missed: int = 0

    def add(self, order: Order, events: Sequence[Event]) -> None:
        self.orders += 1
        pickups = [shown(event) for event in events if event.status == "picked_up"]
        known = [
            datetime.fromisoformat(order.milestones[name])
            for name in BEFORE_PICKUP
            if name in order.milestones
        ]
        known.append(order.created_at)
        if pickups and min(known) <= min(pickups):
            taken = seconds(min(known), min(pickups))
            self.durations["order_to_pickup_seconds"].append(taken)
        if order.status == "delivered":
            self._add_delivery(order, events, pickups)
        self._add_reports(order, events)

    def _add_delivery(
        self, order: Order, events: Sequence[Event], pickups: Sequence[datetime]
    ) -> None:
        delivered_at = order.status_at
        assert delivered_at is not None
        self.first.append(not any(event.status == "delivery_failed" for event in events))
        if pickups:
            taken = seconds(min(pickups), delivered_at)
            self.durations["pickup_to_delivery_seconds"].append(taken)
        ends = [
            eta["to"]
            for eta in order.details.get("etas", [])
            if datetime.fromisoformat(eta["at"]) < delivered_at
        ]
        if order.promised and order.promised["to"]:
            ends = [order.promised["to"]]
        if ends:
            self.timely.append(delivered_at <= datetime.fromisoformat(ends[-1]))

    def _add_reports(self, order: Order, events: Sequence[Event]) -> None:
        ended = (order.courier_status, order.status_at)
        states = [
            event
            for event in events
            if not event.parcel or (event.courier_status, shown(event)) == ended
        ]
        hooks = [event for event in states if event.kind == "webhook"]
        polls = len(states) - len(hooks)
        if order.courier == "shipmentapi":
            # It calls once.
            self.reported += bool(hooks)
            self.missed += bool(polls) and not hooks
        else:
            self.reported += len(hooks)
            self.missed += polls
        self.durations["webhook_delay_seconds"] += [
            seconds(event.told_at, event.received_at)
            for event in hooks
            if event.told_at and not {"clock_skew", "state_disagrees"} & {*event.flags}
        ]

    def shown(self) -> dict[str, Any]:
        """The same names as in a report; where the account is not polled."""
        missed, reported = self.missed, self.reported
        return {
            "orders": self.orders,
            "delivered": len(self.first),
            "first_attempt_ratio": sum(self.first) / len(self.first) if self.first else None,
            "on_time_ratio": sum(self.timely) / len(self.timely) if self.timely else None,
            "missed_webhook_ratio": missed / (missed + reported) if missed else None,
            **{
                name: {f"p{share}": percentile(taken, share / 100) for share in (50, 90)}
                for name, taken in self.durations.items()
            },
        }


def compute_plainly(session: Session, account: str, period: Period) -> dict[str, Any]:
    plain = Plain()
    orders = select(Order).where(Order.account == account).options(undefer(Order.details))
    for order in session.scalars(orders):
        if not find_status(order.status).terminal or order.status_at is None:
            continue
        if period.since <= order.status_at.astimezone(UTC).date() <= period.until:
            events = select(Event).where(Event.order_id == order.id, Event.applied)
            plain.add(order, session.scalars(events).all())
    return plain.shown()


def differences(
    sessions: sessionmaker[Session], settings: Settings, period: Period
) -> Iterator[str]:
    """How the reports differ from what is computed plainly."""
    with sessions() as session:
        for account in ("tiramizoo", "cottoncast", "shipmentapi"):
            told = report_account(session, settings.accounts, account, period)
            for name, value in compute_plainly(session, account, period).items():
                pairs = [(told[name], value)]
                if isinstance(value, Mapping):
                    pairs = [(told[name][share], value[share]) for share in value]
                elif isinstance(value, float):
                    pairs = [(told[name], round(value, 4))]
                if not all(is_near(*pair) for pair in pairs):
                    yield f"{account} {period.since} {name}: {told[name]}, but {value}"
