"""Polling against the couriers' stand-ins, by a clock that the test moves."""

import itertools
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from click.testing import CliRunner
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from receiver.cli.main import main
from receiver.couriers import DRIVERS
from receiver.couriers.snapshot import Decoded
from receiver.db.models import APPLIED, QUARANTINED
from receiver.db.models import Order as OrderRow
from receiver.orders.erasure import UNREAD_ERASED
from receiver.stats import totals
from tests.bodies import START
from tests.polling import DAY, HOUR, MINUTE, MakeWorld, World
from tests.sandbox import Cottoncast, Courier, Order, ShipmentAPI, Tiramizoo, evenly
from tests.sandbox.wire import Answer, Request
from tests.service import PATIENCE, at_once, wait_until
from workers.folding.order_store import lock_orders
from workers.polling import circuit_breaker, leases, outage_recovery
from workers.polling.account_poller import AccountPoller
from workers.polling.circuit_breaker import FAILURES, PAUSES
from workers.polling.poll_results import PollAnswer, answer_message

SECOND = timedelta(seconds=1)


@pytest.fixture
def world(new_world: MakeWorld) -> World:
    return new_world()


def shortly(world: World, name: str) -> timedelta:
    """How long it is from now until the order is polled."""
    due = world.poll(name).due_at
    assert due is not None
    return due - world.clock()


def about(interval: timedelta) -> object:
    return pytest.approx(interval * 1.05, abs=interval * 0.0501)


# --- one order ---


@pytest.mark.parametrize("kind", [Tiramizoo, Cottoncast, ShipmentAPI])
def test_an_order_of_a_courier_that_never_calls_reaches_its_end(
    new_world: MakeWorld, kind: type[Courier]
) -> None:
    lives: dict[type[Courier], tuple[str, ...]] = {
        Tiramizoo: ("created", "dispatched", "picked_up", "delivered"),
        Cottoncast: ("N", "L", "R", "C", "E", "D"),
        ShipmentAPI: ("accepted", "collected", "in_transit", "delivered"),
    }
    world = new_world(kind)
    order = world.place(evenly(*lives[kind], start=START, apart=5 * HOUR))
    world.live_until(START + 3 * DAY)
    now = world.order(order.id)
    assert (now.status, now.reference) == ("delivered", order.reference)
    assert now.source is not None
    assert (now.source["kind"], now.source["trust"]) == ("poll", "fetched")
    poll = world.poll(order.id)
    assert (poll.due_at, poll.stopped_at) == (None, None)
    assert poll.finished_at is not None
    assert {message.kind for message in world.messages()} == {"poll"}
    assert {message.outcome for message in world.messages()} == {APPLIED}


def test_a_silent_order_is_polled_after_a_quarter_of_an_hour_doubling_to_six_hours(
    world: World,
) -> None:
    order = world.place(evenly("created", start=START, apart=HOUR))
    waits = []
    for _ in range(9):
        waits.append(shortly(world, order.id))
        world.clock.move_to(world.poll(order.id).due_at or START)
        assert world.poll_due() == 1
    # The first answer is news, so the second poll comes as soon as the first.
    expected = [15, 15, 30, 60, 120, 240, 360, 360, 360]
    for wait, minutes in zip(waits, expected, strict=True):
        assert wait == about(minutes * MINUTE)


def test_a_webhook_starts_the_silence_anew(world: World) -> None:
    order = world.place(evenly("created", "dispatched", start=START, apart=4 * HOUR))
    world.live_until(START + 2.5 * HOUR)
    assert shortly(world, order.id) > HOUR
    world.webhook(world.courier.webhook_message(order, 1).body)
    assert shortly(world, order.id) == about(15 * MINUTE)


def test_an_answer_is_kept_while_its_order_is_being_folded(world: World) -> None:
    """A drain holds the order and then wants its row of `polls`, which a poll holds: the poll may
    not wait for the order.
    """
    order = world.place(evenly("created", start=START, apart=HOUR))
    world.clock.move_to(world.poll(order.id).due_at or START)
    with world.sessions.begin() as folding:
        assert lock_orders(folding, OrderRow.id == world.order(order.id).id)
        assert world.poller.poll_next()
    assert len(world.messages()) == 1


def test_an_answer_equal_to_the_last_one_is_noted_and_not_kept(world: World) -> None:
    order = world.place(evenly("created", start=START, apart=HOUR))
    world.live_until(START + 2 * HOUR)
    [message] = world.messages()
    poll = world.poll(order.id)
    assert message.repetitions == len(world.courier.ledger) - 1 > 1
    assert poll.confirmed_at == poll.polled_at == message.last_seen_at
    assert world.order(order.id).version == 2


def test_a_state_that_comes_back_is_kept_again(new_world: MakeWorld) -> None:
    world = new_world(ShipmentAPI)
    apart = 10 * HOUR
    order = world.place(evenly("accepted", "problem", "accepted", start=START, apart=apart))
    world.courier.label_after = timedelta(days=400)  # type: ignore[attr-defined]
    world.courier.pickup_after = timedelta(days=400)  # type: ignore[attr-defined]
    world.live_until(START + 25 * HOUR)
    assert [len(world.messages()), world.order(order.id).courier_status] == [3, "accepted"]


def test_an_answer_that_repeats_the_one_before_a_webhook_is_kept(world: World) -> None:
    """Else it could not say that the webhook was wrong."""
    order = world.place(evenly("created", start=START, apart=HOUR))
    world.live_until(START + HOUR)
    world.courier.extend(order, [("dispatched", START)])
    forged = world.courier.webhook_message(order, 1).body
    order.life = order.life[:1]
    world.webhook(forged)
    world.live_until(START + 2 * HOUR)
    assert [message.kind for message in world.messages()] == ["poll", "webhook", "poll"]


