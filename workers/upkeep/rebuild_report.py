"""The report of a rebuild, and the messages that it could not decode."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from receiver.couriers.snapshot import Decoded
from receiver.db.models import Message
from receiver.errors import OrdertrailError
from receiver.logs import exception_fields
from receiver.settings import Account
from workers.folding.message_folding import decode_message


@dataclass
class RebuildReport:
    """What the rebuild of a chunk did.

    differences  for each order or tour that comes out differently, a line that says how
    unreadable   for each message that cannot be decoded any more, a line that says why
    failed       for each order that could not be rebuilt and stays as it is, a line that says why
    """

    orders: int = 0
    messages: int = 0
    differences: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def decode_or_report(
    message: Message, accounts: Mapping[str, Account], report: RebuildReport
) -> Decoded | None:
    """Decode a message; None, with a line in the report, where that is no longer possible."""
    try:
        return decode_message(message, accounts)
    except Exception as error:  # noqa: BLE001 (a driver's mistake costs its messages only)
        report.unreadable.append(f"message {message.id}: {describe_failure(error)}")
        return None


def describe_failure(error: Exception) -> str:
    """Say what failed, without the text of errors that may quote a message."""
    if isinstance(error, OrdertrailError):
        return str(error)
    fields = exception_fields(error)
    return f"{fields['error']} at {fields['where']}"
