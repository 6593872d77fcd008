"""Pushes: tell each of ALERT_URLS what opened and closed, by Apprise; and try again what failed.

What is to be told stands in PostgreSQL, so it outlives every process. A push that was sent and not
written down, because the process died in between, is sent again.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select, tuple_, update
from sqlalchemy.orm import Session, sessionmaker

from receiver.alerts.catalogue import CRITICAL, anchor
from receiver.db.models import Notice, Push
from receiver.times import rfc3339
from workers.alerting.notices import CLOSED, OPENED

log = structlog.get_logger(__name__)

# Whoever sends has so long before another may.
LEASE = timedelta(minutes=2)
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=30), timedelta(minutes=30)
# Some two days.
MOST_ATTEMPTS = 100
MOST_AT_ONCE = 50

Told = tuple[Push, Notice]


def name_targets(urls: Sequence[str]) -> dict[str, str]:
    """The addresses by a name that tells nothing of them: there are passwords in them."""
    return {hashlib.sha256(url.encode()).hexdigest()[:12]: url for url in urls}


def send_due_pushes(sessions: sessionmaker[Session], urls: Mapping[str, str], now: datetime) -> int:
    """Send what is due, one message a target; how many targets were told.

    urls: by target.
    """
    with sessions.begin() as session:
        claimed = _claim(session, now)
    of_target: dict[str, list[Told]] = defaultdict(list)
    for push, notice in claimed:
        of_target[push.target].append((push, notice))
    sent = 0
    for target, told in of_target.items():
        if target not in urls:
            # Taken out of ALERT_URLS since.
            _conclude(sessions, told, now, given_up_at=now)
        elif _send(urls[target], told):
            _conclude(sessions, told, now, sent_at=now)
            sent += 1
        else:
            given_up = [it for it in told if it[0].attempts >= MOST_ATTEMPTS]
            log.warning("alerts were not pushed", target=target, alerts=len(told))
            if given_up:
                log.error("alerts are pushed no more", target=target, alerts=len(given_up))
                _conclude(sessions, given_up, now, given_up_at=now)
            _conclude(sessions, [it for it in told if it not in given_up], now)
    return sent


def _claim(session: Session, now: datetime) -> list[Told]:
    due = session.execute(
        select(Push, Notice)
        .join(Notice, Notice.id == Push.notice_id)
        .where(Push.sent_at.is_(None), Push.given_up_at.is_(None), Push.next_at <= now)
        .order_by(Push.notice_id, Push.kind.desc())
        .limit(MOST_AT_ONCE)
        .with_for_update(of=Push, skip_locked=True)
    ).all()
    for push, _ in due:
        push.attempts += 1
        push.next_at = now + LEASE
    return [(push, notice) for push, notice in due]


def _conclude(
    sessions: sessionmaker[Session],
    told: Sequence[Told],
    now: datetime,
    sent_at: datetime | None = None,
    given_up_at: datetime | None = None,
) -> None:
    """Write down what became of pushes; neither sent nor given up: they wait for their next try."""
    if not told:
        return
    keys = [(push.notice_id, push.kind, push.target) for push, _ in told]
    most = max(push.attempts for push, _ in told)
    wait = min(FIRST_WAIT * 2 ** min(most - 1, 10), LONGEST_WAIT)
    with sessions.begin() as session:
        session.execute(
            update(Push)
            .where(tuple_(Push.notice_id, Push.kind, Push.target).in_(keys))
            .values(sent_at=sent_at, given_up_at=given_up_at, next_at=now + wait)
        )


def _send(url: str, told: Sequence[Told]) -> bool:
    # Half a second to load, and most installations push nothing.
    from apprise import Apprise, NotifyFormat, NotifyType  # noqa: PLC0415

    opened = [notice for push, notice in told if push.kind == OPENED]
    critical = any(notice.severity == CRITICAL for notice in opened)
    kind = NotifyType.FAILURE if critical else NotifyType.WARNING if opened else NotifyType.SUCCESS
    try:
        return bool(
            Apprise([url]).notify(
                title=push_title(told),
                body="\n\n".join(push_text(push, notice) for push, notice in told),
                notify_type=kind,
                body_format=NotifyFormat.TEXT,
            )
        )
    except Exception as failure:  # noqa: BLE001 (any of a hundred services; it is tried again)
        log.warning("a push failed", error=type(failure).__name__)
        return False


def push_title(told: Sequence[Told]) -> str:
    """What a person reads first."""
    if len(told) == 1:
        push, notice = told[0]
        of = f" of {notice.account}" if notice.account else ""
        return f"Ordertrail: {notice.condition}{of} {push.kind}"
    numbers = [(sum(push.kind == kind for push, _ in told), kind) for kind in (OPENED, CLOSED)]
    return "Ordertrail: " + ", ".join(f"{count} {kind}" for count, kind in numbers if count)


def push_text(push: Push, notice: Notice) -> str:
    """One alert's opening or closing."""
    of = f" of account {notice.account}" if notice.account else ""
    if push.kind == CLOSED and notice.closed_at is not None:
        held = str((notice.gone_since or notice.closed_at) - notice.opened_at).partition(".")[0]
        return f"CLOSED {notice.condition}{of}: it held for {held}."
    facts = [
        f"such as {notice.example}" if notice.example else "",
        f"since {rfc3339(notice.since.replace(microsecond=0))}" if notice.since else "",
    ]
    told = ", ".join(fact for fact in facts if fact)
    return (
        f"OPENED ({notice.severity}) {notice.condition}{of}: {notice.summary}"
        + (f" ({told})" if told else "")
        + f".\n{notice.what_to_do}\nSee {anchor(notice.condition)}"
    )