def test_what_a_poll_reported_first_counts_as_a_missed_webhook(world: World) -> None:
    order = world.place(evenly("created", "dispatched", "delivered", start=START, apart=2 * HOUR))
    world.webhook(world.courier.webhook_message(order, 0).body)
    world.live_until(START + HOUR)
    assert world.state().missed == 0
    world.live_until(START + 10 * HOUR)
    assert (world.state().missed, world.state().hooks) == (2, 1)
    world.webhook(world.courier.webhook_message(order, 2).body)
    assert world.state().missed == 2


def test_of_a_courier_that_calls_once_only_that_call_is_ever_missed(new_world: MakeWorld) -> None:
    world = new_world(ShipmentAPI)
    missed = world.place(evenly("accepted", "collected", "delivered", start=START, apart=HOUR))
    heard = world.place(evenly("accepted", "collected", "delivered", start=START, apart=HOUR))
    world.webhook(world.courier.webhook_message(heard, 0).body)
    world.live_until(START + 2 * DAY)
    assert {world.order(one.id).status for one in (missed, heard)} == {"delivered"}
    assert world.state().missed == 1


def test_a_poll_a_day_after_the_end_is_the_last(world: World) -> None:
    order = world.place(evenly("created", "delivered", start=START, apart=10 * MINUTE))
    world.live_until(START + HOUR)
    poll = world.poll(order.id)
    assert poll.due_at == START + 10 * MINUTE + DAY
    world.live_until(START + 40 * DAY)
    poll = world.poll(order.id)
    assert (poll.due_at, poll.finished_at) == (None, START + 10 * MINUTE + DAY)
    assert len(world.courier.ledger) == 2


def test_what_the_last_poll_finds_opens_the_order_again(world: World) -> None:
    life = evenly("created", "delivered", start=START, apart=10 * MINUTE)
    order = world.place([*life, ("returned", START + 20 * HOUR)])
    world.live_until(START + 3 * DAY)
    assert world.order(order.id).status == "returned"


def test_an_order_without_news_for_thirty_days_is_given_up_and_keeps_its_status(
    world: World,
) -> None:
    order = world.place(evenly("created", "dispatched", start=START, apart=HOUR))
    world.live_until(START + 29 * DAY)
    assert world.poll(order.id).stopped_at is None
    world.live_until(START + 32 * DAY)
    poll = world.poll(order.id)
    assert poll.stopped_at is not None
    assert poll.stopped_at - START == pytest.approx(30 * DAY, abs=DAY)
    assert poll.stop_reason == "given up: 30 days without a change"
    assert (poll.due_at, world.order(order.id).status) == (None, "awaiting_pickup")
    polls = len(world.courier.ledger)
    world.live_until(START + 60 * DAY)
    assert len(world.courier.ledger) == polls
    world.webhook(world.courier.webhook_message(order, 1).body)
    poll = world.poll(order.id)
    assert (poll.stopped_at, poll.stop_reason) == (None, None)
    assert poll.due_at is not None


def test_time_in_which_the_courier_could_not_be_polled_ages_no_order(world: World) -> None:
    order = world.place(evenly("created", start=START, apart=HOUR))
    world.live_until(START + DAY)
    world.courier.faults.always("status", status=500)
    for day in range(2, 41):
        world.clock.move_to(START + day * DAY)
        assert world.poll_due() == 1
    world.courier.faults.clear()
    world.live_until(START + 42 * DAY)
    poll = world.poll(order.id)
    assert (poll.stopped_at, poll.failures) == (None, 0)
    assert poll.unchanged_for < 4 * DAY


# --- ShipmentAPI's own rhythm ---


def test_no_order_is_polled_in_its_first_minute(new_world: MakeWorld) -> None:
    world = new_world(ShipmentAPI)
    world.courier.unknown_for = 15 * MINUTE  # type: ignore[attr-defined]
    order = world.place(evenly("accepted", start=START, apart=HOUR))
    assert shortly(world, order.id) >= MINUTE
    world.live_until(START + 15 * MINUTE)
    polls = len(world.courier.ledger)
    assert 10 <= polls <= 15
    world.live_until(START + 17 * MINUTE)
    assert world.order(order.id).status == "info_received"


@pytest.mark.parametrize(
    ("missing", "life", "wait"),
    [
        # Document 004: "label and carrier tracking number won't be immediately available", and
        # neither is the pickup arrival time.
        ("label_after", ("accepted",), 5 * MINUTE),
        ("pickup_after", ("accepted",), 5 * MINUTE),
        ("pickup_after", ("accepted", "collected"), 30 * MINUTE),
    ],
)
def test_an_order_is_polled_closely_until_label_number_and_pickup_time_are_known(
    new_world: MakeWorld, missing: str, life: tuple[str, ...], wait: timedelta
) -> None:
    world = new_world(ShipmentAPI)
    # The other of the two is known at once.
    for known in ("label_after", "pickup_after"):
        setattr(world.courier, known, 400 * DAY if known == missing else timedelta())
    order = world.place(evenly(*life, start=START, apart=MINUTE))
    world.live_until(START + 3 * MINUTE)
    assert world.order(order.id).courier_status == life[-1]
    assert shortly(world, order.id) <= wait * 1.1
    assert shortly(world, order.id) > wait / 2


