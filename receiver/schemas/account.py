"""Accounts: their state, the requests that were refused, and the alerts."""

from marshmallow import fields, validate

from receiver.schemas.fields import (
    AN_ACCOUNT,
    Answer,
    boolean,
    example,
    integer,
    items,
    string,
    time,
)


class SecretStandingSchema(Answer):
    """How one of an account's secrets is used."""

    place = integer(
        2, "Position of the secret in COURIER_<ACCOUNT>_SECRETS, from 1; the first is the newest."
    )
    uses = integer(12, "How many webhooks were authenticated with it so far.")
    last_used_at = time(
        "2026-04-16T07:00:01Z", "When it was last used; null: never.", allow_none=True
    )


class AccountStandingSchema(Answer):
    """The state of one account: its traffic, its polling and its secrets."""

    account = fields.String(metadata=AN_ACCOUNT)
    courier = string("tiramizoo", "The courier behind the account.")
    last_heard_at = time(
        "2026-04-16T07:00:01Z",
        "When the last message of the courier arrived, by webhook or by poll; null: none yet.",
        allow_none=True,
    )
    last_webhook_at = time(
        "2026-04-16T07:00:01Z", "When the last webhook arrived; null: none yet.", allow_none=True
    )
    last_poll_at = time(
        "2026-04-16T06:00:00Z",
        "When a poll last returned something new; null: none did yet.",
        allow_none=True,
    )
    webhooks = integer(4711, "How many webhooks were processed so far.")
    polls = integer(98, "How many poll answers with something new were processed so far.")
    poll_requests = integer(1204, "How many requests were sent to the courier's API so far.")
    poll_requests_saved = integer(
        310,
        "How many requests for single orders were saved so far by requesting lists of orders,"
        " less the requests for the lists.",
    )
    polled = boolean(True, "Whether the account has an API and credentials, so can be polled.")
    missed_hooks = integer(
        102, "How many status changes a poll found so far that no webhook had reported."
    )
    missed_hook_ratio = fields.Float(
        allow_none=True,
        metadata=example(
            0.0213, "missed_hooks / (missed_hooks + webhooks); null while both are zero."
        ),
    )
    signature_failures = integer(
        3,
        "How many webhooks had a missing or wrong token or signature in the last 30 days; a few"
        " seconds behind.",
    )
    secrets = items(
        SecretStandingSchema,
        "The account's secrets, newest first. An old one that is no longer used"
        " can be removed. The counts are updated every few seconds.",
    )
    breaker = string(
        "closed",
        "State of the circuit breaker. `closed`: polling works; `open`: polling is paused;"
        " `half_open`: one request tests whether the courier answers again.",
        validate=validate.OneOf(["closed", "open", "half_open"]),
    )
    paused_since = time(
        "2026-04-16T07:00:00Z", "When polling was paused; null: it is not.", allow_none=True
    )
    paused_until = time(
        "2026-04-16T07:05:00Z",
        "When polling resumes at the earliest; null: it is not paused.",
        allow_none=True,
    )
    pause_reason = string(
        "busy",
        "Why polling is paused. `busy`: the courier asked us to wait; `refused`: the courier"
        " rejects our credentials; `failing`: the courier does not answer. Null: it is not"
        " paused.",
        allow_none=True,
    )
    orders_due = integer(12, "How many orders are due for a poll now, counted up to 10,000.")
    orders_given_up = integer(
        0, "How many orders are no longer polled after too many failures, counted up to 10,000."
    )


class AccountListSchema(Answer):
    """All accounts."""

    couriers = items(AccountStandingSchema, "One entry per account, sorted by slug.")


class RefusalSchema(Answer):
    """Webhook requests of one account that were refused for one reason."""

    account = string(
        "cottoncast", "Slug of the account; null: the URL named no known account.", allow_none=True
    )
    reason = string(
        "wrong",
        "Why the requests were refused. `missing`, `malformed`, `wrong`: the token or the"
        " signature; `BodyTooLarge`; `BodyCutOff`; `unknown_account`; `unknown_topic`.",
    )
    likely = string(
        "prefixed",
        "The likely cause of a wrong credential, such as `old_secret`, `other_account`, `base64`,"
        " `prefixed`, `unknown_secret` or `not_examined`. More values may be added."
        " Null: `reason` is the cause.",
        allow_none=True,
    )
    other_account = string(
        None,
        "If `likely` is `other_account`: the account whose secret was used; else null.",
        allow_none=True,
    )
    count = integer(17, "How many requests were refused.")
    first_at = time("2026-04-15T07:00:01Z", "When the first of them arrived.")
    last_at = time("2026-04-16T07:00:01Z", "When the last of them arrived.")
    summary = string(
        "a right signature, but with something before it",
        "The likely cause, as a text for people.",
    )
    what_to_do = string(
        "The courier must send the bare hex.",
        "What to do about it, as a text for people.",
    )


class RefusalListSchema(Answer):
    """Refused webhook requests."""

    refusals = items(RefusalSchema, "One entry per account, reason and likely cause, latest first.")


class AlertSchema(Answer):
    """A problem that exists now and that a person should know about."""

    condition = string(
        "poll_refused", "Kind of the problem. There is one alert per kind and account."
    )
    severity = string(
        "critical",
        "`critical`: orders are affected until somebody acts; `warning`: otherwise.",
        validate=validate.OneOf(["warning", "critical"]),
    )
    account = string(
        "tiramizoo",
        "Slug of the account; null: the alert is about the service as a whole.",
        allow_none=True,
    )
    since = time(
        "2026-04-16T07:00:00Z", "When the problem began; null: not known.", allow_none=True
    )
    count = integer(12, "How many orders or messages are affected.")
    summary = string("The courier's API refuses our credentials", "What is wrong.")
    what_to_do = string("Check COURIER_TIRAMIZOO_API_TOKEN", "What usually solves the problem.")
    runbook = string(
        "deploy/runbook.md#poll-refused", "The section of the runbook about this problem."
    )
    example = string(
        "3AF7",
        "One affected order (its courier_order_id) or message (its id); null: there is none.",
        allow_none=True,
    )


class AlertListSchema(Answer):
    """The alerts that are open now."""

    alerts = items(AlertSchema, "The open alerts, critical ones first; empty if all is well.")
