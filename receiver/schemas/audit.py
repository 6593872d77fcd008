"""The audit log as the API and the command line show it."""

from typing import Any

from marshmallow import ValidationError, validates_schema

from receiver.audit import ACTIONS
from receiver.schemas import fields
from receiver.schemas.fields import Answer, given_text, identifier, nested_list, text, time

AN_ACTION = (
    "What was done. `register`, `change`, `delete`, `erase`, `refresh`: to an order; `close`: a"
    " conflict of an order; `retry`, `discard`: to messages; `acknowledge`: an alert, or it was"
    " snoozed; `sign_in`, `sign_out`: at the console. More values may be added."
)


class AuditEntrySchema(Answer):
    """One action of a person or of a client of the API."""

    at = time("When it was done.", "2026-04-16T07:00:03Z")
    who = text(
        "The token's name; at the console the name that somebody signed in with; `command line`"
        " with the user of the operating system.",
        "warehouse",
    )
    token_name = text("Name of the API token; null: the command line.", "warehouse", null=True)
    action = text(AN_ACTION, "register")
    account = text("The account it concerned; null: none, or all.", "tiramizoo", null=True)
    courier_order_id = text(
        "The courier's id of the order; null: none, or several messages.",
        "2a9eeeb3-16ba-4184-b894-c9734f613e93",
        null=True,
    )
    message_id = text("Id of the message; null: none, or several.", "184467", null=True)
    request_id = text(
        "The `X-Request-ID` of the request; null: the command line.",
        "0b1c4f0e9a2d47c3a1f2",
        null=True,
    )


class AuditPageSchema(Answer):
    """A page of the audit log."""

    entries = nested_list(AuditEntrySchema, "The entries of this page, newest first.")
    next_cursor = fields.NEXT_CURSOR


class AuditFiltersSchema(fields.PageFilters):
    """Which entries of the audit log to list: those that match all filters."""

    since = time("Only what was done at this time or later.")
    until = time("Only what was done before this time.", "2030-01-01T00:00:00Z")
    who = given_text("Only what this name did.", "api-1", length=(1, 100))
    action = given_text(AN_ACTION, "register", choices=ACTIONS)
    courier_order_id = identifier(
        "The courier's own id of the order; requires `account`.",
        "2a9eeeb3-16ba-4184-b894-c9734f613e93",
    )

    @validates_schema
    def _order_of_an_account(self, filters: dict[str, Any], **kwargs: Any) -> None:
        if "courier_order_id" in filters and "account" not in filters:
            raise ValidationError("requires account", "courier_order_id")
