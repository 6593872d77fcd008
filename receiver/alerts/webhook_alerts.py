"""Conditions of webhooks: couriers that are silent, refused, or send far too much."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import select, text

from receiver.accounts import refused_credentials
from receiver.accounts.credential_diagnosis import NOT_EXAMINED, describe_cause
from receiver.accounts.learned_silence import explain_silence, read_silences
from receiver.alerts.condition import CRITICAL, WARNING, Alert, condition
from receiver.alerts.context import AlertContext
from receiver.db.models import Refusal
from receiver.inbox.storage_check import OK
from receiver.stats.answers import SLOW_SECONDS
from receiver.stats.history import EPOCH, KEPT_FOR, start_of_step
from receiver.text import count_noun

# So many answers, and such a share of the latest ones, are an alert.
LEAST_ANSWERS, ANSWERS_SHARE = 3, 0.05
# So many refused credentials, the latest within this time, are not a slip.
LEAST_REFUSED, REFUSED_WITHIN = 3, timedelta(minutes=15)
# So many are no stranger's try; in a row they are the courier's.
MANY_REFUSED = 10
# A secret that was not used for so long can be removed.
OLD_SECRET_WITHIN = timedelta(days=1)
# A flood: so many times the busiest step so far, and at least so many webhooks.
FLOOD_STEP = timedelta(minutes=10)
FLOOD_FACTOR, FLOOD_WEBHOOKS = 3, 1_000
FLOOD_LEARNING = timedelta(days=7)


LATENCY = (
    "Look at the latency of PostgreSQL's disk and at what else writes to it; add web processes if"
    " the CPUs are at their limit."
)


@condition(
    "webhooks_failing",
    CRITICAL,
    "See the web processes' log: batch_failed and request_failed have the reason. Couriers send"
    " again what was answered 503.",
    needs_database=False,
)
def find_webhooks_failing(context: AlertContext) -> Iterator[Alert]:
    """Find out whether webhooks are answered 5xx; PostgreSQL's faults are other conditions."""
    answers = context.system.answers
    total = sum(counts.total for counts in answers.values())
    failed = sum(counts.failed for counts in answers.values())
    slow = sum(counts.slow for counts in answers.values())
    if context.system.database != OK or not _is_share(failed, total):
        return
    summary, what_to_do = _describe_answers("were answered 5xx", failed, total), ""
    if _is_share(slow, total):
        # Some took so long that they were given up.
        summary += f", and {slow:,} only after more than {SLOW_SECONDS:g} second"
        what_to_do = LATENCY
    yield Alert(None, summary, count=failed, what_to_do=what_to_do)


@condition("webhooks_slow", WARNING, LATENCY, needs_database=False)
def find_webhooks_slow(context: AlertContext) -> Iterator[Alert]:
    """Find out whether couriers wait long for an answer, of whatever status."""
    answers = context.system.answers
    total = sum(counts.total for counts in answers.values())
    slow = sum(counts.slow for counts in answers.values())
    is_failing = next(find_webhooks_failing(context), None) is not None
    if context.system.database == OK and not is_failing and _is_share(slow, total):
        late = f"were answered only after more than {SLOW_SECONDS:g} second"
        yield Alert(None, _describe_answers(late, slow, total), count=slow)


@condition(
    "courier_answer_failing",
    WARNING,
    "The messages are stored and processed; only the courier's own answer is missing, or noise is"
    " kept. See the web processes' log: courier_answer_failed names the function of the driver to"
    " correct.",
    needs_database=False,
)
def find_courier_answer_failing(context: AlertContext) -> Iterator[Alert]:
    """Find accounts whose driver failed to judge or answer a request within the last hour."""
    for slug in context.watched:
        answers = context.system.answers.get(slug)
        if answers is not None and answers.driver_faults:
            times = count_noun(answers.driver_faults, "time")
            summary = f"The driver failed {times} to answer a webhook; the usual answer was sent"
            yield Alert(slug, summary, count=answers.driver_faults)


def _is_share(part: int, total: int) -> bool:
    return part >= LEAST_ANSWERS and part >= ANSWERS_SHARE * total


def _describe_answers(what: str, part: int, total: int) -> str:
    return f"{part:,} of the latest {count_noun(total, 'webhook')} {what}"


@condition(
    "courier_silent",
    CRITICAL,
    "Check that webhooks can reach us (see the runbook), and ask the courier where it sends them.",
)
def find_courier_silent(context: AlertContext) -> Iterator[Alert]:
    """Find accounts whose silence is unusual; one whose every webhook is refused is not silent."""
    refused = {alert.account for alert, is_everything in _read_refusals(context) if is_everything}
    accounts = context.watched.values()
    for row in read_silences(context.session, accounts, context.now):
        reason = explain_silence(row, context.now - row.since)
        if reason is None or row.account in refused:
            continue
        silent = f"has sent no webhook since {row.since:%d %b %H:%M} UTC"
        state = context.account_states.get(row.account)
        if state and state.last_discarded_at and state.last_discarded_at > row.since:
            silent = silent.replace("no webhook", "no webhook that reports anything")
        elif row.last_at is None:
            silent = "has never sent a webhook"
        summary = f"The courier {silent}, despite {count_noun(row.orders, 'open order')}: {reason}"
        yield Alert(row.account, summary, row.since, row.orders, row.example)


