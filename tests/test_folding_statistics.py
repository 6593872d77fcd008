"""Tallies, counts and unmapped words: what a drain writes of its batches, and how it is read."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from receiver.accounts.account_status import list_account_statuses
from receiver.db.models import LeftOutField, Message, Order, Tally, UnmappedWord
from receiver.inbox.accept import IncomingMessage, store_messages
from receiver.settings import Settings
from receiver.stats import totals
from receiver.stats.history import KEPT_FOR, delete_old_history
from tests.bodies import after, life, raw, shipmentapi_order, tiramizoo_order
from workers.folding.drain import drain_batch

Sessions = sessionmaker[Session]


def put(sessions: Sessions, minutes: float, body: Any, account: str = "tiramizoo") -> None:
    """A hook that arrives so many minutes after START."""
    sent = body if isinstance(body, bytes) else raw(body)
    with sessions.begin() as session:
        store_messages(
            session, [IncomingMessage(account, "orders", "webhook", "token", sent, after(minutes))]
        )


def drained(sessions: Sessions, settings: Settings, minutes: float) -> None:
    while drain_batch(sessions, settings, after(minutes)):
        pass


def tallies(sessions: Sessions, account: str = "tiramizoo") -> list[Tally]:
    """The rows of an account, the oldest first."""
    with sessions() as session:
        rows = select(Tally).where(Tally.account == account).order_by(Tally.at)
        return list(session.scalars(rows))


def counted(sessions: Sessions) -> dict[totals.TotalKey, float]:
    with sessions() as session:
        return totals.read_totals(session)


def test_a_batch_is_tallied_by_when_its_messages_came(
    sessions: Sessions, settings: Settings
) -> None:
    put(sessions, 0.5, tiramizoo_order("a", life("created", "dispatched", minutes=0.25)))
    put(sessions, 7, b"{}")
    put(sessions, 8, tiramizoo_order("b", {"created": after(6)}))
    drained(sessions, settings, 9)
    first, second = tallies(sessions)
    # What is news in the first hook is `dispatched`, a quarter of a minute old.
    assert (first.at, first.hooks, first.quarantined, first.events) == (after(0), 1, 0, 2)
    assert (first.waited, first.longest_wait) == (510, 510)
    assert (first.lagged, first.lag, first.longest_lag) == (1, 15, 15)
    assert (second.at, second.hooks, second.quarantined, second.events) == (after(5), 2, 1, 1)
    assert (second.waited, second.longest_wait) == (120 + 60, 120)
    assert (second.lagged, second.lag, second.longest_lag) == (1, 120, 120)


def test_tallies_add_up_over_batches_steps_and_accounts(
    sessions: Sessions, settings: Settings
) -> None:
    for number in range(3):
        put(sessions, number * 5, tiramizoo_order(f"order {number}", {"created": after(number)}))
        drained(sessions, settings, 20)
    put(sessions, 1, shipmentapi_order("S-1"), account="shipmentapi")
    drained(sessions, settings, 20)
    put(sessions, 2, b"{}")
    drained(sessions, settings, 22)
    assert [(row.hooks, row.events) for row in tallies(sessions)] == [(2, 1), (1, 1), (1, 1)]
    assert [row.longest_wait for row in tallies(sessions)] == [20 * 60, 15 * 60, 10 * 60]
    [own] = tallies(sessions, "shipmentapi")
    assert (own.hooks, own.events, own.lagged) == (1, 1, 0)


def test_a_message_that_was_sent_back_is_tallied_once(
    sessions: Sessions, settings: Settings
) -> None:
    put(sessions, 0, b"{}")
    drained(sessions, settings, 1)
    with sessions.begin() as session:
        message = session.scalars(select(Message)).one()
        message.outcome, message.retried_at = "pending", after(2)
    drained(sessions, settings, 3)
    [row] = tallies(sessions)
    assert (row.hooks, row.quarantined) == (1, 1)
    assert counted(sessions)["processed", "tiramizoo", "quarantined"] == 2


def test_counts_hold_batches_outcomes_and_how_long_messages_waited(
    sessions: Sessions, settings: Settings
) -> None:
    put(sessions, 0, tiramizoo_order("a", {"created": after(-1)}))
    put(sessions, 0, tiramizoo_order("b", {"created": after(-1)}))
    drained(sessions, settings, 1)
    put(sessions, 1, b"{}")
    drained(sessions, settings, 3000)
    found = counted(sessions)
    assert found["batches", "", ""] == 2
    assert found["size", "", "5"] == 1
    assert found["processed", "tiramizoo", "applied"] == 2
    assert found["wait", "tiramizoo", "60"] == 2
    assert found["wait", "tiramizoo", "+Inf"] == 1
    assert found["wait_sum", "tiramizoo", ""] == 2 * 60 + 2999 * 60
    assert found["lag", "tiramizoo", "60"] == 2


def test_a_word_that_no_status_stands_for_is_kept_with_its_latest_order(
    sessions: Sessions, settings: Settings
) -> None:
    for number in range(2):
        order = tiramizoo_order(f"order {number}", {"created": after(0)}, state="teleported")
        put(sessions, number, order)
    drained(sessions, settings, 5)
    with sessions() as session:
        word = session.scalars(select(UnmappedWord)).one()
        order_id = session.scalar(select(Order.courier_order_id).where(Order.id == word.order_id))
    assert (word.account, word.word, word.times) == ("tiramizoo", "teleported", 2)
    assert (word.first_at, word.last_at) == (after(0), after(1))
    assert order_id == "order 1"


def test_old_tallies_are_forgotten(sessions: Sessions, settings: Settings) -> None:
    put(sessions, 0, b"{}")
    put(sessions, 10, b"[]")
    drained(sessions, settings, 15)
    with sessions.begin() as session:
        delete_old_history(session, after(5) + KEPT_FOR)
    assert [row.at for row in tallies(sessions)] == [after(10)]


def test_what_decoding_left_out_stands_on_the_message_and_is_counted_by_field(
    sessions: Sessions, settings: Settings
) -> None:
    odd = {"external_id": "x" * 256, "packages": [{"state": "pending"}, {"width": 1}]}
    put(sessions, 0, tiramizoo_order("a", {"created": after(0)}) | odd)
    put(sessions, 1, tiramizoo_order("b", {"created": after(1)}) | {"packages": odd["packages"]})
    put(sessions, 2, tiramizoo_order("c", {"created": after(2)}))
    drained(sessions, settings, 3)
    with sessions() as session:
        messages = session.scalars(select(Message).order_by(Message.id)).all()
        rows = session.scalars(select(LeftOutField).order_by(LeftOutField.field)).all()
        statuses = list_account_statuses(session, settings.accounts, after(4))
    assert [message.outcome for message in messages] == ["applied"] * 3
    fields = [[item["field"] for item in message.left_out or ()] for message in messages]
    of_packages = ["packages.0.identifier", "packages.1.identifier"]
    assert fields == [["external_id", *of_packages], of_packages, []]
    assert messages[2].left_out is None
    assert [(row.field, row.count, row.first_at, row.last_at) for row in rows] == [
        ("external_id", 1, after(0), after(0)),
        ("packages.identifier", 2, after(0), after(1)),
    ]
    (shown,) = [one for one in statuses["couriers"] if one["account"] == "tiramizoo"]
    assert shown["left_out"] == [
        {"field": "external_id", "count": 1},
        {"field": "packages.identifier", "count": 2},
    ]
