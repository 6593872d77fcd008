"""Errors, named by their meaning and without HTTP; receiver/web/problems.py has their statuses.

The person whom an error concerns reads its text: what was wrong, with what, what to do.
"""


class OrdertrailError(Exception):
    """The base of all errors that have a name here."""


class CannotRun(OrdertrailError):
    """`ordertrail run` or one of its servers cannot be started."""


class UnknownAccount(OrdertrailError):
    """No account of this name is switched on, or it has no such topic."""


class RefusedCredential(OrdertrailError):
    """A courier's token or signature is `missing`, `malformed`, `wrong` or `outside_window`.

    The last one: the signature is right, but its timestamp is not near enough. `why` says which.
    """

    def __init__(self, message: str, why: str) -> None:
        super().__init__(message)
        self.why = why


class BodyTooLarge(OrdertrailError):
    """The body is larger than its limit (MAX_BODY_BYTES for webhooks)."""


class BodyCutOff(OrdertrailError):
    """The sender sent fewer bytes than it promised, or sent them too slowly."""


class UnreadableBody(OrdertrailError):
    """The body is not UTF-8, not JSON, or not a JSON object."""


class Undecodable(OrdertrailError):
    """A driver cannot decode a JSON object; the text becomes the reason of the quarantine."""


class NoSample(OrdertrailError):
    """No sample webhook can be made from an account's field map."""


class StorageUnavailable(OrdertrailError):
    """PostgreSQL did not execute a statement in time; nothing was stored, or nobody knows."""


class UnknownOrder(OrdertrailError):
    """No order has this name."""


class AmbiguousIdentifier(OrdertrailError):
    """Several orders of the account have this identifier."""


class UnknownLabel(OrdertrailError):
    """No label of the order came inside a message."""


class UnknownTour(OrdertrailError):
    """No tour plan of the account has this id."""


class UnknownAlert(OrdertrailError):
    """No alert with this id is open."""


class UnknownConflict(OrdertrailError):
    """No conflict of the order has this id."""


class UnknownMessage(OrdertrailError):
    """No message of the inbox has this id."""


class WrongOutcome(OrdertrailError):
    """The outcome of a message does not allow the requested action."""


class InvalidCursor(OrdertrailError):
    """A cursor that this service did not create. parameter: the name under which it was sent."""

    def __init__(self, message: str, parameter: str) -> None:
        super().__init__(message)
        self.parameter = parameter


class InvalidPeriod(OrdertrailError):
    """A period that ends before it begins or is too long. parameter: the one to correct."""

    def __init__(self, message: str, parameter: str) -> None:
        super().__init__(message)
        self.parameter = parameter


class TooManyWaiting(OrdertrailError):
    """As many readers as allowed wait for changes already."""


class NotPolled(OrdertrailError):
    """The account cannot be polled: its courier has no API, or its credentials are not set."""


class SampleNotPolled(OrdertrailError):
    """The order is a sample, which its courier does not know."""


class TrackingStopped(OrdertrailError):
    """The shop has stopped the tracking of the order, so its courier is not polled."""


class OrderReported(OrdertrailError):
    """The courier has reported the order, so it cannot be deleted; its tracking can be stopped."""


class MissingBearerToken(OrdertrailError):
    """A request needs a valid bearer token and has none."""


class ReadOnlyToken(OrdertrailError):
    """The token is a read token, which may not do this."""


class TooManyAttempts(OrdertrailError):
    """An address sent too many wrong tokens. seconds: how long to wait."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class CourierUnavailable(OrdertrailError):
    """A courier's API did not answer, not in time, or with a server error; to be retried."""


class CourierBusy(OrdertrailError):
    """A courier's API limits our rate. seconds: how long to wait; None where it does not say."""

    def __init__(self, message: str, seconds: float | None) -> None:
        super().__init__(message)
        self.seconds = seconds


class CourierRefused(OrdertrailError):
    """A courier's API refuses our credentials, or they cannot even be sent."""


class OutsideApi(OrdertrailError):
    """A request would leave the account's API, by a driver's mistake or a courier's next URL."""


class UnknownToCourier(OrdertrailError):
    """A courier has no order of this name, or no order can have it."""


class BrokenAnswer(OrdertrailError):
    """A courier's API answered something else than was requested.

    body: the answer; None where there is nothing to store (empty, compressed, too large).
    """

    def __init__(self, message: str, body: bytes | None) -> None:
        super().__init__(message)
        self.body = body
