"""The status of each account: when its courier was last heard, counts, and its circuit breaker."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from receiver.accounts import refused_credentials
from receiver.db.models import AccountState, LeftOutField, Poll, Refusal
from receiver.db.pagination import count_rows
from receiver.settings import Account


def list_account_statuses(
    session: Session, accounts: Mapping[str, Account], now: datetime
) -> dict[str, Any]:
    """Return the status of every account, by slug, as `GET /v1/couriers` shows it."""
    states = {state.account: state for state in session.scalars(select(AccountState))}
    uses = refused_credentials.read_secret_uses(session)
    refused = (
        select(Refusal.account, func.sum(Refusal.count))
        .where(Refusal.reason.in_(refused_credentials.CREDENTIAL_REASONS))
        .group_by(Refusal.account)
    )
    refusals = {account: int(count) for account, count in session.execute(refused)}
    counters = ("hooks", "discarded", "missed", "requests", "requests_saved", "answers", "failures")
    unheard = AccountState(**dict.fromkeys(counters, 0))
    left_out = defaultdict(list)
    for row in session.scalars(select(LeftOutField).order_by(LeftOutField.field)):
        left_out[row.account].append({"field": row.field, "count": row.count})
    couriers = []
    for slug, account in sorted(accounts.items()):
        polls = select(Poll.order_id).where(Poll.account == slug)
        couriers.append(
            {
                **_render_state(account, states.get(slug, unheard), now),
                "orders_due": count_rows(session, polls.where(Poll.due_at <= now)),
                "orders_given_up": count_rows(session, polls.where(Poll.stopped_at.is_not(None))),
                "secrets": refused_credentials.describe_secrets(uses, account),
                "signature_failures": refusals.get(slug, 0),
                "left_out": left_out[slug],
            }
        )
    return {"couriers": couriers}


def _render_state(account: Account, state: AccountState, now: datetime) -> dict[str, Any]:
    times = (state.last_hook_at, state.last_answer_at, state.last_discarded_at)
    heard = [at for at in times if at is not None]
    reported = state.missed + state.hooks
    breaker = "closed"
    if state.paused_until is not None:
        breaker = "open" if state.paused_until > now else "half_open"
    return {
        "account": account.slug,
        "courier": account.driver,
        "test": account.test,
        "webhook_authentication": account.signature.description,
        "last_heard_at": max(heard, default=None),
        "last_webhook_at": state.last_hook_at,
        "last_poll_at": state.last_answer_at,
        "webhooks": state.hooks,
        "discarded": state.discarded,
        "polls": state.answers,
        "poll_requests": state.requests,
        "poll_requests_saved": max(state.requests_saved, 0),
        "polled": account.access is not None,
        "missed_hooks": state.missed,
        "missed_hook_ratio": round(state.missed / reported, 4) if reported else None,
        "breaker": breaker,
        "paused_since": state.paused_at,
        "paused_until": state.paused_until,
        "pause_reason": state.pause_reason,
    }
