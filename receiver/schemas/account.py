"""Accounts, and what a person should know of now."""

from marshmallow import Schema, fields, validate

from receiver.schemas.fields import AN_ACCOUNT, Time, example


class SecretStandingSchema(Schema):
    """One of an account's live secrets."""

    place = fields.Integer(
        metadata=example(2, "Its place in COURIER_<ACCOUNT>_SECRETS; all but the first are old.")
    )
    uses = fields.Integer(metadata=example(12, "How many hooks came with it so far."))
    last_used_at = Time(
        allow_none=True,
        metadata=example("2026-04-16T07:00:01Z", "When one last did; null: none yet."),
    )


class AccountStandingSchema(Schema):
    """How an account fares."""

    account = fields.String(metadata=AN_ACCOUNT)
    courier = fields.String(metadata=example("tiramizoo", "The courier behind the account."))
    last_heard_at = Time(
        allow_none=True,
        metadata=example("2026-04-16T07:00:01Z", "When its courier was heard, by hook or by poll."),
    )
    last_webhook_at = Time(
        allow_none=True, metadata=example("2026-04-16T07:00:01Z", "When it last sent a hook.")
    )
    last_poll_at = Time(
        allow_none=True,
        metadata=example("2026-04-16T06:00:00Z", "When it last answered a poll with news."),
    )
    webhooks = fields.Integer(metadata=example(4711, "Hooks folded so far."))
    polls = fields.Integer(metadata=example(98, "Poll answers folded so far: those with news."))
    poll_requests = fields.Integer(
        metadata=example(1204, "Requests sent to the courier's API so far.")
    )
    poll_requests_saved = fields.Integer(
        metadata=example(
            310, "Requests that lists of orders made needless so far, less what they cost."
        )
    )
    polled = fields.Boolean(metadata=example(True, "Whether its courier can be asked."))
    missed_hooks = fields.Integer(
        metadata=example(
            102, "States that we had to ask for so far, though a hook should have told."
        )
    )
    missed_hook_ratio = fields.Float(
        allow_none=True,
        metadata=example(0.0213, "missed_hooks / (missed_hooks + webhooks); null before any."),
    )
    signature_failures = fields.Integer(
        metadata=example(
            3,
            "Requests with a missing or wrong token or signature within 30 days. A few seconds"
            " behind.",
        )
    )
    secrets = fields.List(
        fields.Nested(SecretStandingSchema),
        metadata={
            "description": "Its live secrets, the newest first: once nobody uses an old one any"
            " more it can be removed. A few seconds behind."
        },
    )
    breaker = fields.String(
        validate=validate.OneOf(["closed", "open", "half_open"]),
        metadata=example("closed", "`open`: nobody asks; `half_open`: one request tries."),
    )
    paused_since = Time(
        allow_none=True,
        metadata=example("2026-04-16T07:00:00Z", "Since when nobody asks; null: it is asked."),
    )
    paused_until = Time(
        allow_none=True,
        metadata=example("2026-04-16T07:05:00Z", "When it is tried again, at the earliest."),
    )
    pause_reason = fields.String(
        allow_none=True,
        metadata=example(
            "busy",
            "`busy`: the courier told us to wait; `refused`: it does not accept our credentials;"
            " `failing`: it does not answer. Null: it is asked.",
        ),
    )
    orders_due = fields.Integer(
        metadata=example(12, "Orders to ask about now; counted up to 10,000.")
    )
    orders_given_up = fields.Integer(
        metadata=example(0, "Orders that nobody asks about any more; counted up to 10,000.")
    )


class AccountListSchema(Schema):
    """All accounts."""

    couriers = fields.List(
        fields.Nested(AccountStandingSchema),
        metadata={"description": "One for each account, by slug."},
    )


class RefusalSchema(Schema):
    """Requests that were refused for one reason."""

    account = fields.String(
        allow_none=True, metadata=example("cottoncast", "Null: of no account that is switched on.")
    )
    reason = fields.String(
        metadata=example(
            "wrong",
            "`missing`, `malformed` or `wrong` credential, `BodyTooLarge`, `BodyCutOff`,"
            " `unknown_account`, `unknown_topic`.",
        )
    )
    likely = fields.String(
        allow_none=True,
        metadata=example("prefixed", "The likely cause; null where the reason says it all."),
    )
    other_account = fields.String(
        allow_none=True,
        metadata=example(None, "With `other_account`: whose secret it was."),
    )
    count = fields.Integer(metadata=example(17, "How many there were."))
    first_at = Time(metadata=example("2026-04-15T07:00:01Z", "When the first came."))
    last_at = Time(metadata=example("2026-04-16T07:00:01Z", "When the last came."))
    summary = fields.String(
        metadata=example("a right signature, but with something before it", "What went wrong.")
    )
    what_to_do = fields.String(
        metadata=example("The courier must send the bare hex.", "What to do about it.")
    )


class RefusalListSchema(Schema):
    """What was refused."""

    refusals = fields.List(
        fields.Nested(RefusalSchema), metadata={"description": "The latest first."}
    )


class AlertSchema(Schema):
    """A condition that holds now and that a person should know of."""

    condition = fields.String(
        metadata=example("poll_refused", "What kind it is; one alert for each kind and account")
    )
    severity = fields.String(
        validate=validate.OneOf(["warning", "critical"]),
        metadata=example("critical", "`critical`: orders are going wrong while nobody acts"),
    )
    account = fields.String(
        allow_none=True,
        metadata=example(
            "tiramizoo", "The account's slug; null where it is about the service as a whole"
        ),
    )
    since = Time(
        allow_none=True, metadata=example("2026-04-16T07:00:00Z", "When it began, where we know.")
    )
    count = fields.Integer(metadata=example(12, "How many orders or messages it is about"))
    summary = fields.String(
        metadata=example("the courier does not accept our credentials", "What is wrong")
    )
    what_to_do = fields.String(
        metadata=example("Check COURIER_TIRAMIZOO_API_TOKEN", "What usually mends it")
    )
    runbook = fields.String(
        metadata=example("deploy/runbook.md#poll-refused", "Where the runbook says what to do")
    )
    example = fields.String(
        allow_none=True,
        metadata=example("3AF7", "One of them: a courier_order_id, or a message's id"),
    )


class AlertListSchema(Schema):
    """The conditions that hold now."""

    alerts = fields.List(
        fields.Nested(AlertSchema), metadata={"description": "None where all is well."}
    )
