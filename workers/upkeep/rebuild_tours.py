"""Rebuilds tours from the kept tour plans, before the orders that they bring ETAs to."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from receiver.couriers.snapshot import Decoded
from receiver.db.bulk import pairs_in
from receiver.db.models import APPLIED, Message, Tour, TourStop
from receiver.orders.tour_etas import lock_tours
from receiver.settings import Account
from workers.folding.tour_plans import store_tours
from workers.upkeep.rebuild_report import RebuildReport, decode_or_report

# How many plans are held in memory at a time.
CHUNK = 100

# A message that brought a tour plan, with its contents.
Plan = tuple[Message, Decoded]


def rebuild_tours(
    sessions: sessionmaker[Session],
    accounts: Mapping[str, Account],
    scope: Mapping[str, str],
    dry_run: bool,
) -> Iterator[tuple[RebuildReport, Sequence[Plan]]]:
    """Store every kept tour plan again, and yield which plans of a chunk have changed something."""
    last_id = 0
    while True:
        with sessions() as session:
            lock_tours(session, writing=True)
            kept = select(Message).where(
                Message.topic == "tours",
                Message.outcome == APPLIED,
                Message.body.is_not(None),
                Message.id > last_id,
            )
            if "account" in scope:
                kept = kept.where(Message.account == scope["account"])
            messages = session.scalars(kept.order_by(Message.id).limit(CHUNK)).all()
            if not messages:
                return
            last_id = messages[-1].id
            report = RebuildReport()
            decoded = (
                (message, decode_or_report(message, accounts, report)) for message in messages
            )
            plans = [(message, plan) for message, plan in decoded if plan is not None]
            before = _read_tours(session, plans)
            store_tours(session, plans)
            after = _read_tours(session, plans)
            changed = {key for key in before.keys() | after.keys() if before[key] != after[key]}
            report.differences += [f"{account} tour {tour}: changed" for account, tour in changed]
            for message in messages:
                session.expunge(message)
            if not dry_run:
                session.commit()
        yield report, [plan for plan in plans if changed & _tour_keys([plan])]


def _tour_keys(plans: Sequence[Plan]) -> set[tuple[str, str]]:
    return {(message.account, tour.tour_id) for message, plan in plans for tour in plan.tours}


def _read_tours(
    session: Session, plans: Sequence[Plan]
) -> defaultdict[tuple[str, str], list[tuple[object, ...]]]:
    """Return the stored rows of the tours of plans, by (account, tour's id)."""
    keys = _tour_keys(plans)
    found = defaultdict[tuple[str, str], list[tuple[object, ...]]](list)
    if not keys:
        return found
    for model in (Tour, TourStop):
        columns = model.__table__.columns
        rows = select(model.account, model.tour_id, *columns)
        rows = rows.where(pairs_in(model.account, model.tour_id, sorted(keys)))
        for row in session.execute(rows.order_by(*model.__table__.primary_key)):
            found[row[0], row[1]].append(tuple(row))
    return found
