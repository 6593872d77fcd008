"""Accounts: their state, the requests that were refused, and the alerts."""

from marshmallow import Schema
from marshmallow.fields import Float

from receiver.schemas import fields
from receiver.schemas.fields import (
    Answer,
    boolean,
    described,
    given_text,
    integer,
    nested_list,
    text,
    time,
    who_acts,
)


class SecretStandingSchema(Answer):
    """How one of an account's secrets is used."""

    place = integer("Its position in COURIER_<ACCOUNT>_SECRETS: 1 is the first and the newest.", 2)
    uses = integer("How many webhooks were authenticated with it so far.", 12)
    last_used_at = time("When it was last used; null: never.", "2026-04-16T07:00:01Z", null=True)


class LeftOutFieldSchema(Answer):
    """A field of the courier's bodies that could not be read."""

    field = text("Path of the field, without the numbers of entries.", "packages.identifier")
    count = integer("Of how many messages it was left out.", 3)


class AccountStandingSchema(Answer):
    """The state of one account: its traffic, its polling and its secrets."""

    account = fields.ACCOUNT
    courier = fields.COURIER
    test = boolean(
        "Whether it is a test account: its orders stay apart, and can be deleted.", False
    )
    webhook_authentication = text(
        "How its webhooks are authenticated, for people: as its courier always does, or as"
        " COURIER_<ACCOUNT>_SIGNATURE says.",
        "an HMAC-SHA256 in hex in the header Cottoncast-Authentication",
    )
    last_heard_at = time("When the last message of any kind arrived; null: none yet.", null=True)
    last_webhook_at = time("When the last webhook arrived; null: none yet.", null=True)
    last_poll_at = time("When a poll last returned something new; null: none did yet.", null=True)
    webhooks = integer("How many webhooks were processed so far.", 4711)
    discarded = integer(
        "How many webhooks so far reported nothing, such as positions, and were not stored.", 120
    )
    polls = integer("How many poll responses with something new were processed so far.", 98)
    poll_requests = integer("How many requests were sent to the courier's API so far.", 1204)
    poll_requests_saved = integer(
        "How many requests were saved so far by polling lists of orders, not single ones.", 310
    )
    polled = boolean(
        "Whether it can be polled: its courier has an API, and its credentials are set.", True
    )
    missed_hooks = integer("How many status changes so far were found only by polls.", 102)
    missed_hook_ratio = described(
        Float, "missed_hooks / (missed_hooks + webhooks); null while both are 0.", 0.0213, null=True
    )
    signature_failures = integer(
        "How many webhooks of the last 30 days had a wrong or missing token or signature.", 3
    )
    left_out = nested_list(
        LeftOutFieldSchema,
        "What could not be read of its messages and was left out, by field. The rest of such a"
        " message counts; `GET /v1/messages/<id>` says why.",
    )
    secrets = nested_list(
        SecretStandingSchema,
        "The account's secrets, newest first. An old one that is no longer used"
        " can be removed. The counts are updated every few seconds.",
    )
    breaker = text(
        "State of the circuit breaker. `closed`: polling works; `open`: polling is paused;"
        " `half_open`: one request tests whether the courier answers again.",
        "closed",
        choices=["closed", "open", "half_open"],
    )
    paused_since = time("When polling was paused; null: it is not paused.", null=True)
    paused_until = time(
        "When polling resumes at the earliest; null: not paused.", "2026-04-16T07:05:00Z", null=True
    )
    pause_reason = text(
        "Why polling is paused. `busy`: the courier limits our request rate; `refused`: the courier"
        " rejects our credentials; `failing`: the courier does not answer; null: it is not paused.",
        "busy",
        null=True,
    )
    orders_due = integer("How many orders are due for a poll now, counted up to 10,000.", 12)
    orders_given_up = integer("For how many orders polling was given up, counted up to 10,000.", 0)


class AccountListSchema(Answer):
    """All accounts."""

    couriers = nested_list(AccountStandingSchema, "One entry per account, sorted by slug.")


class RefusalSchema(Answer):
    """Webhook requests of one account that were refused for one reason."""

    account = text(
        "Slug of the account; null: the URL named no existing account.", "cottoncast", null=True
    )
    reason = text(
        "Why the requests were refused. `missing`, `malformed`, `wrong`: the token or the"
        " signature; `outside_window`: the timestamp of a correct signature; `BodyTooLarge`;"
        " `BodyCutOff`; `unknown_account`; `unknown_topic`.",
        "wrong",
    )
    likely = text(
        "The likely cause of a wrong credential, such as `old_secret`, `other_account`, `base64`,"
        " `prefixed`, `timestamp_behind`, `unknown_secret` or `not_examined`. More values may be"
        " added. Null: `reason` is the cause.",
        "prefixed",
        null=True,
    )
    other_account = text("The account whose secret it was, if known.", None, null=True)
    count = integer("How many requests were refused.", 17)
    first_at = time("When the first of them arrived.", "2026-04-15T07:00:01Z")
    last_at = time("When the last of them arrived.")
    summary = text(
        "Likely cause, for people.",
        "a correct credential, but with a prefix or something else beside it",
    )
    what_to_do = text(
        "What to do about it, for people.",
        "The courier must send it without, or `prefix` of the signature's setting must name it.",
    )


