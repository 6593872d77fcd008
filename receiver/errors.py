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


class InvalidCursor(OrdertrailError):
    """A page cursor that this service did not hand out."""


class MissingBearerToken(OrdertrailError):
    """A request for the shop's side came without a valid bearer token."""
