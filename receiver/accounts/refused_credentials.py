"""Refused requests, counted by account and reason, and the use of each secret.

A refused request costs no write: each process counts, and writes its counts every few seconds in
one statement. There is a row for each account, reason and day, however many requests come and
whatever they name: requests for accounts that do not exist count together.
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from receiver.accounts.credential_diagnosis import NOT_EXAMINED, Evidence, describe_cause, diagnose
from receiver.background_thread import BackgroundThread
from receiver.db.bulk import insert_rows
from receiver.db.models import Refusal, SecretUse
from receiver.settings import Account

FLUSH_SECONDS = 3.0
# So many refused credentials of one account does a process examine each time that it writes.
MOST_EXAMINED = 3
# The account of a request for an account that does not exist.
NO_ACCOUNT = ""

UNKNOWN_ACCOUNT = "unknown_account"
UNKNOWN_TOPIC = "unknown_topic"
# The reasons that are about a credential.
CREDENTIAL_REASONS = ("missing", "malformed", "wrong", "outside_window")

# The reasons that need no diagnosis, each in words and with what to do.
_OTHER_REASONS: Mapping[str, tuple[str, str]] = {
    "missing": (
        "there was no credential",
        "Check the courier's settings. It may also be a scanner.",
    ),
    "BodyTooLarge": ("the body was too large", "If the courier sent it, raise MAX_BODY_BYTES."),
    "BodyCutOff": ("the body was incomplete or too slow", "Check the network and the proxy."),
    UNKNOWN_ACCOUNT: (
        "there is no such account",
        "Check the webhook URL at the courier. An account without secrets is off.",
    ),
    UNKNOWN_TOPIC: (
        "the account has no such webhook URL",
        "Check the URL at the courier. Where a header authenticates, it ends without a token.",
    ),
}

SecretUses = Mapping[tuple[str, str], SecretUse]


class CredentialRecorder:
    """Count what one web process refused and which secrets it saw, and write that to PostgreSQL."""

    def __init__(self, sessions: sessionmaker[Session], accounts: Mapping[str, Account]) -> None:
        self._sessions, self._accounts = sessions, accounts
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        # By account, reason and likely cause, and by account and place of a secret.
        self._refusals: Counter[tuple[str, ...]] = Counter()
        self._uses: Counter[tuple[str, int]] = Counter()
        self._unexamined: list[tuple[Evidence, str]] = []
        self._lock = threading.Lock()
        self._thread = BackgroundThread(
            "credential_recording", self.flush, FLUSH_SECONDS, retry_seconds=FLUSH_SECONDS
        )

    def record_refusal(self, account: str, reason: str, evidence: Evidence | None = None) -> None:
        """Count a refused request. evidence: what to examine once the request is answered."""
        with self._lock:
            waiting = sum(known.account == account for known, _ in self._unexamined)
            if evidence is not None and waiting < MOST_EXAMINED:
                self._unexamined.append((evidence, reason))
            else:
                self._refusals[account, reason, NOT_EXAMINED] += 1
        self._thread.wake()

    def record_secret_use(self, account: str, place: int) -> None:
        """Count a request with the account's secret at this place in its list."""
        with self._lock:
            self._uses[account, place] += 1
        self._thread.wake()

    def flush(self) -> None:
        """Examine what waits for it, and write the counts, with the time of now.

        Raises: SQLAlchemyError; then the counts are kept for the next time.
        """
        with self._lock:
            unexamined, self._unexamined = self._unexamined, []
            refusals, self._refusals = self._refusals, Counter()
            uses, self._uses = self._uses, Counter()
        for evidence, reason in unexamined:
            refusals[evidence.account, reason, diagnose(evidence, self._accounts)] += 1
        now = self.clock()
        times = {"first_at": now, "last_at": now}
        # Sorted, so that processes that write at the same time cannot deadlock.
        refusal_rows = [
            {"account": account, "day": now.date(), "reason": reason, "likely": likely}
            | {"count": count, **times}
            for (account, reason, likely), count in sorted(refusals.items())
        ]
        use_rows = [
            {"account": account, "fingerprint": fingerprint, "count": count, **times}
            for (account, fingerprint), count in sorted(
                ((account, fingerprint_secret(account, self._accounts[account].secrets[place])), n)
                for (account, place), n in uses.items()
            )
        ]
        update = """DO UPDATE SET count = known.count + excluded.count,
                                  last_at = greatest(known.last_at, excluded.last_at)"""
        try:
            with self._sessions.begin() as session:
                key = "(account, day, reason, likely)"
                insert_rows(session, Refusal, refusal_rows, f"{key} {update}")
                insert_rows(session, SecretUse, use_rows, f"(account, fingerprint) {update}")
        except BaseException:
            with self._lock:
                self._refusals += refusals
                self._uses += uses
            raise

    def close(self) -> None:
        """Write the rest and end the thread."""
        self._thread.close()


def fingerprint_secret(account: str, secret: str) -> str:
    """Return eight hex digits that identify a secret and reveal nothing of it."""
    return hashlib.sha256(f"ordertrail\0{account}\0{secret}".encode()).hexdigest()[:8]


def read_refusals(session: Session) -> list[dict[str, Any]]:
    """Return the refused requests of the days that are kept, as in the API, the latest first."""
    total, first_at = func.sum(Refusal.count), func.min(Refusal.first_at)
    last_at = func.max(Refusal.last_at)
    key = (Refusal.account, Refusal.reason, Refusal.likely)
    grouped = select(*key, total, first_at, last_at).group_by(*key)
    rows = session.execute(grouped.order_by(last_at.desc(), Refusal.account, Refusal.reason))
    refusals = []
    for account, reason, stored_likely, count, first, last in rows:
        likely, _, other_account = stored_likely.partition(":")
        summary, what_to_do = _OTHER_REASONS.get(reason) or describe_cause(likely)
        refusals.append(
            {
                "account": account or None,
                "reason": reason,
                "likely": None if reason in _OTHER_REASONS else likely,
                "other_account": other_account or None,
                "count": int(count),
                "first_at": first,
                "last_at": last,
                "summary": summary,
                "what_to_do": what_to_do,
            }
        )
    return refusals


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
        count, last_at = (use.count, use.last_at) if use else (0, None)
        described.append({"place": place, "uses": count, "last_used_at": last_at})
    return described


def find_old_secret_use(uses: SecretUses, account: Account) -> datetime | None:
    """Return when a secret other than the account's first was last used; None if none was."""
    times = [secret["last_used_at"] for secret in describe_secrets(uses, account)[1:]]
    return max((at for at in times if at is not None), default=None)