def test_around_the_time_of_pickup_an_order_is_polled_every_five_minutes(
    new_world: MakeWorld,
) -> None:
    world = new_world(ShipmentAPI)
    order = world.place(evenly("accepted", start=START, apart=HOUR))
    world.live_until(START + 1.5 * HOUR)
    pickup_at = world.order(order.id).pickup_at
    assert pickup_at is not None
    world.live_until(pickup_at - 35 * MINUTE)
    before = len(world.courier.ledger)
    world.live_until(pickup_at + HOUR)
    assert 17 <= len(world.courier.ledger) - before <= 20


# --- manners ---


def test_an_order_that_the_courier_does_not_know_yet_is_polled_again(new_world: MakeWorld) -> None:
    world = new_world(ShipmentAPI)
    world.courier.unknown_for = timedelta(hours=20)  # type: ignore[attr-defined]
    order = world.place(evenly("accepted", start=START, apart=HOUR))
    world.live_until(START + 19 * HOUR)
    poll = world.poll(order.id)
    assert poll.failures > 3
    assert poll.stopped_at is None
    world.live_until(START + 26 * HOUR)
    assert world.order(order.id).status in {"info_received", "awaiting_pickup"}
    assert world.poll(order.id).failures == 0


def test_an_answer_that_holds_no_order_counts_as_404(
    new_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = new_world(ShipmentAPI)
    driver = DRIVERS["shipmentapi"]
    assert driver.api is not None
    api = replace(driver.api, decode=lambda _body, _context: Decoded())
    monkeypatch.setitem(DRIVERS, "shipmentapi", replace(driver, api=api))
    order = world.place(evenly("accepted", start=START, apart=HOUR))
    world.live_until(START + 2 * HOUR)
    assert world.poll(order.id).unknown_since is not None
    assert [message for message in world.messages() if message.kind == "poll"] == []


@pytest.mark.parametrize(("kind", "life"), [(ShipmentAPI, ["accepted"]), (Cottoncast, ["N", "L"])])
def test_an_order_that_the_courier_does_not_know_needs_attention_until_a_message_names_it(
    new_world: MakeWorld, kind: type[Courier], life: list[str]
) -> None:
    """One that was registered by its tracking number alone cannot be polled."""
    world = new_world(kind)
    if isinstance(world.courier, ShipmentAPI):
        world.courier.label_after = timedelta()
    placed = world.courier.create(evenly(*life, start=START, apart=HOUR))
    (number,) = placed.names.values()
    world.register(number)
    world.live_until(START + 1.9 * HOUR)
    assert world.poll(number).unknown_since is not None
    assert not world.order(number).needs_attention
    world.live_until(START + 5 * HOUR)
    order = world.order(number)
    assert (order.needs_attention, order.version, order.last_heard_at) == (True, 2, None)
    assert world.poll(number).stopped_at is None
    assert isinstance(world.courier, ShipmentAPI | Cottoncast)
    world.webhook(world.courier.webhook_message(placed, len(life) - 1).body)
    order = world.order(number)
    assert (order.needs_attention, order.identifiers["id"]) == (False, placed.id)
    world.live_until(START + 8 * HOUR)
    assert (world.poll(number).unknown_since, world.poll(number).failures) == (None, 0)


def test_an_order_that_the_courier_never_knew_is_given_up_after_a_day(world: World) -> None:
    world.register("nobody-knows-it")
    world.live_until(START + 24 * HOUR)
    assert world.poll("nobody-knows-it").stopped_at is None
    world.live_until(START + 3 * DAY)
    poll = world.poll("nobody-knows-it")
    assert poll.stop_reason == "given up: the courier does not know this order"
    assert world.order("nobody-knows-it").status == "pending"


def test_an_order_on_record_by_the_shops_own_number_is_polled_by_it(world: World) -> None:
    placed = world.courier.create(evenly("created", "delivered", start=START, apart=HOUR))
    world.register("whatever", reference=placed.reference)
    world.live_until(START + 15 * MINUTE * 1.2)
    paths = [request.path for request in world.courier.ledger.lines()]
    assert paths[1].endswith(f"/orders/by_external_id/{placed.reference}")


@pytest.mark.parametrize("name", ["identifier", "tracking_code"])
def test_an_order_on_record_by_the_couriers_other_name_is_polled_by_that(
    world: World, name: str
) -> None:
    placed = world.courier.create(evenly("created", "delivered", start=START, apart=HOUR))
    world.register(placed.names[name], reference=placed.reference)
    world.live_until(START + 2 * DAY)
    assert world.order(placed.names[name]).status == "delivered"
    assert world.order(placed.names[name]).identifiers["id"] == placed.id


@pytest.mark.parametrize(
    ("placed_before", "spelt"),
    [(MINUTE, str), (5 * HOUR, str), (MINUTE, lambda code: code.lower().replace("-", ""))],
)
def test_an_order_on_record_by_its_tracking_code_alone_is_found_by_list(
    world: World, placed_before: timedelta, spelt: Callable[[str], str]
) -> None:
    """Document 003: Show Order takes no tracking code, List Orders shows it."""
    for _ in range(150):
        world.courier.create(evenly("created", start=START - MINUTE, apart=HOUR))
    life = evenly("created", "delivered", start=START - placed_before, apart=10 * HOUR)
    placed = world.courier.create(life)
    name = spelt(placed.names["tracking_code"])
    world.register(name)
    world.live_until(START + 2 * DAY)
    order = world.order(name)
    assert (order.status, order.identifiers["id"]) == ("delivered", placed.id)
    assert len(world.courier.ledger) < 20


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({"seconds": 30.0}, 30),
        ({"seconds": 90.0, "silent": True, "retry_after": "seconds"}, 90),
        ({"seconds": 90.0, "silent": True, "retry_after": "date"}, 90),
        ({"seconds": 5.0, "silent": True}, 60),
    ],
)
def test_a_courier_that_is_polled_too_often_is_left_alone_for_as_long_as_it_says(
    new_world: MakeWorld, options: Mapping[str, object], seconds: int
) -> None:
    # A date in a header is the courier's real one.
    world = new_world(start=datetime.now(UTC) - HOUR)
    orders = [world.place(evenly("created", start=world.clock(), apart=HOUR)) for _ in range(3)]
    world.clock.move(HOUR)
    world.courier.faults.next(1, "too_many", **options)
    assert world.poll_due() == 1
    state = world.state()
    assert (state.pause_reason, state.failures) == ("busy", 0)
    assert state.paused_until is not None
    assert state.paused_until - world.clock() == pytest.approx(seconds * SECOND, abs=SECOND)
    world.clock.move((seconds - 2) * SECOND)
    assert world.poll_due() == 0
    world.clock.move(4 * SECOND)
    assert world.poll_due() == 3
    assert world.state().paused_until is None
    assert {world.poll(order.id).failures for order in orders} == {0}