@condition(
    "credentials_refused",
    CRITICAL,
    "Compare the courier's settings with COURIER_<ACCOUNT>_SECRETS.",
)
def find_credentials_refused(context: AlertContext) -> Iterator[Alert]:
    """Find accounts whose credentials are refused.

    It is a warning where few were refused since the last that was accepted: somebody guesses, or
    the courier uses a wrong secret in some places only. It holds until a webhook is accepted.
    """
    return (alert for alert, _ in _read_refusals(context))


def _read_refusals(context: AlertContext) -> Iterator[tuple[Alert, bool]]:
    """Yield each account's alert, and whether all that its courier sends at present is refused."""
    statement = select(Refusal).where(
        Refusal.account.in_(context.watched),
        Refusal.reason.in_(refused_credentials.CREDENTIAL_REASONS),
        Refusal.day >= (context.now - timedelta(days=1)).date(),
    )
    by_account = defaultdict(list)
    for row in context.session.scalars(statement):
        by_account[row.account].append(row)
    for slug, refusals in sorted(by_account.items()):
        count = sum(refusal.count for refusal in refusals)
        last_at = max(refusal.last_at for refusal in refusals)
        state = context.account_states.get(slug)
        # What was discarded had a right credential as well.
        accepted_at = (state.last_hook_at, state.last_discarded_at) if state else ()
        last_hook_at = max((at for at in accepted_at if at is not None), default=None)
        has_recovered = last_hook_at is not None and last_hook_at > last_at
        if count < LEAST_REFUSED or (has_recovered and context.now - last_at > REFUSED_WITHIN):
            continue
        since = min(refusal.first_at for refusal in refusals)
        # A refusal that was examined says more than one that was only counted.
        main = max(refusals, key=lambda row: (row.likely != NOT_EXAMINED, row.count))
        likely, what_to_do = describe_cause(main.likely)
        answers = context.system.answers.get(slug)
        in_a_row = answers.refused if answers is not None else None
        if in_a_row is None:
            accepted = last_hook_at is not None and last_hook_at >= last_at - REFUSED_WITHIN
            in_a_row = 0 if accepted else count
        requests = count_noun(count, "request was", "requests were")
        cause = f", most likely {likely}" if main.likely != NOT_EXAMINED else ""
        is_all = in_a_row >= LEAST_REFUSED
        since_then = "; no webhook has been accepted since" if is_all else ""
        summary = f"{requests} refused because of a {main.reason} credential{cause}{since_then}"
        severity = WARNING if in_a_row < MANY_REFUSED else ""
        is_everything = is_all and context.now - last_at <= REFUSED_WITHIN
        alert = Alert(slug, summary, since, count, severity=severity, what_to_do=what_to_do)
        yield alert, is_everything


@condition(
    "old_secret_used",
    WARNING,
    "Give the courier the first secret. One day after the last use of the old one, remove it.",
)
def find_old_secret_used(context: AlertContext) -> Iterator[Alert]:
    uses = refused_credentials.read_secret_uses(context.session)
    for account, _, _ in context.accounts():
        at = refused_credentials.find_old_secret_use(uses, account)
        if at is not None and context.now - at <= OLD_SECRET_WITHIN:
            summary = f"A secret that is not the first of {account.env_name('SECRETS')} is in use"
            yield Alert(account.slug, summary, at)


_FLOODS = text("""
    SELECT now.account, now.webhooks, busiest.webhooks AS most
    FROM (
        SELECT account, sum(hooks) AS webhooks FROM tallies
        WHERE account = ANY(:accounts) AND at >= :recent
        GROUP BY account HAVING sum(hooks) >= :least
    ) AS now
    CROSS JOIN LATERAL (
        SELECT max(webhooks) AS webhooks, min(first_at) AS known_since
        FROM (
            SELECT sum(hooks) AS webhooks, min(at) AS first_at FROM tallies
            WHERE account = now.account AND at >= :kept AND at < :recent
            GROUP BY date_bin(:step, at, :epoch)
        ) AS steps
    ) AS busiest
    WHERE known_since <= :learned AND now.webhooks >= :factor * busiest.webhooks
    ORDER BY account
""")


@condition(
    "hooks_flooding",
    WARNING,
    "Check whether they are repetitions, and tell the courier. Read the runbook before you"
    " refuse any.",
)
def find_hooks_flooding(context: AlertContext) -> Iterator[Alert]:
    """Find accounts that send far more than ever; a flood is a backlog until it is folded."""
    recent = start_of_step(context.now, FLOOD_STEP) - FLOOD_STEP
    parameters = {
        "accounts": list(context.watched),
        "recent": recent,
        "kept": context.now - KEPT_FOR,
        "learned": context.now - FLOOD_LEARNING,
        "least": FLOOD_WEBHOOKS,
        "factor": FLOOD_FACTOR,
        "step": FLOOD_STEP,
        "epoch": EPOCH,
    }
    for row in context.session.execute(_FLOODS, parameters):
        minutes = round((context.now - recent) / timedelta(minutes=1))
        summary = (
            f"{count_noun(row.webhooks, 'webhook')} arrived within {minutes} minutes; the busiest"
            f" ten minutes before had {row.most:,}"
        )
        yield Alert(row.account, summary, recent, row.webhooks)
