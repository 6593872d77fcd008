"""What all pages share: how a form's or an address's fields are read, and how one goes on."""

from datetime import UTC, datetime
from typing import Any

from flask import g, redirect, request, url_for
from marshmallow import EXCLUDE, Schema, ValidationError
from werkzeug.exceptions import UnprocessableEntity
from werkzeug.wrappers import Response

# What a page says once something was done, by the word that stands in its address: never a text
# that somebody could put there.
NOTICES = {
    "asked": "The courier is asked as soon as its account's limits let us.",
    "erased": "What was known of people is erased. The status and the timeline stay.",
    "closed": "The conflict is closed.",
    "retried": "Sent back to the workers: they read it as soon as no new messages wait.",
    "applied": "Nothing to do: it is applied already, or about to be.",
    "retried_many": "Sent back to the workers:",
    "retried_some": "So many were sent back to the workers, and there are more; do it again:",
    "discarded": "Discarded. Its bytes stay; a retry takes the word back.",
}


def read(schema: Schema, told: dict[str, str]) -> dict[str, Any]:
    """Fields by a schema of the API; what is left empty was not filled in.

    Raises: UnprocessableEntity, which says what cannot be used.
    """
    given = {name: value.strip() for name, value in told.items() if value.strip()}
    try:
        return dict(schema.load(given, unknown=EXCLUDE))
    except ValidationError as refused:
        faults: dict[str, list[str]] = refused.normalized_messages()  # type: ignore[no-untyped-call]
        text = "; ".join(f"{name}: {' '.join(map(str, it))}" for name, it in faults.items())
        raise UnprocessableEntity(text) from None


class Asked(dict[str, str]):
    """What an address asks for; empty for what it does not name."""

    def __missing__(self, name: str) -> str:
        return ""


def asked() -> Asked:
    """The address's parameters; the first of several of a name."""
    return Asked(request.args.to_dict())


def done(endpoint: str, notice: str, **place: Any) -> Response:
    """On to a page that says what was done, so that loading it anew does nothing twice."""
    return redirect(url_for(endpoint, done=notice, **place), 303)


def shared() -> dict[str, Any]:
    """What every template has."""
    notice = NOTICES.get(request.args.get("done", ""))
    count = request.args.get("count", "")
    if notice and count.isascii() and count.isdigit():
        notice = f"{notice} {int(count[:9])} messages."
    return {
        "now": datetime.now(UTC),
        "notice": notice,
        "visitor": g.get("visitor"),
    }


def order_url(account: str, order_id: str) -> str:
    """The page of an order. In the query, where an id may hold slashes and dots and be itself."""
    return url_for("console.orders.show", account=account, id=order_id)
