"""What an outage of ours costs: with Tiramizoo's retries alone and with polling, over 25 days.

Only the clock is simulated: webhooks and poll answers go over HTTP, and orders through the inbox.
deploy/docs/polling.md shows the table that this prints.
"""

from datetime import datetime, timedelta

from sqlalchemy import Engine, select

from receiver.couriers import DRIVERS
from receiver.db.models import Order
from receiver.inbox.accept import IncomingMessage, store_messages
from tests.bodies import START
from tests.emptying import empty
from tests.polling import DAY, HOUR, MakeWorld, World
from tests.sandbox import evenly
from tests.sandbox.server import Server
from tests.sandbox.wire import Answer, Request
from tests.service import ROOT

WORDS = DRIVERS["tiramizoo"].words
STATES = ("created", "dispatched", "picked_up", "delivered")
ORDERS = 8
OUTAGES = (HOUR, 6 * HOUR, 24 * HOUR)


def minutes_until_right(world: World, outage: timedelta, asking: bool) -> int:
    """How long after an outage some order was still not where its courier had it, in minutes."""
    began = START + 4 * HOUR
    ended = began + outage

    def receive(request: Request, at: float) -> Answer:
        if began <= world.clock() < ended:
            return Answer(503, b"")
        with world.sessions.begin() as session:
            incoming = IncomingMessage(
                world.account.slug, "orders", "webhook", "token", request.body, world.clock()
            )
            store_messages(session, [incoming])
        return Answer(200, b'{"status":"ok"}')

    server = Server(receive)
    server.start()
    try:
        world.courier.webhook_url = f"http://127.0.0.1:{server.port}/webhooks"
        for number in range(ORDERS):
            apart = 0.7 * HOUR * (number + 1)
            world.place(evenly(*STATES, start=START, apart=apart))
        return live(world, began, ended, asking)
    finally:
        server.stop()


def live(world: World, began: datetime, ended: datetime, asking: bool) -> int:
    right_at = ended
    recovered = False
    world.check_for_outage()
    while world.clock() < START + 25 * DAY:
        down = began <= world.clock() < ended
        world.courier.webhooks.send_due()
        if not down:
            world.drain()
            if asking:
                if world.clock() >= ended and not recovered:
                    recovered = bool(world.check_for_outage())
                world.poll_due()
        is_wrong = world.clock() >= ended and wrong(world)
        following = [world.courier.webhooks.next_due(), *([world.next_due()] if asking else [])]
        ahead = [at for at in following if at is not None and at > world.clock()]
        ahead += [at for at in (began, ended) if at > world.clock()]
        if not ahead:
            break
        if is_wrong:
            # Until whatever comes next.
            right_at = min(ahead)
        world.clock.move_to(min(ahead))
    assert not wrong(world)
    return round((right_at - ended) / timedelta(minutes=1))


def wrong(world: World) -> bool:
    with world.sessions() as session:
        known = {order.courier_order_id: order.status for order in session.scalars(select(Order))}
    return any(
        known.get(order.id) != WORDS[reached[-1].state]
        for order in world.courier.orders
        if (reached := order.reached(world.clock()))
    )


def table(figures: list[tuple[timedelta, int, int]]) -> list[str]:
    return [
        "| Ordertrail was down for | right again by retries alone | and with polling |",
        "|---|---|---|",
        *(
            f"| {outage // HOUR} h | after {alone // 60} h {alone % 60:02} min | at once |"
            if asking == 0
            else f"| {outage // HOUR} h | after {alone // 60} h {alone % 60:02} min"
            f" | after {asking} min |"
            for outage, alone, asking in figures
        ),
    ]


def test_after_an_outage_asking_spares_the_wait_for_retries(
    new_world: MakeWorld, engine: Engine
) -> None:
    figures = []
    for outage in OUTAGES:
        times = []
        for asking in (False, True):
            world = new_world()
            times.append(minutes_until_right(world, outage, asking))
            with engine.begin() as connection:
                empty(connection)
        figures.append((outage, times[0], times[1]))
    print("\n".join(table(figures)))  # noqa: T201 (what the page shows)
    for _, alone, asked in figures:
        assert asked <= 1
        assert alone >= 20
    readme = (ROOT / "deploy/docs/polling.md").read_text(encoding="utf-8")
    assert "\n".join(table(figures)) in readme