@pytest.mark.parametrize("status", [401, 403])
def test_a_courier_that_refuses_our_credentials_is_polled_once_an_hour(
    world: World, status: int
) -> None:
    for _ in range(3):
        world.place(evenly("created", start=START, apart=HOUR))
    world.courier.faults.always("status", status=status)
    requests = []
    for minute in range(0, 181, 5):
        world.clock.move_to(START + HOUR + minute * MINUTE)
        requests.append(world.poll_due())
    assert sum(requests) == 4
    assert world.state().pause_reason == "refused"


def test_new_credentials_are_tried_at_once(world: World) -> None:
    world.place(evenly("created", start=START, apart=HOUR))
    world.courier.faults.next(1, "status", status=401)
    world.clock.move_to(START + HOUR)
    assert [world.poll_due(), world.poll_due()] == [1, 0]
    with world.sessions.begin() as session:
        circuit_breaker.start_account(session, world.account.slug, world.clock())
    assert world.poll_due() == 1


@pytest.mark.parametrize("fault", ["status", "cut", "broken_json", "html", "redirect", "bomb"])
def test_a_courier_that_fails_gets_a_pause_and_then_one_request_at_a_time(
    new_world: MakeWorld, fault: str
) -> None:
    world = new_world(Cottoncast)
    orders = [world.place(evenly("N", start=START, apart=HOUR)) for _ in range(20)]
    world.clock.move_to(START + 2 * HOUR)
    options = {"status": 503} if fault == "status" else {}
    world.courier.faults.always(fault, **options)
    requests = world.poll_due()
    assert requests <= FAILURES + 1
    state = world.state()
    assert (state.pause_reason, state.failures) == ("failing", FAILURES)
    for wait in (30, 60, 120):
        paused_until = world.state().paused_until
        assert paused_until is not None
        assert paused_until - world.clock() == wait * SECOND
        world.clock.move_to(paused_until)
        assert world.poll_due() == 1
    world.courier.faults.clear()
    world.clock.move(PAUSES.maximum)
    world.poll_due()
    world.clock.move(HOUR)
    world.poll_due()
    state = world.state()
    assert (state.failures, state.paused_until, state.pause_reason) == (0, None, None)
    assert {world.order(order.id).status for order in orders} == {"info_received"}
    assert {world.poll(order.id).stopped_at for order in orders} == {None}


def test_an_order_that_the_courier_has_reported_is_not_given_up_because_it_is_unknown_now(
    world: World,
) -> None:
    """A wrong API_URL, or a courier's bad day, would give up all of them."""
    order = world.place(evenly("created", "delivered", start=START, apart=20 * DAY))
    world.live_until(START + 3 * DAY)
    world.courier.faults.always("status", status=404)
    world.live_until(START + 13 * DAY)
    poll = world.poll(order.id)
    assert (poll.stopped_at, poll.due_at is None) == (None, False)
    assert poll.unknown_since is not None
    world.courier.faults.clear()
    world.live_until(START + 25 * DAY)
    assert world.order(order.id).status == "delivered"
    assert world.poll(order.id).unknown_since is None


def test_failures_of_the_courier_do_not_make_an_order_unknown(world: World) -> None:
    order = world.place(evenly("created", start=START, apart=HOUR))
    world.live_until(START + 3 * DAY)
    world.courier.faults.next(3, "status", status=500)
    world.courier.faults.next(1, "status", status=404)
    world.live_until(START + 4 * DAY)
    poll = world.poll(order.id)
    assert (poll.stopped_at, poll.failures) == (None, 0)


def test_an_end_that_an_unsigned_webhook_reported_is_polled_until_the_courier_knows_the_order(
    new_world: MakeWorld,
) -> None:
    world = new_world(changed={"COURIER_TIRAMIZOO_CONFIRM": "terminal"})
    order = world.courier.create(evenly("created", "delivered", start=START, apart=HOUR))
    world.clock.move_to(START + HOUR)
    world.courier.faults.next(4, "status", status=404)
    world.webhook(world.courier.webhook_message(order, 1).body)
    world.live_until(START + 12 * HOUR)
    source = world.order(order.id).source
    assert source is not None
    assert (source["kind"], source["trust"]) == ("webhook", "fetched")


