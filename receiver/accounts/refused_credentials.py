"""Refused requests, counted by account and reason, and the use of each secret.

A refused request costs no write: each process counts, and writes its counts every few seconds in
one statement. There is a row for each account, reason and day, however many requests come and
whatever they name: requests for accounts that do not exist count together.
"""

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from sqlalchemy import RowMapping, func, select
from sqlalchemy.orm import Session, sessionmaker

from receiver.accounts.credential_diagnosis import (
    NOT_EXAMINED,
    Evidence,
    describe_cause,
    diagnose,
)
from receiver.background_thread import BackgroundThread
from receiver.db.bulk import insert_rows
from receiver.db.models import Refusal, SecretUse
from receiver.settings import Account

FLUSH_SECONDS = 3.0
# So many refused credentials of one account does a process examine in a minute.
EXAMINED_A_MINUTE = 6
# The account of a request for an account that does not exist.
NO_ACCOUNT = ""

UNKNOWN_ACCOUNT = "unknown_account"
UNKNOWN_TOPIC = "unknown_topic"
# The reasons that are about a credential.
CREDENTIAL_REASONS = ("missing", "malformed", "wrong")


@dataclass(slots=True)
class _Times:
    """How often something happened, and when first and last."""

    count: int
    first_at: datetime
    last_at: datetime


# By (account, day, reason, likely cause), or by (account, fingerprint of a secret).
_Counts = dict[tuple[Any, ...], _Times]


