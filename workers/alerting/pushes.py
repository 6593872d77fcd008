"""Pushes: send what opened and closed to each of ALERT_URLS by Apprise, and retry what failed.

Pushes are rows in PostgreSQL, so they outlive every process. One that was sent but not recorded,
because the process died in between, is sent again.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select, tuple_, update
from sqlalchemy.orm import Session, sessionmaker

from receiver.alerts import CRITICAL, runbook_link
from receiver.db.models import Notice, Push
from receiver.times import rfc3339
from workers.alerting.notices import CLOSED, OPENED

log = structlog.get_logger(__name__)

# A process that sends a push has it for so long before another may send it.
LEASE = timedelta(minutes=2)
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=30), timedelta(minutes=30)
# About two days.
MOST_ATTEMPTS = 100
MOST_AT_ONCE = 50

PushedNotice = tuple[Push, Notice]


def name_targets(urls: Sequence[str]) -> dict[str, str]:
    """Return the addresses by names that reveal nothing: addresses contain passwords."""
    return {hashlib.sha256(url.encode()).hexdigest()[:12]: url for url in urls}


def send_due_pushes(
    sessions: sessionmaker[Session], urls: Mapping[str, str], now: datetime
) -> None:
    """Send the pushes that are due, one message a target. urls: by target."""
    with sessions.begin() as session:
        claimed = _claim(session, now)
    by_target: dict[str, list[PushedNotice]] = defaultdict(list)
    for push, notice in claimed:
        by_target[push.target].append((push, notice))
    for target, pushes in by_target.items():
        if target not in urls:
            # It was removed from ALERT_URLS.
            _record(sessions, pushes, now, given_up_at=now)
        elif _send(urls[target], pushes):
            _record(sessions, pushes, now, sent_at=now)
        else:
            log.warning("alert_push_failed", target=target, alerts=len(pushes))
            given_up = [pair for pair in pushes if pair[0].attempts >= MOST_ATTEMPTS]
            if given_up:
                log.error("alert_push_given_up", target=target, alerts=len(given_up))
                _record(sessions, given_up, now, given_up_at=now)
            _record(sessions, [pair for pair in pushes if pair not in given_up], now)


def _claim(session: Session, now: datetime) -> list[PushedNotice]:
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


def _record(
    sessions: sessionmaker[Session],
    pushes: Sequence[PushedNotice],
    now: datetime,
    sent_at: datetime | None = None,
    given_up_at: datetime | None = None,
) -> None:
    """Record what became of pushes; those neither sent nor given up wait for their next attempt."""
    if not pushes:
        return
    keys = [(push.notice_id, push.kind, push.target) for push, _ in pushes]
    attempts = max(push.attempts for push, _ in pushes)
    wait = min(FIRST_WAIT * 2 ** min(attempts - 1, 10), LONGEST_WAIT)
    with sessions.begin() as session:
        session.execute(
            update(Push)
            .where(tuple_(Push.notice_id, Push.kind, Push.target).in_(keys))
            .values(sent_at=sent_at, given_up_at=given_up_at, next_at=now + wait)
        )


def _send(url: str, pushes: Sequence[PushedNotice]) -> bool:
    # It takes half a second to import, and most installations push nothing.
    from apprise import Apprise, NotifyFormat, NotifyType  # noqa: PLC0415

    opened = [notice for push, notice in pushes if push.kind == OPENED]
    critical = any(notice.severity == CRITICAL for notice in opened)
    kind = NotifyType.FAILURE if critical else NotifyType.WARNING if opened else NotifyType.SUCCESS
    try:
        return bool(
            Apprise([url]).notify(
                title=_title(pushes),
                body="\n\n".join(_paragraph(push, notice) for push, notice in pushes),
                notify_type=kind,
                body_format=NotifyFormat.TEXT,
            )
        )
    except Exception as error:  # noqa: BLE001 (any of a hundred services; it is tried again)
        log.warning("apprise_failed", error=type(error).__name__)
        return False


def _title(pushes: Sequence[PushedNotice]) -> str:
    if len(pushes) == 1:
        push, notice = pushes[0]
        account = f" of {notice.account}" if notice.account else ""
        return f"Ordertrail: {notice.condition}{account} {push.kind}"
    numbers = [(sum(push.kind == kind for push, _ in pushes), kind) for kind in (OPENED, CLOSED)]
    return "Ordertrail: " + ", ".join(f"{count} {kind}" for count, kind in numbers if count)


def _paragraph(push: Push, notice: Notice) -> str:
    account = f" of account {notice.account}" if notice.account else ""
    if push.kind == CLOSED and notice.closed_at is not None:
        held = str((notice.gone_since or notice.closed_at) - notice.opened_at).partition(".")[0]
        return f"CLOSED {notice.condition}{account}: it held for {held}."
    facts = [
        f"such as {notice.example}" if notice.example else "",
        f"since {rfc3339(notice.since.replace(microsecond=0))}" if notice.since else "",
    ]
    details = ", ".join(fact for fact in facts if fact)
    return (
        f"OPENED ({notice.severity}) {notice.condition}{account}: {notice.summary}"
        + (f" ({details})" if details else "")
        + f".\n{notice.what_to_do}\nSee {runbook_link(notice.condition)}"
    )