def test_an_end_that_the_courier_never_confirms_is_given_up(new_world: MakeWorld) -> None:
    world = new_world(changed={"COURIER_TIRAMIZOO_CONFIRM": "terminal"})
    forged = world.courier.create(evenly("created", "delivered", start=START, apart=HOUR))
    world.clock.move_to(START + HOUR)
    world.courier.faults.always("status", status=404)
    world.webhook(world.courier.webhook_message(forged, 1).body)
    world.live_until(START + 4 * DAY)
    assert world.poll(forged.id).stop_reason == "given up: the courier does not know this order"


def test_an_answer_of_which_a_byte_changes_each_time_is_kept_once(world: World) -> None:
    order = world.place(evenly("created", start=START, apart=HOUR))
    show, count = world.courier.show, itertools.count()

    def restless(shown: Order) -> Answer:
        answer = show(shown)
        body = {**json.loads(answer.body), "server_time": next(count)}
        return replace(answer, body=json.dumps(body).encode())

    world.courier.show = restless  # type: ignore[method-assign, assignment]
    world.live_until(START + 3 * DAY)
    assert len(world.messages()) == 1
    assert world.poll(order.id).quiet == next(count) - 1 > 5


def test_one_order_whose_answers_cannot_be_used_slows_no_other(new_world: MakeWorld) -> None:
    world = new_world(Cottoncast)
    odd = [world.place(evenly("N", start=START, apart=HOUR)) for _ in range(8)]
    fine = [world.place(evenly("N", start=START, apart=HOUR)) for _ in range(8)]
    for order in odd:
        world.courier.faults.next(1, "other_order", path=f"/order/{order.id}")
    world.clock.move_to(START + 2 * HOUR)
    assert world.poll_due() == 16
    assert (world.state().failures, world.state().paused_until) == (0, None)
    assert {world.order(order.id).status for order in fine} == {"info_received"}


@pytest.mark.parametrize("fault", ["broken_json", "html", "wrong_shape", "other_order"])
def test_an_answer_that_cannot_be_used_is_quarantined_with_its_body_and_only_once(
    world: World, fault: str
) -> None:
    order = world.place(evenly("created", start=START, apart=HOUR))
    world.courier.faults.next(3, fault)
    world.live_until(START + 3 * HOUR)
    broken = [it for it in world.messages() if it.outcome == QUARANTINED]
    assert len(broken) == (3 if fault == "other_order" else 1)
    assert all(it.body and it.reason and it.kind == "poll" for it in broken)
    assert world.order(order.id).status == "info_received"


@pytest.mark.parametrize("fault", ["broken_json", "html", "wrong_shape", "other_order"])
def test_of_an_answer_that_cannot_be_used_nothing_is_kept_of_an_erased_order(
    world: World, fault: str
) -> None:
    world.place(evenly("created", start=START, apart=HOUR))
    with world.sessions.begin() as session:
        session.execute(text("UPDATE orders SET erased_at = created_at"))
    world.courier.faults.next(1, fault)
    world.live_until(START + 3 * HOUR)
    broken = [it for it in world.messages() if it.outcome == QUARANTINED]
    kept = [(it.body, it.request, it.reason) for it in broken]
    assert kept == [(None, None, UNREAD_ERASED)]


def test_an_answer_that_is_too_large_is_not_kept_at_all(world: World) -> None:
    order = world.place(evenly("created", start=START, apart=HOUR))
    world.courier.faults.next(1, "huge")
    world.live_until(START + HOUR)
    assert [it.outcome for it in world.messages()] == [APPLIED]
    assert world.order(order.id).status == "info_received"


# --- leases ---


def test_an_order_that_one_worker_polls_is_not_taken_by_another(world: World) -> None:
    world.place(evenly("created", start=START, apart=HOUR))
    slug, now = world.account.slug, START + HOUR
    with world.sessions.begin() as session:
        [lease] = leases.lease_orders(session, slug, now, 10)
        assert leases.lease_orders(session, slug, now, 10) == []
    with world.sessions.begin() as session:
        assert leases.lease_orders(session, slug, now + leases.LEASE_DURATION - SECOND, 10) == []
        [again] = leases.lease_orders(session, slug, now + leases.LEASE_DURATION, 10)
    assert again.order_id == lease.order_id


def restored(world: World) -> dict[tuple[str, str], float]:
    """What was lost and found, by account and kind."""
    with world.sessions() as session:
        return {
            (account, what): number
            for (name, account, what), number in totals.read_totals(session).items()
            if name == totals.MENDED
        }


@pytest.mark.parametrize("order_first", ["SET LOCAL enable_indexscan = off", "SELECT 1"])
def test_as_many_are_taken_as_are_wanted_however_postgresql_goes_about_it(
    world: World, order_first: str
) -> None:
    """Taken row by row inside a join, more than one was leased, and one polled."""
    for _ in range(20):
        world.place(evenly("created", start=START, apart=HOUR))
    off = ("hashjoin", "mergejoin", "material", "memoize", "bitmapscan", "indexonlyscan")
    for most in (1, 1, 3):
        with world.sessions.begin() as session:
            session.execute(text(order_first))
            for way in off:
                session.execute(text(f"SET LOCAL enable_{way} = off"))
            taken = leases.lease_orders(session, world.account.slug, START + HOUR, most)
        assert len(taken) == most
    with world.sessions() as session:
        assert (
            session.scalar(
                text("SELECT count(*) FROM polls WHERE leased_until > :at"), {"at": START + HOUR}
            )
            == 5
        )


