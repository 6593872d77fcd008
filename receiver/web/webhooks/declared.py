"""What a topic declares beside how it is decoded: what is kept of a request, and its answers.

The functions of a driver that are called here are called while the courier waits. One that raises
must not cost a message: the message is stored, and the courier gets the usual answer.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import structlog
from flask import Response, request
from werkzeug.exceptions import BadRequest

from receiver.couriers.contract import OK_ANSWER, Answer, Heard, Topic
from receiver.couriers.signatures.scheme import SIGNED, TOKEN, Scheme
from receiver.inbox.content import parse_parameters
from receiver.inbox.json_body import NUL_SYMBOL
from receiver.logs import failure_fields
from receiver.settings import Account
from receiver.web.context import app_context

log = structlog.get_logger(__name__)

SECRET_HEADERS = {"authorization", "proxy-authorization", "cookie"}

# A handshake repeats what stands in the query: whoever makes a browser open such a URL must not get
# a page of his own out of it.
HANDSHAKE_TYPE = "text/plain; charset=utf-8"
MOST_HANDSHAKE_BYTES = 1_000


def keep_request(topic: Topic, scheme: Scheme) -> dict[str, Any] | None:
    """Return what the topic keeps of the current request, as in Message.request.

    scheme: the account's. Its credential is not kept, whatever the topic declares.
    """
    if not topic.keeps_request:
        return None
    withheld = find_secret_headers(scheme)
    headers = {
        name.lower(): _decode_header(value)
        for name in topic.headers
        if name.lower() not in withheld and (value := request.headers.get(name)) is not None
    }
    query = read_query() if topic.keeps_query else {}
    return {"method": request.method, "headers": headers, "query": query}


def find_secret_headers(scheme: Scheme) -> set[str]:
    """Return the headers that hold credentials, or may; not those that a signature covers."""
    read = {name.lower() for name in scheme.header_names}
    return SECRET_HEADERS | (read - {name.lower() for name in scheme.signed_headers})


def find_trust(topic: Topic, scheme: Scheme) -> str:
    """Return how far what a topic's webhooks report can be trusted: `signed` or `token`.

    A signature proves the body, and a header only where it covers it. Whoever once saw a signed
    request may send it again with other parameters in its URL.
    """
    if scheme.trust != SIGNED or not topic.keeps_request:
        return scheme.trust
    covered = {name.lower() for name in scheme.signed_headers}
    is_proven = (
        topic.body != "empty"
        and not topic.keeps_query
        and covered.issuperset(name.lower() for name in topic.headers)
    )
    return SIGNED if is_proven else TOKEN


def read_query() -> Mapping[str, str | list[str]]:
    """Return the parameters of the current request's URL."""
    return parse_parameters(request.query_string.decode(errors="replace"))


def _decode_header(value: str) -> str:
    # WSGI has the bytes of a header as Latin-1, whatever they are.
    raw = value.encode("latin-1", "replace")
    return raw.decode(errors="replace").replace("\0", NUL_SYMBOL)


def is_noise(account: Account, topic: Topic, content: Any, kept: Mapping[str, Any] | None) -> bool:
    """Return whether a message reports nothing; one that its driver cannot judge does not."""
    judge = topic.is_noise
    if judge is None:
        return False
    try:
        return bool(judge(content, _heard(account, kept)))
    except Exception as error:  # noqa: BLE001 (see the module's docstring)
        _report_fault(account.slug, "is_noise", error)
        return False


def answer_message(
    account: Account, topic: Topic, content: Any, kept: Mapping[str, Any] | None
) -> Response:
    """Return the courier's answer to a message that is stored, or discarded."""
    answer = topic.answer
    if isinstance(answer, Answer):
        return _render(answer)
    make = answer
    return _render_made(account.slug, "answer", lambda: make(content, _heard(account, kept)))


def answer_handshake(account: str, handshake: Callable[[Any], Answer]) -> Response:
    """Return the answer to the request by which a courier checks a URL.

    Raises: BadRequest where the driver refuses it, and where the answer would be longer than
        MOST_HANDSHAKE_BYTES.
    """
    query = read_query()
    response = _render_made(account, "handshake", lambda: handshake(query))
    if len(response.data) > MOST_HANDSHAKE_BYTES:
        raise BadRequest(f"the answer would be longer than {MOST_HANDSHAKE_BYTES} bytes")
    if response.status_code >= HTTPStatus.BAD_REQUEST:
        raise BadRequest(response.get_data(as_text=True))
    response.content_type = HANDSHAKE_TYPE
    return response


def _heard(account: Account, kept: Mapping[str, Any] | None) -> Heard:
    return Heard(**(kept or {"method": request.method}), field_map=account.field_map)


def _render(answer: Answer) -> Response:
    return Response(answer.body, answer.status, content_type=answer.content_type)


def _render_made(account: str, part: str, make: Callable[[], Answer]) -> Response:
    try:
        return _render(make())
    except Exception as error:  # noqa: BLE001 (see the module's docstring)
        _report_fault(account, part, error)
        return _render(OK_ANSWER)


def _report_fault(account: str, part: str, error: Exception) -> None:
    # No traceback: it may show the contents of the message.
    log.error("courier_answer_failed", account=account, part=part, **failure_fields(error))
    app_context().answer_recorder.record_driver_fault(account)
