"""How far the change feed was pushed to the shop, and how a test push ended."""

from marshmallow.fields import Float, TimeDelta

from receiver.schemas.fields import Answer, described, integer, text, time

RESULT = text(
    "`accepted` (2xx), `redirected`, `rejected` (any other status), `timed_out`, `unreachable`, or"
    " `broken` (no HTTP, or cut off).",
    "rejected",
    null=True,
)
DETAIL = text("The same for people.", "answered 500", null=True)


class PushProgressSchema(Answer):
    """The shop's place in the change feed, and how the last attempt to push to it ended."""

    cursor = text("Cursor of the last change that the shop accepted.", "YzQx")
    batch_cursor = text(
        "Cursor of the last change of the batch that was sent and not accepted; null: none was.",
        "YzQ0",
        null=True,
    )
    waiting = integer("Changes that it has not accepted yet; counted up to 10,000.", 3)
    waiting_since = time("When the oldest of them happened; null: none waits.", null=True)
    lag_seconds = described(
        TimeDelta, "How long that is ago, in seconds; 0: none waits.", 42.0, attribute="lag"
    )
    placed_at = time("When the pushes began, or a person last moved the place in the feed.")
    attempted_at = time("When the last attempt ended; null: none was made.", null=True)
    accepted_at = time("When the shop last accepted a push; null: never.", null=True)
    result = RESULT
    detail = DETAIL
    failures = integer("Attempts in a row that the shop did not accept.", 2)
    failing_since = time("When the first of them ended; null: there is none.", null=True)
    next_attempt_at = time("When the next attempt is due; null: with the next change.", null=True)


class ShopAnswerSchema(Answer):
    """How the shop answered a test push."""

    result = RESULT
    detail = DETAIL
    seconds = described(Float, "How long the request took.", 0.12)
    body = text("The beginning of the response's body.", "ok")