def test_the_result_of_a_worker_whose_lease_ran_out_does_not_count(world: World) -> None:
    order = world.place(evenly("created", start=START, apart=HOUR))
    slug, now = world.account.slug, START + HOUR
    with world.sessions.begin() as session:
        [late] = leases.lease_orders(session, slug, now, 10)
    with world.sessions.begin() as session:
        leases.lease_orders(session, slug, now + leases.LEASE_DURATION, 10)
    assert restored(world) == {(slug, "leases"): 1}
    with world.sessions.begin() as session:
        recorder, message = world.poller.recorder, answer_message(world.account, b"{}", now, None)
        assert recorder.record_answers(session, [PollAnswer(late, message, None)]) == 0
        leases.release_leases(session, [late])
        recorder.record_failure(session, [late], now)
        recorder.record_unknown_order(session, late, now)
    poll = world.poll(order.id)
    assert (poll.leased_until, poll.failures) == (now + 2 * leases.LEASE_DURATION, 0)
    assert world.messages() == []


def test_what_was_planned_during_a_poll_stays_planned(world: World) -> None:
    order = world.place(evenly("created", "dispatched", start=START, apart=2 * HOUR))
    world.live_until(START + 2 * HOUR)
    world.clock.move_to(world.poll(order.id).due_at or START)
    with world.sessions.begin() as session:
        [lease] = leases.lease_orders(session, world.account.slug, world.clock(), 10)
    asked_at = world.clock()
    world.clock.move(SECOND)
    world.webhook(world.courier.webhook_message(order, 1).body)
    planned = world.poll(order.id).due_at
    with world.sessions.begin() as session:
        message = answer_message(world.account, b"{}", asked_at, None)
        answer = PollAnswer(lease, message, None)
        assert world.poller.recorder.record_answers(session, [answer]) == 1
    assert world.poll(order.id).due_at == planned
    assert world.poll(order.id).leased_until is None


def test_an_id_of_which_no_address_can_be_made_costs_no_request(new_world: MakeWorld) -> None:
    world = new_world(Cottoncast)
    world.register("..")
    world.clock.move_to(START + 2 * HOUR)
    assert world.poll_due() == 0
    assert (world.state().requests, world.state().paused_until) == (0, None)
    assert world.poll("..").unknown_since is not None


def test_four_workers_together_keep_to_the_pace_that_their_account_bears(
    new_world: MakeWorld,
) -> None:
    world = new_world(Cottoncast)
    orders = [world.place(evenly("N", start=START, apart=HOUR)) for _ in range(7)]
    world.clock.move_to(START + 2 * HOUR)
    pollers = [world.new_poller() for _ in range(4)]

    until = time.monotonic() + PATIENCE

    def run(poller: AccountPoller) -> None:
        while len(world.courier.ledger) < len(orders) and time.monotonic() < until:
            poller.poll_due_orders()
            time.sleep(0.02)
        poller.courier.close()

    at_once(*(partial(run, poller) for poller in pollers))
    lines = world.courier.ledger.lines()
    assert {it.path for it in lines} == {f"/order/{order.id}" for order in orders}
    assert len(lines) == len(orders)
    # Two a second, so three seconds lie between the first two and the last.
    assert lines[-1].at - lines[0].at > 2


# --- many at once ---


def test_two_thousand_due_orders_cost_little_more_than_twenty_requests(world: World) -> None:
    world.place_many(2000, evenly("created", "dispatched", start=START, apart=10 * MINUTE))
    world.clock.move_to(START + HOUR)
    requests = world.poll_due()
    assert 20 <= requests <= 25
    with world.sessions() as session:
        assert leases.find_due_orders(session, world.account.slug, world.clock(), 10) == []
    assert len(world.messages()) == 2000
    assert world.state().requests == requests
    assert world.state().requests_saved == 2000 - requests


def test_what_no_page_holds_is_polled_by_itself(world: World) -> None:
    placed = [world.place(evenly("created", start=START, apart=HOUR)) for _ in range(20)]
    old = world.courier.create(evenly("created", start=START - 90 * DAY, apart=HOUR))
    world.register(old.id)
    world.clock.move_to(START + HOUR)
    assert world.poll_due() == 2
    assert {world.order(one.id).status for one in [*placed, old]} == {"info_received"}


def test_a_list_that_is_longer_than_reckoned_is_left_for_single_requests(world: World) -> None:
    for _ in range(1000):
        world.courier.create(evenly("created", start=START + SECOND, apart=HOUR))
    for _ in range(8):
        world.place(evenly("created", start=START, apart=HOUR))
    world.clock.move_to(START + HOUR)
    world.courier.newest_first = True  # type: ignore[attr-defined]
    assert world.poll_due() == 1 + 8
    assert len(world.messages()) == 8


@pytest.mark.parametrize("fault", ["html", "wrong_shape", "broken_json", "huge"])
def test_a_list_that_cannot_be_used_is_done_without(world: World, fault: str) -> None:
    for _ in range(8):
        world.place(evenly("created", start=START, apart=HOUR))
    world.courier.faults.next(1, fault)
    world.clock.move_to(START + HOUR)
    assert world.poll_due() == 1 + 8
    assert [it.outcome for it in world.messages()] == [APPLIED] * 8
    assert world.state().requests == 9


def test_what_lists_do_not_hold_is_polled_once_each(world: World) -> None:
    """Shops keep orders that their courier forgot: one by one, they would outlast the leases."""
    for number in range(60):
        world.register(f"forgotten-{number}")
    world.place_many(60, evenly("created", start=START, apart=HOUR))
    world.clock.move_to(START + HOUR)
    world.poll_due()
    shown = [it.path for it in world.courier.ledger.lines() if "forgotten" in it.path]
    assert len(shown) == len(set(shown)) == 120


