"""How each account fares: when its courier was heard, what was counted, whether it may be asked."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from receiver.accounts.refused_credentials import describe_secrets, read_secret_uses
from receiver.db.models import AccountState, Poll
from receiver.settings import Account

# Counted no further: past it the number says the same, and /v1/couriers stays quick.
MOST_COUNTED = 10_000


def list_account_statuses(
    session: Session,
    accounts: Mapping[str, Account],
    refused: Mapping[str, int] | None,
    now: datetime,
) -> dict[str, Any]:
    """All accounts.

    refused: requests refused per account; None where that is not known, since only the web
    processes count them.
    """
    states = {state.account: state for state in session.scalars(select(AccountState))}
    uses = read_secret_uses(session)
    return {
        "couriers": [
            {
                **_standing(account, states.get(slug) or _unheard(slug), now),
                **_orders(session, slug, now),
                "secrets": describe_secrets(uses, account),
                "signature_failures": None if refused is None else refused.get(slug, 0),
            }
            for slug, account in sorted(accounts.items())
        ]
    }


def _unheard(account: str) -> AccountState:
    return AccountState(
        account=account, hooks=0, missed=0, requests=0, requests_saved=0, answers=0, failures=0
    )


def _standing(account: Account, state: AccountState, now: datetime) -> dict[str, Any]:
    heard = [at for at in (state.last_hook_at, state.last_answer_at) if at is not None]
    told = state.missed + state.hooks
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
        "missed_hook_ratio": round(state.missed / told, 4) if told else None,
        "breaker": _breaker(state, now),
        "paused_since": state.paused_at,
        "paused_until": state.paused_until,
        "pause_reason": state.pause_reason,
    }


def _breaker(state: AccountState, now: datetime) -> str:
    if state.paused_until is None:
        return "closed"
    return "open" if state.paused_until > now else "half_open"


def _orders(session: Session, account: str, now: datetime) -> dict[str, int]:
    due = select(Poll.order_id).where(Poll.account == account, Poll.due_at <= now)
    given_up = select(Poll.order_id).where(Poll.account == account, Poll.stopped_at.is_not(None))
    return {
        name: session.scalar(select(func.count()).select_from(it.limit(MOST_COUNTED).subquery()))
        or 0
        for name, it in (("orders_due", due), ("orders_given_up", given_up))
    }