class RefusalListSchema(Answer):
    """Refused webhook requests."""

    refusals = nested_list(RefusalSchema, "One per account, reason and likely cause, latest first.")


ACKNOWLEDGED_AT = time("When it was last acknowledged or snoozed; null: never.", null=True)
ACKNOWLEDGED_UNTIL = time(
    "Before this time it is not pushed again, unless it becomes critical.", null=True
)
ACKNOWLEDGED_BY = text("Name of the person who acknowledged or snoozed it.", "Ann", null=True)
ACKNOWLEDGED_NOTE = text("What the person said.", "the courier repairs it", null=True)


class AlertSchema(Answer):
    """A problem that exists now and that a person should know about."""

    id = integer("Its number, to acknowledge it; null: not recorded yet.", 7, null=True)
    condition = text("Its kind. There is one alert per kind and account.", "poll_refused")
    severity = text(
        "`critical`: orders are affected until somebody acts; `warning`: otherwise.",
        "critical",
        choices=["warning", "critical"],
    )
    account = text("Slug of the account; null: the whole service.", "tiramizoo", null=True)
    since = time("When the problem began; null: not known.", null=True)
    count = integer("How many orders or messages are affected.", 12)
    summary = text("What is wrong.", "The courier's API refuses our credentials")
    what_to_do = text("What usually solves the problem.", "Check COURIER_TIRAMIZOO_API_TOKEN")
    runbook = text("The section of the runbook about it.", "deploy/runbook.md#poll-refused")
    example = text("An affected order or message, by id; null: none.", "3AF7", null=True)
    example_reference = text(
        "The shop's reference of that order; null: it has none, or it is a message.",
        "T-1001",
        null=True,
    )
    acknowledged_at = ACKNOWLEDGED_AT
    acknowledged_until = ACKNOWLEDGED_UNTIL
    acknowledged_by = ACKNOWLEDGED_BY
    acknowledged_note = ACKNOWLEDGED_NOTE


class PastAlertSchema(Answer):
    """An alert from its opening to its closing."""

    id = integer("Its number.", 7)
    condition = text("Its kind.", "poll_refused")
    severity = text("`critical` or `warning`, when it was last open.", "critical")
    account = text("Slug of the account; empty: the whole service.", "tiramizoo")
    count = integer("How many orders or messages were affected, as last computed.", 12)
    summary = text("What was wrong.", "The courier's API refuses our credentials")
    opened_at = time("When it opened.")
    closed_at = time("When it closed; null: it is open.", null=True)
    pushed_at = time("When it was last pushed to ALERT_URLS; null: never.", null=True)
    acknowledged_at = ACKNOWLEDGED_AT
    acknowledged_until = ACKNOWLEDGED_UNTIL
    acknowledged_by = ACKNOWLEDGED_BY
    acknowledged_note = ACKNOWLEDGED_NOTE


class AlertListSchema(Answer):
    """The alerts that are open now, and those of the past where they were asked for."""

    sometimes = ("history",)

    alerts = nested_list(AlertSchema, "The open alerts, critical ones first; empty if all is well.")
    history = nested_list(PastAlertSchema, "Alerts of the last 30 days, the newest first.")


class AlertFiltersSchema(Schema):
    """Whether to list past alerts, too."""

    history = boolean(
        "Whether to list the alerts of the last 30 days as `history`, too.",
        True,
        load_default=False,
        truthy={"true", "1"},
        falsy={"false", "0"},
    )


class AcknowledgementSchema(Schema):
    """Who takes care of an alert, and how."""

    by = given_text(
        "Name of the person; without it the token's.", "Ann", load_default=who_acts, length=(1, 100)
    )
    note = given_text(
        "Why, in a person's own words.",
        "the courier repairs it",
        load_default="",
        length=(None, 1000),
    )
    until = time("Until when it is not pushed again; by default for a day.", "2026-04-17T09:00:00Z")


class SnoozeSchema(AcknowledgementSchema):
    """Until when an alert is not pushed again, who says so, and why."""

    until = time("Until when.", "2026-04-17T09:00:00Z", required=True)