def test_no_list_is_fetched_for_orders_that_the_courier_never_knew(world: World) -> None:
    for number in range(8):
        world.register(f"nobody-knows-{number}")
    requests = []
    for _ in range(3):
        with world.sessions.begin() as session:
            session.execute(text("UPDATE polls SET due_at = :now"), {"now": world.clock()})
        requests.append(world.poll_due())
        world.clock.move(HOUR)
    # Each is polled by its id, and then as the shop's own number.
    assert requests == [1 + 2 * 8, 2 * 8, 2 * 8]


def test_orders_that_their_courier_forgot_for_a_while_are_listed_again(world: World) -> None:
    """Otherwise a wrong API_URL would cost a request for each order once it is corrected."""
    orders = [world.place(evenly("created", start=START, apart=HOUR)) for _ in range(12)]
    for order in orders[:6]:
        world.webhook(world.courier.webhook_message(order, 0).body)
    world.live_until(START + HOUR)
    world.courier.faults.always("status", status=404)
    world.live_until(START + 4 * HOUR)
    assert len(world.courier.ledger) > 24
    with world.sessions.begin() as session:
        session.execute(text("UPDATE polls SET due_at = :now"), {"now": world.clock()})
    world.courier.faults.clear()
    world.close()
    world.poller = world.new_poller()
    assert world.poll_due() == 1


def test_a_list_is_broken_off_where_the_worker_is_to_stop(world: World) -> None:
    world.place_many(300, evenly("created", start=START, apart=HOUR))
    world.clock.move_to(START + HOUR)
    answer = world.courier.route

    def stop(request: Request) -> Answer:
        world.stop.set()
        return answer(request)

    world.courier.route = stop  # type: ignore[method-assign]
    world.poller.poll_due_orders()
    assert len(world.courier.ledger) == 1
    with world.sessions() as session:
        assert len(leases.find_due_orders(session, world.account.slug, world.clock(), 1000)) == 200


# --- confirmation of unsigned webhooks ---


@pytest.mark.parametrize(
    ("confirm", "states", "trust"),
    [
        ("none", 2, "token"),
        ("all", 2, "fetched"),
        ("terminal", 2, "token"),
        ("terminal", 3, "fetched"),
    ],
)
def test_what_an_unsigned_webhook_reported_is_confirmed_by_a_poll_where_wanted(
    new_world: MakeWorld, confirm: str, states: int, trust: str
) -> None:
    world = new_world(changed={"COURIER_TIRAMIZOO_CONFIRM": confirm})
    life = evenly("created", "dispatched", "delivered", start=START, apart=HOUR)
    order = world.courier.create(life)
    world.clock.move_to(life[states - 1].at)
    world.webhook(world.courier.webhook_message(order, states - 1).body)
    source = world.order(order.id).source
    assert source is not None
    assert source["trust"] == "token"
    version = world.order(order.id).version
    world.poll_due()
    now = world.order(order.id)
    assert now.source is not None
    assert (now.source["kind"], now.source["trust"]) == ("webhook", trust)
    assert now.version == version + (trust == "fetched")
    assert len(world.courier.ledger) == (trust == "fetched")
    assert world.state().missed == 0


def test_forged_webhooks_cause_no_storm_of_requests(new_world: MakeWorld) -> None:
    world = new_world(changed={"COURIER_TIRAMIZOO_CONFIRM": "all"})
    order = world.courier.create(evenly("created", "dispatched", start=START, apart=HOUR))
    for number in range(50):
        body = world.courier.webhook_message(order, 0).body
        world.webhook(body.replace(b'"description": null', f'"description": "{number}"'.encode()))
        world.poll_due()
        world.clock.move(SECOND)
    assert len(world.courier.ledger) <= 3


# --- after an outage ---


def test_after_an_outage_of_ours_every_open_order_is_due_at_once(world: World) -> None:
    life = evenly("created", "dispatched", "delivered", start=START, apart=30 * HOUR)
    order = world.place(life)
    over = world.place(evenly("created", "cancelled", start=START, apart=MINUTE))
    world.live_until(START + 29 * HOUR)
    world.check_for_outage()
    assert shortly(world, order.id) > HOUR
    world.clock.move(MINUTE)
    assert world.check_for_outage() == 0
    world.clock.move(3 * MINUTE)
    assert world.check_for_outage() == 1
    assert shortly(world, order.id) == timedelta()
    assert world.poll(over.id).finished_at is not None


def test_what_was_planned_by_a_clock_that_was_wrong_is_planned_anew(world: World) -> None:
    order = world.place(evenly("created", "dispatched", start=START, apart=5 * HOUR))
    world.live_until(START + HOUR)
    world.check_for_outage()
    right = world.clock()
    world.clock.move(400 * DAY)
    world.check_for_outage()
    world.courier.faults.next(1, "too_many", seconds=86_400)
    world.poll_due()
    with world.sessions.begin() as session:
        assert leases.lease_orders(session, world.account.slug, world.clock(), 10)
    world.clock.move_to(right + MINUTE)
    assert world.poll_due() == 0
    assert world.check_for_outage() == 1
    world.poll_due()
    world.clock.move_to(START + 6 * HOUR)
    world.poll_due()
    assert world.order(order.id).status == "awaiting_pickup"


def test_clocks_that_differ_a_little_are_no_outage(world: World) -> None:
    world.place(evenly("created", start=START, apart=HOUR))
    world.live_until(START + HOUR)
    world.check_for_outage()
    world.clock.move(-10 * MINUTE)
    assert world.check_for_outage() == 0
    assert world.state().recovered_at is None


