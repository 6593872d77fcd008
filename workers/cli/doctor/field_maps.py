"""Check accounts' field maps: are words mapped, and what do the maps make of the last bodies."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select, union_all
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import aliased

from receiver.cli.session import open_database
from receiver.couriers import DRIVERS
from receiver.couriers.field_map.trial import MapTrial
from receiver.couriers.snapshot import ZONE_ASSUMED
from receiver.db.models import APPLIED, PARKED, QUARANTINED, Message
from receiver.errors import UnreadableBody
from receiver.inbox.content import parse_content
from receiver.settings import Account, Settings
from receiver.text import count_noun
from workers.cli.doctor.findings import OK, WARNING, Finding, Findings

# How many of an account's messages are read again.
MOST_BODIES = 20
MOST_REASONS = 3


@dataclass
class Readings:
    """What a map made of the last bodies.

    unreadable  why bodies or orders cannot be read
    left_out    in how many orders each field was found and could not be read
    missing     in how many readable orders the expression of each field found nothing
    zoneless    of how many readable orders the time had no zone
    """

    bodies: int = 0
    orders: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    unmapped_words: Counter[str] = field(default_factory=Counter)
    zoneless: int = 0

    def add(self, trial: MapTrial) -> None:
        """Add what a map made of one body."""
        self.bodies += 1
        self.orders += sum(order.snapshot is not None for order in trial.orders)
        problems = [trial.problem, *(order.problem for order in trial.orders)]
        self.unreadable.update(filter(None, problems))
        self.left_out.update({item.field.split(".")[-1] for item in trial.left_out})
        for order in trial.orders:
            if order.snapshot is not None:
                self.missing.update(order.missing)
                self.zoneless += ZONE_ASSUMED in order.snapshot.events[0].flags
        self.unmapped_words.update(trial.unmapped_words)


def check_field_maps(settings: Settings, has_database: bool) -> Findings:
    for account in settings.accounts.values():
        driver = DRIVERS[account.driver]
        if driver.try_field_map is None:
            continue
        if not driver.words_with(account.field_map):
            seen = "no `statuses`: every word of the courier is unknown, and so is every order"
            advice = "Map its words to ours, which `ordertrail statuses` lists."
            yield Finding(account.env_name("FIELDS"), WARNING, seen, advice)
        if has_database:
            yield from _judge(account, _read_last_bodies(settings, account))


def _read_last_bodies(settings: Settings, account: Account) -> Readings:
    driver = DRIVERS[account.driver]
    assert driver.try_field_map is not None  # noqa: S101 (checked by the caller)
    readings = Readings()
    for row in _load_last_messages(settings, account):
        polled = row.courier_order_id if row.kind == "poll" else None
        context = account.message_context(row.received_at, row.kind, polled or "")
        try:
            if driver.api is not None and row.kind == "poll":
                body = parse_content(row.body, driver.api.answer_body)
            else:
                body = parse_content(row.body, driver.topics["orders"].body)
        except UnreadableBody:
            # Not the map's fault: the courier was answered 400.
            continue
        readings.add(driver.try_field_map(body, context))
    return readings


def _load_last_messages(settings: Settings, account: Account) -> Sequence[Any]:
    """Load the newest messages that still have a body; none where the database cannot be read.

    The check of PostgreSQL reports that it cannot.
    """
    columns = (Message.id, Message.kind, Message.body, Message.received_at)
    # An index has the messages of an account by their outcome.
    newest = union_all(
        *(
            select(*columns, Message.courier_order_id)
            .where(Message.account == account.slug, Message.outcome == outcome)
            .where(Message.body.is_not(None))
            .order_by(Message.id.desc())
            .limit(MOST_BODIES)
            for outcome in (APPLIED, QUARANTINED, PARKED)
        )
    ).subquery()
    message = aliased(newest)
    try:
        with open_database(settings) as sessions, sessions() as session:
            rows = select(message).order_by(message.c.id.desc()).limit(MOST_BODIES)
            return session.execute(rows).all()
    except SQLAlchemyError:
        return ()


def _judge(account: Account, readings: Readings) -> Findings:
    if not readings.bodies:
        return
    name = account.env_name("FIELDS")
    bodies = "the last body" if readings.bodies == 1 else f"the last {readings.bodies} bodies"
    problems = list(_describe_problems(account, readings))
    if not problems:
        seen = f"{bodies}: {count_noun(readings.orders, 'order')} read, nothing left out"
        yield Finding(name, OK, seen)
    for seen, advice in problems:
        yield Finding(name, WARNING, f"in {bodies}, {seen}", advice)


def _describe_problems(account: Account, readings: Readings) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with an account's map, and what to do."""
    advice = f"Try it: ordertrail fields try --account {account.slug} --file BODY."
    if readings.unreadable:
        reasons = "; ".join(why for why, _ in readings.unreadable.most_common(MOST_REASONS))
        count = count_noun(readings.unreadable.total(), "order")
        yield f"{count} cannot be read: {reasons}", advice
    if readings.left_out:
        fields = ", ".join(f"{name} ({count})" for name, count in readings.left_out.most_common())
        yield f"left out: {fields}", advice
    # An expression of the account's own that never finds anything is probably misspelt.
    never = [
        name
        for name in account.field_map
        if readings.orders and readings.missing[name] == readings.orders
    ]
    if never:
        yield f"nothing is found for {', '.join(never)}", advice
    if readings.zoneless and account.zone is None:
        times, zone = count_noun(readings.zoneless, "time"), DRIVERS[account.driver].zone
        yield (
            f"{times} without a zone, read as {zone}",
            f"Set {account.env_name('ZONE')}, such as Europe/Berlin, or UTC if they are right.",
        )
    if readings.unmapped_words:
        words = ", ".join(map(repr, sorted(readings.unmapped_words)))
        yield (
            f"no status is mapped to {words}",
            "Add them to `statuses`, then run ordertrail rebuild.",
        )
