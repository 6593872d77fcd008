"""Orders that the shop registers under several names, and messages about them, in any order.

HYPOTHESIS_PROFILE=long tries 5,000 of them a property.
"""

import random
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.models import NAME, Change, Order
from receiver.db.order_state import OrderState
from receiver.orders.corrections.shop_values import add_registration
from receiver.orders.names import spell
from receiver.settings import Settings
from tests.bodies import START, after, life, tiramizoo_order
from tests.one_transaction import Trial, trial

STATES = ("created", "dispatched", "picked_up", "delivered")
STATUSES = ("info_received", "awaiting_pickup", "picked_up", "delivered")

few_fixtures = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
randoms = st.randoms(use_true_random=False)
references = st.sampled_from([None, "41", "42", "R-1"])
metadata = st.none() | st.dictionaries(
    st.sampled_from(["channel", "shop"]), st.sampled_from(["web", "munich"])
)


@dataclass(frozen=True)
class Registration:
    name: str
    reference: str | None
    metadata: dict[str, str] | None


@dataclass
class Known:
    """What a courier says of an order, or a name that no message gives. names: as spelled alike."""

    uuid: str
    bodies: list[dict[str, Any]]
    states: list[int]
    body_names: list[set[str]]
    registrations: list[Registration] = field(default_factory=list)


def forms(name: str) -> list[str]:
    return [name, name.swapcase(), name.replace("-", ""), f" {name.lower()} "]


@st.composite
def couriers_orders(draw: st.DrawFn, number: int) -> Known:
    """One order: sparse and full snapshots, and names that are registered: three of the first.

    One of the names may be registered again.
    """
    uuid = f"6d1f0b1e-5f0e-4c39-8f0c-{number:012}"
    identifiers = {"identifier": f"Zv-{number}W8", "tracking_code": f"Id4k-{number}eHQX"}
    parcels = [f"P-{number}a", f"P-{number}B"]
    known = Known(uuid, [], [], [])
    for state in draw(st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True)):
        shown: dict[str, Any] = {
            kind: name for kind, name in identifiers.items() if draw(st.booleans())
        }
        packages = [name for name in parcels if draw(st.booleans())]
        body = tiramizoo_order(
            uuid,
            life(*STATES[: state + 1]),
            external_id=draw(st.sampled_from([None, "41"])),
            packages=[{"identifier": name, "state": None} for name in packages],
            **shown,
        )
        known.bodies.append(body)
        known.states.append(state)
        known.body_names.append({spell(name) for name in (uuid, *shown.values(), *packages)})
    names = st.sampled_from([uuid, *identifiers.values(), *parcels])
    registered = draw(st.lists(names, max_size=3 - number, unique=True))
    again = draw(st.lists(st.sampled_from(registered), max_size=1)) if registered else []
    known.registrations = [
        Registration(draw(st.sampled_from(forms(name))), draw(references), draw(metadata))
        for name in [*registered, *again]
    ]
    return known


some_orders = st.integers(1, 2).flatmap(
    lambda count: st.tuples(*(couriers_orders(number) for number in range(count)))
)


@dataclass
class Group:
    """Registrations, in their order, that turned out to be one order, and its names in messages."""

    names: set[str]
    registrations: list[Registration] = field(default_factory=list)
    created_at: list[datetime] = field(default_factory=list)

    def corrected(self) -> list[Registration]:
        """One registration for each name, with what was given last under that name."""
        by_name: dict[str, Registration] = {}
        for each in self.registrations:
            known = by_name.get(spell(each.name), each)
            by_name[spell(each.name)] = Registration(
                known.name,
                known.reference if each.reference is None else each.reference,
                known.metadata if each.metadata is None else each.metadata,
            )
        return list(by_name.values())

    @property
    def reference(self) -> str | None:
        """That of the name which was registered first, of those with any."""
        return next((each.reference for each in self.corrected() if each.reference), None)

    @property
    def metadata(self) -> dict[str, str]:
        """What was given last under each name; of one key what was given last of all."""
        last = {spell(one.name): one for one in self.registrations if one.metadata is not None}
        combined: dict[str, str] = {}
        for each in self.registrations:
            if last.get(spell(each.name)) is each:
                combined |= each.metadata or {}
        return combined


class Shop:
    """What was registered and what messages said, as an order's names ought to be understood."""

    def __init__(self, orders: tuple[Known, ...]) -> None:
        self.heard = {order.uuid: Group(set()) for order in orders}
        self.registered: list[tuple[str, Registration, datetime]] = []

    def groups(self) -> dict[str, Group]:
        """The orders by their uuid, or by the spelling of the only name that they have.

        It makes no difference what came first, but for which was registered first.
        """
        found = dict(self.heard)
        for uuid, each, at in self.registered:
            name = spell(each.name)
            group = found.setdefault(uuid if name in found[uuid].names else name, Group({name}))
            group.registrations.append(each)
            group.created_at.append(at)
        return found


