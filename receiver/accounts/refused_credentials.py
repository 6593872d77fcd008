"""What was refused at the door, by account and reason, and which secrets are in use.

A refused request costs no write: each process adds up, and writes what it has every few seconds, in
one statement. The rows are as many as there are accounts, reasons and days, however many requests
come and whatever they name: those of accounts that do not exist count together.
"""

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import structlog
from sqlalchemy import RowMapping, func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from receiver import telemetry
from receiver.accounts.credential_diagnosis import LIKELY, NOT_EXAMINED, Evidence, diagnose
from receiver.db.models import Refusal, SecretUse
from receiver.logs import exception_fields
from receiver.settings import Account

log = structlog.get_logger(__name__)

FLUSH_SECONDS = 3.0
# How many refused credentials of one account a process looks at in a minute.
EXAMINED_A_MINUTE = 6
# Of an account that is not there.
NO_ACCOUNT = ""

# The reasons that are about a credential.
CREDENTIAL_REASONS = ("missing", "malformed", "wrong")
UNKNOWN_ACCOUNT = "unknown_account"
UNKNOWN_TOPIC = "unknown_topic"


@dataclass(slots=True)
class Times:
    """How often, and when first and last."""

    count: int
    first_at: datetime
    last_at: datetime

    def add(self, more: "Times") -> None:
        self.count += more.count
        self.first_at = min(self.first_at, more.first_at)
        self.last_at = max(self.last_at, more.last_at)


# (account, day, reason, likely), and (account, fingerprint of a secret).
Refused = tuple[str, date, str, str]
Used = tuple[str, str]


