"""Find an order of an installation through its API, for `ordertrail send`."""

import json
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

import click
import httpcore

from receiver.cli.output import print_note
from receiver.errors import UnknownOrder

TIMEOUT_SECONDS = 15.0
Order = dict[str, Any]


def find_couriers_id(
    base_url: str, token: str, account: str, order_id: str | None, reference: str | None
) -> str:
    """Return the id by which its courier names the order that has this name, or this reference.

    Where both are given, the order must have both. An order that its courier has not reported yet
    is named as it was registered.

    Raises: UnknownOrder; click.ClickException where the installation cannot be asked.
    """
    api = f"{base_url}/v1/orders"
    if order_id is not None:
        path = f"{api}/{quote(account, safe='')}/{quote(order_id, safe='')}"
        order = _ask(path, token, account, order_id)
        if reference is not None and order["reference"] != reference:
            raise UnknownOrder(
                f"order {order_id!r} of account {account!r} has the reference"
                f" {order['reference']!r}, not {reference!r}"
            )
    else:
        query = urlencode({"reference": reference, "account": account, "test": "true"})
        orders = _ask(f"{api}?{query}", token, account, reference or "")["orders"]
        order = _only_one([each for each in orders if not each["sample"]], account, reference or "")
    courier_order_id: str = order["courier_order_id"]
    if order["last_heard_at"] is None:
        print_note(
            f"Its courier has not reported order {courier_order_id!r} yet, so the message names it"
            " as it was registered. If that is not the courier's own id, what the courier sends"
            " later makes another order."
        )
    return str(order["identifiers"].get("id", courier_order_id))


def _only_one(orders: list[Order], account: str, reference: str) -> Order:
    if not orders:
        raise UnknownOrder(
            f"account {account!r} has no order with the reference {reference!r}: register it first,"
            " or send a sample without --reference"
        )
    if len(orders) > 1:
        ids = ", ".join(repr(order["courier_order_id"]) for order in orders)
        raise UnknownOrder(
            f"several orders of account {account!r} have the reference {reference!r}: use --order"
            f" with one of {ids}"
        )
    return orders[0]


def _ask(url: str, token: str, account: str, name: str) -> dict[str, Any]:
    """Get a URL of the API. Raises: UnknownOrder; click.ClickException."""
    timeout = dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT_SECONDS)
    headers = [("Authorization", f"Bearer {token}"), ("User-Agent", "ordertrail send")]
    try:
        with httpcore.ConnectionPool(ssl_context=httpcore.default_ssl_context()) as pool:
            response = pool.request("GET", url, headers=headers, extensions={"timeout": timeout})
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
        failure = f"{type(error).__name__}: {error}".rstrip(": ")
        raise click.ClickException(f"{url} cannot be asked for the order: {failure}") from None
    if response.status == HTTPStatus.NOT_FOUND:
        raise UnknownOrder(
            f"account {account!r} has no order {name!r}: register it first, or send a sample by"
            " --order ORDERTRAIL-SAMPLE-1"
        )
    answer = _parse(response.content)
    if response.status != HTTPStatus.OK or answer is None:
        detail = (answer or {}).get("detail", "this is not a response of Ordertrail: check --url")
        text = f"the order cannot be looked up ({response.status}): {detail}"
        if response.status == HTTPStatus.UNAUTHORIZED:
            text = (
                f"the order cannot be looked up (401): {url} does not accept the first token of"
                " API_TOKENS or READ_TOKENS"
            )
        raise click.ClickException(text)
    return answer


def _parse(body: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None
