"""The status of each account: when its courier was last heard, counts, and its circuit breaker."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from receiver.accounts.refused_credentials import (
    count_credential_refusals,
    describe_secrets,
    read_secret_uses,
)
from receiver.db.counting import count_rows
from receiver.db.models import AccountState, Poll
from receiver.settings import Account


def list_account_statuses(
    session: Session, accounts: Mapping[str, Account], now: datetime
) -> dict[str, Any]:
    """Return the status of every account, by slug, as `GET /v1/couriers` shows it."""
    states = {state.account: state for state in session.scalars(select(AccountState))}
    uses, refused = read_secret_uses(session), count_credential_refusals(session)
    return {
        "couriers": [
            {
                **_status(account, states.get(slug) or _unheard(slug), now),
                **_poll_counts(session, slug, now),
                "secrets": describe_secrets(uses, account),
                "signature_failures": refused.get(slug, 0),
            }
            for slug, account in sorted(accounts.items())
        ]
    }


def _unheard(account: str) -> AccountState:
    return AccountState(
        account=account, hooks=0, missed=0, requests=0, requests_saved=0, answers=0, failures=0
    )


def _status(account: Account, state: AccountState, now: datetime) -> dict[str, Any]:
    heard = [at for at in (state.last_hook_at, state.last_answer_at) if at is not None]
    states_reported = state.missed + state.hooks
    return {
        "account": account.slug,
        "courier": account.driver,
        "last_heard_at": max(heard, default=None),
        "last_webhook_at": state.last_hook_at,
        "last_poll_at": state.last_answer_at,
        "webhooks": state.hooks,
        "polls": state.answers,
        "poll_requests": state.requests,
        "poll_requests_saved": state.requests_saved,
        "polled": account.access is not None,
        "missed_hooks": state.missed,
        "missed_hook_ratio": round(state.missed / states_reported, 4) if states_reported else None,
        "breaker": _breaker(state, now),
        "paused_since": state.paused_at,
        "paused_until": state.paused_until,
        "pause_reason": state.pause_reason,
    }


def _breaker(state: AccountState, now: datetime) -> str:
    if state.paused_until is None:
        return "closed"
    return "open" if state.paused_until > now else "half_open"


def _poll_counts(session: Session, account: str, now: datetime) -> dict[str, int]:
    polls = select(Poll.order_id).where(Poll.account == account)
    return {
        "orders_due": count_rows(session, polls.where(Poll.due_at <= now)),
        "orders_given_up": count_rows(session, polls.where(Poll.stopped_at.is_not(None))),
    }