class CredentialRecorder:
    """What one web process refused, and whose secrets it saw, until it is written down."""

    def __init__(self, sessions: sessionmaker[Session], accounts: Mapping[str, Account]) -> None:
        self._sessions = sessions
        self._accounts = accounts
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        self._refused: dict[Refused, Times] = {}
        self._used: dict[Used, Times] = {}
        self._unexamined: deque[tuple[Evidence, str, datetime]] = deque()
        self._examined: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._closed = threading.Event()
        self._writer: threading.Thread | None = None
        self._names = {
            slug: [fingerprint_secret(slug, secret) for secret in account.secrets]
            for slug, account in accounts.items()
        }

    def record_refusal(self, account: str, why: str, evidence: Evidence | None = None) -> None:
        """Count a refused request. evidence: what to look at, once the answer is out."""
        now = self.clock()
        with self._lock:
            if evidence is not None and self._may_examine(account):
                self._unexamined.append((evidence, why, now))
            else:
                _add(self._refused, (account, now.date(), why, NOT_EXAMINED), Times(1, now, now))
        self._ask_for_a_write()

    def record_secret_use(self, account: str, place: int) -> None:
        """Count a request that came with the account's secret at this place in its list."""
        now = self.clock()
        with self._lock:
            _add(self._used, (account, self._names[account][place]), Times(1, now, now))
        self._ask_for_a_write()

    def flush(self) -> None:
        """Look at what waits for it, and write down what was counted so far.

        Where PostgreSQL does not take it, it is kept for the next time.
        """
        with self._lock:
            waiting, self._unexamined = self._unexamined, deque()
            refused, self._refused = self._refused, {}
            used, self._used = self._used, {}
        for evidence, why, at in waiting:
            likely = diagnose(evidence, self._accounts)
            _add(refused, (evidence.account, at.date(), why, likely), Times(1, at, at))
        if not refused and not used:
            return
        try:
            with self._sessions.begin() as session:
                _write(session, refused, used)
        except SQLAlchemyError as failure:
            log.warning("what was refused is not written down yet", **exception_fields(failure))
            with self._lock:
                for key, times in refused.items():
                    _add(self._refused, key, times)
                for name, times in used.items():
                    _add(self._used, name, times)

    def close(self) -> None:
        """Write down the rest and end."""
        self._closed.set()
        self._news.set()
        if self._writer is not None:
            self._writer.join()

    def _may_examine(self, account: str) -> bool:
        minute = int(time.monotonic() // 60)
        since, count = self._examined.get(account, (minute, 0))
        count = count + 1 if since == minute else 1
        self._examined[account] = (minute, count)
        return count <= EXAMINED_A_MINUTE

    def _ask_for_a_write(self) -> None:
        # Not in __init__: a thread does not live on in a forked gunicorn worker.
        if self._writer is None:
            with self._lock:
                if self._writer is None:
                    self._writer = threading.Thread(target=self._write_on, daemon=True)
                    self._writer.start()
        self._news.set()

    def _write_on(self) -> None:
        while not self._closed.is_set():
            self._news.wait()
            self._closed.wait(FLUSH_SECONDS)
            self._news.clear()
            try:
                self.flush()
            except Exception as failure:  # noqa: BLE001 (nobody else would start this thread again)
                log.error("refusals were not counted", **exception_fields(failure))  # noqa: TRY400 (as above)
                telemetry.failed(failure)


def _add(counted: dict[Any, Times], key: Any, times: Times) -> None:
    if key in counted:
        counted[key].add(times)
    else:
        counted[key] = times


def fingerprint_secret(account: str, secret: str) -> str:
    """A name for a secret that tells nothing of it: eight hex digits of a hash."""
    return hashlib.sha256(f"ordertrail\0{account}\0{secret}".encode()).hexdigest()[:8]


# Sorted, so that two processes that write at once cannot deadlock.
WRITE_REFUSED = text("""
    INSERT INTO refusals AS known (account, day, reason, likely, count, first_at, last_at)
    SELECT * FROM unnest(
        CAST(:account AS text[]), CAST(:day AS date[]), CAST(:reason AS text[]),
        CAST(:likely AS text[]), CAST(:count AS bigint[]), CAST(:first_at AS timestamptz[]),
        CAST(:last_at AS timestamptz[])) AS told (account, day, reason, likely)
    ORDER BY account, day, reason, likely
    ON CONFLICT (account, day, reason, likely) DO UPDATE
    SET count = known.count + excluded.count,
        first_at = least(known.first_at, excluded.first_at),
        last_at = greatest(known.last_at, excluded.last_at)
""")
WRITE_USED = text("""
    INSERT INTO secret_uses AS known (account, fingerprint, count, first_at, last_at)
    SELECT * FROM unnest(
        CAST(:account AS text[]), CAST(:fingerprint AS text[]), CAST(:count AS bigint[]),
        CAST(:first_at AS timestamptz[]), CAST(:last_at AS timestamptz[]))
        AS told (account, fingerprint)
    ORDER BY account, fingerprint
    ON CONFLICT (account, fingerprint) DO UPDATE
    SET count = known.count + excluded.count,
        first_at = least(known.first_at, excluded.first_at),
        last_at = greatest(known.last_at, excluded.last_at)
""")


def _write(session: Session, refused: Mapping[Refused, Times], used: Mapping[Used, Times]) -> None:
    for statement, names, counted in (
        (WRITE_REFUSED, ("account", "day", "reason", "likely"), refused),
        (WRITE_USED, ("account", "fingerprint"), used),
    ):
        if counted:
            keys: Iterable[tuple[Any, ...]] = zip(*counted, strict=True)
            values = dict(zip(names, map(list, keys), strict=True))
            times = {
                name: [getattr(it, name) for it in counted.values()]
                for name in ("count", "first_at", "last_at")
            }
            session.execute(statement, {**values, **times})


def read_refusals(session: Session) -> list[dict[str, Any]]:
    """What was refused in the days that are kept, the latest first, as the API shows it."""
    rows = session.execute(
        select(
            Refusal.account,
            Refusal.reason,
            Refusal.likely,
            func.sum(Refusal.count).label("times"),
            func.min(Refusal.first_at).label("first_at"),
            func.max(Refusal.last_at).label("last_at"),
        )
        .group_by(Refusal.account, Refusal.reason, Refusal.likely)
        .order_by(func.max(Refusal.last_at).desc(), Refusal.account, Refusal.reason)
    )
    return [_shown(row) for row in rows.mappings()]


def _shown(row: RowMapping) -> dict[str, Any]:
    word, _, other = row["likely"].partition(":")
    summary, what_to_do = LIKELY[word]
    if row["reason"] in WITHOUT_CREDENTIAL:
        word, (summary, what_to_do) = None, WITHOUT_CREDENTIAL[row["reason"]]
    return {
        "account": row["account"] or None,
        "reason": row["reason"],
        "likely": word,
        "other_account": other or None,
        "count": int(row["times"]),
        "first_at": row["first_at"],
        "last_at": row["last_at"],
        "summary": summary,
        "what_to_do": what_to_do,
    }


# Where the reason says it all.
WITHOUT_CREDENTIAL: Mapping[str, tuple[str, str]] = {
    "missing": ("there was no credential", "See the courier's settings; or somebody looks around."),
    "BodyTooLarge": ("the body was too large", "If it is honest, raise MAX_BODY_BYTES."),
    "BodyCutOff": ("the body broke off, or came too slowly", "See the network, and the proxy."),
    UNKNOWN_ACCOUNT: (
        "there is no such account",
        "See the address at the courier; an account without secrets is off.",
    ),
    UNKNOWN_TOPIC: ("the account has no such address", "See the address at the courier."),
}


SecretUses = Mapping[tuple[str, str], SecretUse]


def read_secret_uses(session: Session) -> SecretUses:
    """How often each secret of each account came, by account and fingerprint: they are few."""
    return {(row.account, row.fingerprint): row for row in session.scalars(select(SecretUse))}


def describe_secrets(uses: SecretUses, account: Account) -> list[dict[str, Any]]:
    """The account's live secrets by their place in its list, and when each was last used.

    All but the first are old: once nobody has used one for a while it can be removed.
    """
    standings = []
    for place, secret in enumerate(account.secrets, start=1):
        use = uses.get((account.slug, fingerprint_secret(account.slug, secret)))
        standings.append(
            {
                "place": place,
                "uses": use.count if use else 0,
                "last_used_at": use.last_at if use else None,
            }
        )
    return standings


def find_old_secret_use(uses: SecretUses, account: Account) -> datetime | None:
    """When a secret that is not the first of its account was last used; None where none was."""
    old = [
        it["last_used_at"]
        for it in describe_secrets(uses, account)
        if it["place"] > 1 and it["last_used_at"] is not None
    ]
    return max(old, default=None)
