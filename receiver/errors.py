"""What can go wrong, named by meaning and without HTTP; problems.py turns each into an answer.

The text of an error is read by the person it concerns: what was wrong, where, what to do.
"""


class OrdertrailError(Exception):
    """Every error that is ours to name."""


class UnknownAccount(OrdertrailError):
    """No account of this name is switched on, or it has no such topic."""


class RefusedCredential(OrdertrailError):
    """A courier's token or signature is `missing`, `malformed` or `wrong`; `why` says which."""

    def __init__(self, message: str, why: str) -> None:
        super().__init__(message)
        self.why = why


class BodyTooLarge(OrdertrailError):
    """The body is larger than MAX_BODY_BYTES."""


class BodyCutOff(OrdertrailError):
    """The sender promised more bytes than it sent, or sent them too slowly."""


class UnreadableBody(OrdertrailError):
    """The body is not UTF-8, not JSON, or not a JSON object."""


class Undecodable(OrdertrailError):
    """Valid JSON that its courier's driver cannot read; the text becomes the quarantine reason."""


class StorageUnavailable(OrdertrailError):
    """PostgreSQL did not take the message in time, so nothing was promised."""


class UnknownOrder(OrdertrailError):
    """No order answers to this identifier."""


class AmbiguousIdentifier(OrdertrailError):
    """Several orders of the account carry this identifier."""


class UnknownTour(OrdertrailError):
    """No tour plan of this account names this tour."""


class UnknownConflict(OrdertrailError):
    """No conflict of this order has this id."""


class UnknownMessage(OrdertrailError):
    """No message of the inbox has this id."""


class WrongOutcome(OrdertrailError):
    """What became of a message does not allow what was asked."""


class InvalidCursor(OrdertrailError):
    """A cursor that this service did not hand out; parameter is the name it came by."""

    def __init__(self, message: str, parameter: str) -> None:
        super().__init__(message)
        self.parameter = parameter


class TooManyWaiting(OrdertrailError):
    """So many readers wait for changes that there is no room for more."""


class NotPolled(OrdertrailError):
    """The account's courier cannot be asked: no API, or no credentials for it."""


class MissingBearerToken(OrdertrailError):
    """A request for the shop's side came without a valid bearer token."""


class CourierUnavailable(OrdertrailError):
    """A courier's API did not answer, or not in time, or has a fault; to be tried again."""


class CourierBusy(OrdertrailError):
    """A courier's API wants to be left alone: for so many seconds, None where it does not say."""

    def __init__(self, message: str, seconds: float | None) -> None:
        super().__init__(message)
        self.seconds = seconds


class CourierRefused(OrdertrailError):
    """A courier's API does not take our credentials, or they cannot even be sent."""


class UnknownToCourier(OrdertrailError):
    """A courier knows no order of this name, or the name is one that no order can have."""


class BrokenAnswer(OrdertrailError):
    """A courier's API answered, but not with what was asked for.

    body: what it answered, None where there is nothing to keep (empty, compressed, too large).
    """

    def __init__(self, message: str, body: bytes | None) -> None:
        super().__init__(message)
        self.body = body
