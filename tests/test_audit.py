"""The audit log: each action has one entry, in its own transaction, with who did it."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from receiver import audit
from receiver.audit import Actor, act_as
from receiver.db.models import AuditEntry

Sessions = sessionmaker[Session]


def entries(sessions: Sessions) -> Sequence[AuditEntry]:
    with sessions() as session:
        return session.scalars(select(AuditEntry).order_by(AuditEntry.id)).all()


def test_an_entry_says_who_did_what_when(sessions: Sessions) -> None:
    act_as(Actor("Ann", "backend", "r-1"))
    with sessions.begin() as session:
        audit.record_action(session, audit.ERASE, account="tiramizoo", courier_order_id="a'\"b")
        audit.record_actions(session, audit.REGISTER, [("tiramizoo", "u-1"), ("tiramizoo", "u-2")])
    first, *others = entries(sessions)
    assert (first.who, first.token_name, first.request_id) == ("Ann", "backend", "r-1")
    assert (first.action, first.account, first.courier_order_id) == ("erase", "tiramizoo", "a'\"b")
    assert abs((datetime.now(UTC) - first.at).total_seconds()) < 60
    assert [entry.courier_order_id for entry in others] == ["u-1", "u-2"]


def test_an_action_that_is_rolled_back_is_not_in_the_log(sessions: Sessions) -> None:
    with sessions() as session:
        audit.record_action(session, audit.REGISTER)
        session.rollback()
    assert entries(sessions) == []