class CredentialRecorder:
    """Count what one web process refused and which secrets it saw, and write that to PostgreSQL."""

    def __init__(self, sessions: sessionmaker[Session], accounts: Mapping[str, Account]) -> None:
        self._sessions = sessions
        self._accounts = accounts
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        self._refusals: _Counts = {}
        self._uses: _Counts = {}
        self._unexamined: deque[tuple[Evidence, str, datetime]] = deque()
        self._examined: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()
        self._thread = BackgroundThread(
            "credential_recording", self.flush, FLUSH_SECONDS, retry_seconds=FLUSH_SECONDS
        )
        self._fingerprints = {
            slug: [fingerprint_secret(slug, secret) for secret in account.secrets]
            for slug, account in accounts.items()
        }

    def record_refusal(self, account: str, reason: str, evidence: Evidence | None = None) -> None:
        """Count a refused request. evidence: what to examine once the request is answered."""
        now = self.clock()
        with self._lock:
            if evidence is not None and self._may_examine(account):
                self._unexamined.append((evidence, reason, now))
            else:
                key = (account, now.date(), reason, NOT_EXAMINED)
                _count(self._refusals, key, _Times(1, now, now))
        self._thread.wake()

    def record_secret_use(self, account: str, place: int) -> None:
        """Count a request with the account's secret at this place in its list."""
        now = self.clock()
        with self._lock:
            _count(self._uses, (account, self._fingerprints[account][place]), _Times(1, now, now))
        self._thread.wake()

    def flush(self) -> None:
        """Examine what waits for it, and write the counts.

        Raises: SQLAlchemyError; then the counts are kept for the next time.
        """
        with self._lock:
            unexamined, self._unexamined = self._unexamined, deque()
            refusals, self._refusals = self._refusals, {}
            uses, self._uses = self._uses, {}
        for evidence, reason, at in unexamined:
            key = (evidence.account, at.date(), reason, diagnose(evidence, self._accounts))
            _count(refusals, key, _Times(1, at, at))
        if not refusals and not uses:
            return
        try:
            with self._sessions.begin() as session:
                columns = ("account", "day", "reason", "likely")
                _add_counts(session, Refusal, columns, refusals)
                _add_counts(session, SecretUse, ("account", "fingerprint"), uses)
        except BaseException:
            with self._lock:
                for kept, counts in ((self._refusals, refusals), (self._uses, uses)):
                    for key, times in counts.items():
                        _count(kept, key, times)
            raise

    def close(self) -> None:
        """Write the rest and end the thread."""
        self._thread.close()

    def _may_examine(self, account: str) -> bool:
        minute = int(time.monotonic() // 60)
        since, count = self._examined.get(account, (minute, 0))
        count = count + 1 if since == minute else 1
        self._examined[account] = (minute, count)
        return count <= EXAMINED_A_MINUTE


def _count(counts: _Counts, key: tuple[Any, ...], more: _Times) -> None:
    known = counts.setdefault(key, more)
    if known is not more:
        known.count += more.count
        known.first_at = min(known.first_at, more.first_at)
        known.last_at = max(known.last_at, more.last_at)


def fingerprint_secret(account: str, secret: str) -> str:
    """Return eight hex digits that identify a secret and reveal nothing of it."""
    return hashlib.sha256(f"ordertrail\0{account}\0{secret}".encode()).hexdigest()[:8]


def _add_counts(
    session: Session, model: type[Refusal | SecretUse], key: Sequence[str], counts: _Counts
) -> None:
    # Sorted, so that processes that write at the same time cannot deadlock.
    rows = [
        dict(zip(key, values, strict=True)) | asdict(times)
        for values, times in sorted(counts.items(), key=itemgetter(0))
    ]
    on_conflict = f"""({", ".join(key)}) DO UPDATE
        SET count = known.count + excluded.count,
            first_at = least(known.first_at, excluded.first_at),
            last_at = greatest(known.last_at, excluded.last_at)"""  # noqa: S608 (our columns)
    insert_rows(session, model, rows, on_conflict)


def read_refusals(session: Session) -> list[dict[str, Any]]:
    """Return the refused requests of the days that are kept, the latest first, as the API shows
    them.
    """
    rows = session.execute(
        select(
            Refusal.account,
            Refusal.reason,
            Refusal.likely,
            func.sum(Refusal.count).label("total"),
            func.min(Refusal.first_at).label("first_at"),
            func.max(Refusal.last_at).label("last_at"),
        )
        .group_by(Refusal.account, Refusal.reason, Refusal.likely)
        .order_by(func.max(Refusal.last_at).desc(), Refusal.account, Refusal.reason)
    )
    return [_render(row) for row in rows.mappings()]


def _render(row: RowMapping) -> dict[str, Any]:
    likely, _, other_account = row["likely"].partition(":")
    summary, what_to_do = describe_cause(likely)
    if row["reason"] in _OTHER_REASONS:
        likely, (summary, what_to_do) = None, _OTHER_REASONS[row["reason"]]
    return {
        "account": row["account"] or None,
        "reason": row["reason"],
        "likely": likely,
        "other_account": other_account or None,
        "count": int(row["total"]),
        "first_at": row["first_at"],
        "last_at": row["last_at"],
        "summary": summary,
        "what_to_do": what_to_do,
    }


# The reasons that need no diagnosis.
_OTHER_REASONS: Mapping[str, tuple[str, str]] = {
    "missing": ("there was no credential", "See the courier's settings; it may be a scanner."),
    "BodyTooLarge": ("the body was too large", "If it is genuine, raise MAX_BODY_BYTES."),
    "BodyCutOff": ("the body was cut off or came too slowly", "See the network and the proxy."),
    UNKNOWN_ACCOUNT: (
        "there is no such account",
        "See the address at the courier; an account without secrets is off.",
    ),
    UNKNOWN_TOPIC: ("the account has no such address", "See the address at the courier."),
}


def count_credential_refusals(session: Session) -> Mapping[str, int]:
    """Count the requests with a refused credential of the days that are kept, by account."""
    counts = (
        select(Refusal.account, func.sum(Refusal.count))
        .where(Refusal.reason.in_(CREDENTIAL_REASONS))
        .group_by(Refusal.account)
    )
    return {account: int(total) for account, total in session.execute(counts)}


SecretUses = Mapping[tuple[str, str], SecretUse]


def read_secret_uses(session: Session) -> SecretUses:
    """Return how often each secret was used, by account and fingerprint: there are few."""
    return {(row.account, row.fingerprint): row for row in session.scalars(select(SecretUse))}


def describe_secrets(uses: SecretUses, account: Account) -> list[dict[str, Any]]:
    """Return the account's live secrets by their place in its list, and when each was last used.

    All but the first are old: one that has not been used for a while can be removed.
    """
    described = []
    for place, secret in enumerate(account.secrets, start=1):
        use = uses.get((account.slug, fingerprint_secret(account.slug, secret)))
        described.append(
            {
                "place": place,
                "uses": use.count if use else 0,
                "last_used_at": use.last_at if use else None,
            }
        )
    return described


def find_old_secret_use(uses: SecretUses, account: Account) -> datetime | None:
    """Return when a secret other than the account's first was last used; None if none was."""
    times = [secret["last_used_at"] for secret in describe_secrets(uses, account)[1:]]
    return max((at for at in times if at is not None), default=None)
