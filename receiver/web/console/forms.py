"""What the console's pages share: reading fields, redirects with a notice, error pages."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from typing import Any

from flask import Response, g, make_response, redirect, render_template, request, url_for
from marshmallow import EXCLUDE, Schema, ValidationError
from werkzeug.exceptions import BadRequest, UnprocessableEntity
from werkzeug.wrappers import Response as AnyResponse

from receiver.text import count_noun
from receiver.web.console.session_guard import add_headers
from receiver.web.context import app_context
from receiver.web.problems import Problem

# The notices on a page after an action, by the word in its URL: a URL cannot bring its own text.
NOTICES = {
    "asked": "The courier will be polled as soon as the account's rate limits allow it.",
    "corrected": "The order was corrected.",
    "stopped": "The tracking was stopped: the order is not polled and raises no alert.",
    "active": "The order is tracked again.",
    "deleted": "The order was deleted.",
    "erased": "The personal data was erased. The status and the timeline remain.",
    "closed": "The conflict was closed.",
    "retried": "Retry was requested. The message is processed again after new messages; this page"
    " then shows the result.",
    "applied": "Nothing to do: the message is already applied or pending.",
    "retried_many": "{messages} will be processed again.",
    "retried_some": "{messages} will be processed again. There are more: press Retry all again.",
    "acknowledged": "The alert is not pushed meanwhile, unless it becomes critical.",
    "resumed": "The alert is pushed again as usual.",
    "discarded_many": "Discarded: {messages}. Retry reverses the decision.",
    "discarded_some": "Discarded: {messages}. There are more: send the form again.",
    "discarded": "The message was discarded. Its body stays stored; Retry reverses the decision.",
}
WHAT_TO_DO = {
    HTTPStatus.UNAUTHORIZED: "Sign in, then repeat the action.",
    HTTPStatus.FORBIDDEN: "Reload the page, then send the form from there.",
    HTTPStatus.NOT_FOUND: "It may have been removed since: go back and reload the list.",
    HTTPStatus.METHOD_NOT_ALLOWED: "Use the button on the page; this address cannot be opened.",
    HTTPStatus.TOO_MANY_REQUESTS: "Wait a few seconds, then go back and try again.",
    HTTPStatus.SERVICE_UNAVAILABLE: "No message is lost: couriers resend what was not accepted."
    " Reload this page in a moment. /readyz and the logs show the cause.",
}


class Query(dict[str, str]):
    """The parameters of a URL; empty for one that is not there."""

    def __missing__(self, name: str) -> str:
        return ""


def read_query() -> Query:
    """Read the parameters of the URL; the first one of several with one name."""
    return Query(request.args.to_dict())


def load_fields(schema: Schema, fields: dict[str, str]) -> dict[str, Any]:
    """Load the fields that are not empty by a schema of the API.

    Raises: UnprocessableEntity, which names the invalid fields.
    """
    given = {name: value.strip() for name, value in fields.items() if value.strip()}
    try:
        return dict(schema.load(given, unknown=EXCLUDE))
    except ValidationError as error:
        faults: dict[str, list[str]] = error.normalized_messages()  # type: ignore[no-untyped-call]
        text = "; ".join(
            f"{name}: {' '.join(map(str, messages))}" for name, messages in faults.items()
        )
        raise UnprocessableEntity(text) from None


def read_days(fields: Mapping[str, str], name: str) -> dict[str, str]:
    """Return the range of times `<name>_since`, `<name>_until` of `<name>_from` and `<name>_to`.

    They are days in UTC; the last one is in the range. What is no day stays, for its schema to say
    what is wrong with it.
    """
    first, last = fields.get(f"{name}_from", ""), fields.get(f"{name}_to", "")
    with suppress(ValueError, OverflowError):
        last = last and (date.fromisoformat(last) + timedelta(days=1)).isoformat()
    return {
        **({f"{name}_since": f"{first}T00:00:00Z"} if first else {}),
        **({f"{name}_until": f"{last}T00:00:00Z"} if last else {}),
    }


def redirect_with_notice(endpoint: str, notice: str, **values: Any) -> AnyResponse:
    """Redirect to a page that shows a notice, so that reloading it repeats nothing."""
    return redirect(url_for(endpoint, done=notice, **values), 303)


def shared_context() -> dict[str, Any]:
    """Return the variables of every template."""
    count = request.args.get("count", "")
    messages = count_noun(int(count[:9]) if count.isascii() and count.isdigit() else 0, "message")
    notice = NOTICES.get(request.args.get("done", ""))
    return {
        "now": datetime.now(UTC),
        "accounts": sorted(app_context().settings.accounts),
        "test_accounts": app_context().settings.test_accounts,
        "notice": notice and notice.format(messages=messages),
        "user": g.get("user"),
    }


def read_parameters(*names: str) -> list[str]:
    """Read parameters that the URL must have.

    Raises: BadRequest.
    """
    if not all(request.args.get(name) for name in names):
        raise BadRequest(f"the URL must have the parameters {', '.join(names)}")
    return [request.args[name] for name in names]


def is_test_account(slug: str) -> bool:
    """Return whether the orders of an account are kept apart (COURIER_<ACCOUNT>_TEST)."""
    return slug in app_context().settings.test_accounts


def order_url(account: str, order_id: str, **more: Any) -> str:
    """Return the URL of an order's page: with a query, since an id may have slashes and dots."""
    return url_for("console.orders.show_order_page", account=account, id=order_id, **more)


def render_problem_page(problem: Problem) -> Response:
    """Render an error as a page."""
    page = render_template(
        "console/failure.html",
        **shared_context(),
        title=problem.status.phrase,
        message=f"{problem.detail[:1].upper()}{problem.detail[1:]}",
        what_to_do=WHAT_TO_DO.get(problem.status, ""),
        request_id=g.request_id,
        is_page_missing=problem.status == HTTPStatus.NOT_FOUND and request.routing_exception,
        # Of the page of an order, and of its forms.
        wanted_order=(request.view_args or {}).get("order_id") or request.args.get("id"),
    )
    return add_headers(make_response(page))