def webhooks_every_hour(world: World, since: datetime, until: datetime) -> None:
    """Count a webhook in every hour, as the history of the account has it."""
    add = """
        INSERT INTO tallies (account, at, hooks)
        SELECT :account, at, 1 FROM generate_series(CAST(:since AS timestamptz), :until, '1 hour')
            AS at
    """
    with world.sessions.begin() as session:
        about = {"account": world.account.slug, "since": since, "until": until}
        session.execute(text(add), about)
        session.execute(
            text("UPDATE accounts SET last_hook_at = :until, hooks = 1 WHERE account = :account"),
            about,
        )


def recovered_at(world: World, hours: float) -> datetime | None:
    """When open orders were last made due, after a check so many hours after START."""
    world.clock.move_to(START + hours * HOUR)
    with world.sessions.begin() as session:
        # Workers were running all the time.
        at = {"at": world.clock() - MINUTE}
        session.execute(text("UPDATE accounts SET tended_at = :at"), at)
    world.check_for_outage()
    return world.state().recovered_at


def test_an_unusual_silence_makes_open_orders_due_once(world: World) -> None:
    # About as many as send a webhook in every hour.
    orders = [world.place(evenly("created", start=START, apart=HOUR)) for _ in range(6)]
    webhooks_every_hour(world, START - 28 * DAY, START)
    with world.sessions.begin() as session:
        session.execute(text("UPDATE polls SET due_at = :later"), {"later": START + 2 * DAY})
    assert recovered_at(world, 3) is None
    assert {shortly(world, order.id) > timedelta() for order in orders} == {True}
    noticed = recovered_at(world, 8)
    assert noticed == world.clock()
    assert {shortly(world, order.id) > timedelta() for order in orders} == {False}
    assert recovered_at(world, 20) == noticed


def test_a_silence_after_a_long_outage_of_the_courier_is_noticed(world: World) -> None:
    """The longest silence ever was remembered once, and after it no shorter one was unusual."""
    world.place(evenly("created", start=START, apart=HOUR))
    webhooks_every_hour(world, START - 60 * DAY, START - 22 * DAY)
    webhooks_every_hour(world, START - 12 * DAY, START)
    assert recovered_at(world, 24) is None
    assert recovered_at(world, 5 * 24) == world.clock()


def test_orders_from_before_the_account_could_be_polled_are_taken_in(
    new_world: MakeWorld, sessions: sessionmaker[Session]
) -> None:
    off = new_world(changed={})
    order = off.courier.create(evenly("created", "delivered", start=START, apart=HOUR))
    off.webhook(off.courier.webhook_message(order, 0).body)
    with sessions.begin() as session:
        session.execute(text("DELETE FROM polls"))
    assert off.check_for_outage() == 1
    off.clock.move_to(START + HOUR)
    off.poll_due()
    assert off.order(order.id).status == "delivered"


def test_all_open_orders_become_due_a_chunk_at_a_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage_recovery, "CHUNK", 3)
    monkeypatch.setattr(outage_recovery, "WORK_SECONDS", 0)
    over = world.place(evenly("created", "cancelled", start=START, apart=MINUTE))
    world.place_many(10, evenly("created", start=START, apart=HOUR))
    world.live_until(START + 2 * HOUR)
    for _ in range(20):
        world.check_for_outage()
    world.clock.move(10 * MINUTE)
    due: list[int] = []
    while not due or due[-1]:
        due.append(world.check_for_outage())
    assert due == [3, 3, 3, 1, 0]
    assert world.poll(over.id).due_at == START + MINUTE + DAY


def test_an_account_that_cannot_be_checked_is_polled_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> int:
        raise TimeoutError

    order = world.place(evenly("created", start=START, apart=HOUR))
    world.clock.move_to(START + HOUR)
    monkeypatch.setattr(world.poller.outages, "check", fail)
    world.poller.start_threads()
    wait_until(lambda: len(world.courier.ledger) > 0)
    world.poller._threads.shutdown()
    assert world.poll(order.id).polled_at == world.clock()


def test_an_order_whose_plan_was_lost_is_restored(world: World) -> None:
    order = world.place(evenly("created", start=START, apart=HOUR))
    with world.sessions.begin() as session:
        session.execute(text("UPDATE polls SET due_at = NULL"))
    assert world.check_for_outage() == 1
    assert shortly(world, order.id) == timedelta()
    assert restored(world) == {(world.account.slug, "next_polls"): 1}


@pytest.mark.parametrize("kind", [Tiramizoo, Cottoncast, ShipmentAPI])
def test_rebuild_reads_answers_as_they_were_folded(
    new_world: MakeWorld, environ: Mapping[str, str], kind: type[Courier]
) -> None:
    world = new_world(kind)
    first = {"tiramizoo": "created", "cottoncast": "N", "shipmentapi": "accepted"}[kind.name]
    last = "D" if kind is Cottoncast else "delivered"
    orders = [world.place(evenly(first, last, start=START, apart=2 * HOUR)) for _ in range(3)]
    if kind is Tiramizoo:
        placed = world.courier.create(evenly(first, last, start=START, apart=2 * HOUR))
        world.register(placed.names["identifier"])
    world.webhook(world.courier.webhook_message(orders[0], 0).body)
    world.live_until(START + 8 * HOUR)
    assert {world.order(order.id).status for order in orders} == {"delivered"}
    env = {**environ, **world.courier.environ()}
    done = CliRunner().invoke(main, ["rebuild", "--dry-run"], env=env)
    assert done.exit_code == 0, done.output
    assert "0 would change" in done.output
