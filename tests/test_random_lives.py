"""Random lives: half of all webhooks are lost, the rest late, shuffled and repeated, and polls tell
the courier's truth. At the end every order says what its courier says.

LIVES is the number of lives for each courier, SEED chooses other ones. A few lives also go the
whole way, over HTTP and through PostgreSQL.
"""

import os
import random
from collections import deque
from collections.abc import Sequence
from datetime import timedelta

import pytest

from receiver.inbox.accept import IncomingMessage, store_messages
from receiver.orders.poll_plan import schedule_poll_now
from tests.bodies import START
from tests.polling import HOUR, MINUTE, MakeWorld, World
from tests.random_lives import (
    COURIERS,
    END,
    REFRESH,
    Follower,
    random_life,
    what_happens,
    wrong_end,
)
from tests.sandbox import Clock, Order

LIVES = int(os.environ.get("LIVES", "60"))
WHOLE_WAY = int(os.environ.get("WHOLE_WAY", "5"))
SEED = int(os.environ.get("SEED", "1"))
# Webhooks are stored when they arrive; every so often they are folded, and due orders polled.
SLOT, QUIET_SLOT = timedelta(seconds=10), 10 * MINUTE


@pytest.mark.timeout(120 + LIVES)
@pytest.mark.parametrize("name", COURIERS)
def test_every_order_ends_with_what_its_courier_says(name: str) -> None:
    chance, clock = random.Random(f"{name} {SEED}"), Clock(START)
    courier = COURIERS[name](now=clock, seed=SEED)
    wrong = []
    for _ in range(LIVES):
        order = courier.create(random_life(name, chance))
        follower = Follower(courier, order, clock)
        follower.follow([*what_happens(order, courier.reported_steps(order), chance)])
        wrong += [end for end in [wrong_end(order, follower.state)] if end is not None]
    print(f"{name}: {LIVES - len(wrong)} of {LIVES} lives end right")  # noqa: T201 (seen with -s)
    assert not wrong, "\n".join(wrong[:20])


def live(world: World, orders: Sequence[Order], chance: random.Random) -> None:
    """Let webhooks arrive and polls fall due until the courier's END."""
    courier, clock = world.courier, world.clock
    events = deque(
        sorted(
            (at, place, number)
            for place, order in enumerate(orders)
            for at, number in what_happens(order, courier.reported_steps(order), chance)
        )
    )
    end = START + END[courier.name]
    trust = "signed" if courier.signs else "token"
    while clock() < end:
        slot = SLOT if clock() < START + HOUR else QUIET_SLOT
        due = [at for at in (world.next_due(), events[0][0] if events else None) if at]
        until = min(max(min(due, default=end), clock()) + slot, end)
        while events and events[0][0] <= until:
            at, place, number = events.popleft()
            clock.move_to(max(at, clock()))
            with world.sessions.begin() as session:
                if number == REFRESH:
                    schedule_poll_now(session, world.order(orders[place].id), clock(), 1.0)
                    continue
                body = courier.webhook_message(orders[place], number).body
                message = IncomingMessage(
                    world.account.slug, "orders", "webhook", trust, body, received_at=clock()
                )
                store_messages(session, [message])
        world.drain()
        clock.move_to(until)
        world.poll_due()


@pytest.mark.timeout(120 + 10 * WHOLE_WAY)
@pytest.mark.parametrize("name", COURIERS)
def test_they_do_so_over_http_and_through_postgresql(new_world: MakeWorld, name: str) -> None:
    world = new_world(COURIERS[name], seed=SEED)
    chance = random.Random(f"{name} {SEED}")
    orders = [world.place(random_life(name, chance)) for _ in range(WHOLE_WAY)]
    live(world, orders, chance)
    ends = [wrong_end(order, world.order(order.id)) for order in orders]
    assert [end for end in ends if end is not None] == []