def play(
    attempt: Trial, orders: tuple[Known, ...], choose: random.Random, registered_first: bool
) -> dict[str, Group]:
    """Register, receive and drain in any order, and return what it should come to."""
    pairs = [(order, registration) for order in orders for registration in order.registrations]
    choose.shuffle(pairs)
    sent = [(order, number) for order in orders for number in range(len(order.bodies))]
    sent += choose.choices(sent, k=2)
    choose.shuffle(sent)
    are_registrations = [*[True] * len(pairs), *[False] * len(sent)]
    if not registered_first:
        choose.shuffle(are_registrations)
    shop, waiting = Shop(orders), []
    for is_registration in are_registrations:
        if is_registration:
            order, new = pairs.pop()
            attempt.register(new.name, reference=new.reference, metadata=new.metadata)
            shop.registered.append((order.uuid, new, attempt.now))
        else:
            order, number = sent.pop()
            attempt.receive(order.bodies[number])
            waiting.append((order.uuid, order.body_names[number]))
        if not (pairs or sent) or choose.random() < 0.4:
            attempt.drain()
            while waiting:
                uuid, names = waiting.pop()
                shop.heard[uuid].names |= names
                shop.heard[uuid].created_at.append(attempt.now)
    return shop.groups()


@given(some_orders, randoms, st.booleans())
@few_fixtures
def test_registrations_are_the_orders_that_messages_say_they_are_whatever_comes_first(
    sessions: sessionmaker[Session],
    settings: Settings,
    orders: tuple[Known, ...],
    choose: random.Random,
    registered_first: bool,
) -> None:
    """Of what was registered, the earliest reference and the latest metadata count."""
    with trial(sessions, settings) as attempt:
        groups = play(attempt, orders, choose, registered_first)
        asked = {each for group in groups.values() for name in group.names for each in forms(name)}
        asked |= {
            *groups,
            *(each.name for group in groups.values() for each in group.registrations),
        }
        found = attempt.find(asked)
        assert attempt.session.scalar(select(func.count(Order.id))) == len(groups)
        heard = {order.uuid: order for order in orders}
        for name, group in groups.items():
            (order,) = found[name]
            assert {each for each, kind in attempt.names(order) if kind == NAME} == group.names
            for each in group.names | {one.name for one in group.registrations}:
                assert all(found[form] == [order] for form in forms(each) if form in asked)
            assert order.created_at == min(group.created_at)
            assert order.shop_metadata == group.metadata
            if name not in heard:
                assert (order.status, order.reference) == ("pending", group.reference)
                continue
            bodies = heard[name].bodies
            assert order.status == STATUSES[max(heard[name].states)]
            couriers = next((body["external_id"] for body in bodies if body["external_id"]), None)
            assert order.reference == (group.reference or couriers)
        if registered_first:
            changes = attempt.session.execute(select(Change.order_id, Change.changed))
            merged = {order_id for order_id, changed in changes if "merged" in changed}
            several = {name for name, group in groups.items() if group.corrected()[1:]}
            # So does it where an order that was heard of first takes in its one registration.
            assert merged >= {found[name][0].id for name in several}


@given(st.lists(st.sampled_from(["41", "42"]), max_size=3), some_orders, randoms)
@few_fixtures
def test_the_shops_reference_alone_never_makes_two_orders_one(
    sessions: sessionmaker[Session],
    settings: Settings,
    numbers: list[str],
    orders: tuple[Known, ...],
    choose: random.Random,
) -> None:
    """Even where the shop registers its numbers as if they were the courier's."""
    with trial(sessions, settings) as attempt:
        for order in orders:
            number = choose.choice(["41", "42", None])
            for body in order.bodies:
                body["external_id"] = number
        for number in numbers:
            if choose.random() < 0.5:
                attempt.receive(choose.choice(orders).bodies[0])
                attempt.drain()
            attempt.register(number)
        play(attempt, orders, choose, registered_first=False)
        found = attempt.find(order.uuid for order in orders)
        assert len({each.id for (each,) in found.values()}) == len(orders)


def test_what_an_older_version_stored_of_registrations_counts_as_one() -> None:
    silent = OrderState(1, "tiramizoo", "tiramizoo", "Zv-W8", START, START)
    silent.shop_reference, silent.shop_metadata = "41", {"shop": "munich"}
    heard = copy(silent)
    heard.last_heard_at = START
    for order, name, last in [(silent, "zvw8", "44"), (heard, "ID4K", "45")]:
        add_registration(order, name, after(1), "42", None)
        assert (order.shop_reference, order.shop_metadata) == ("42", {"shop": "munich"})
        add_registration(order, "another", after(2), "43", {"shop": "web"})
        assert (order.shop_reference, order.shop_metadata) == ("42", {"shop": "web"})
        # The older version runs again meanwhile. Of an order that was heard of it is not known
        # under which name it was registered: that may be this one.
        order.shop_reference = "44"
        add_registration(order, "further", after(3), "45", None)
        assert (order.shop_reference, order.shop_metadata) == (last, {"shop": "web"})
