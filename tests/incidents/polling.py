"""Incidents of the couriers' APIs."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

from tests import nginx
from tests.faults.stand import AUTHORIZED
from tests.incidents.incident import Incident, Undo, nothing
from tests.incidents.stage import Stage
from tests.sandbox import Tiramizoo, evenly
from tests.sandbox.orders import utc_now
from tests.service import wait_until

# Polls every few seconds, and pauses of seconds where they are minutes.
FACTOR = "0.002"

# A courier for each way to fail.
ERRS = Tiramizoo(account="ERRS")
HANGS = Tiramizoo(account="HANGS")
LIMITS = Tiramizoo(account="LIMITS")
REFUSES = Tiramizoo(account="REFUSES")
UNTRUSTED = Tiramizoo(account="UNTRUSTED")
COURIERS = (ERRS, HANGS, LIMITS, REFUSES, UNTRUSTED)


@contextmanager
def polled() -> Iterator[Mapping[str, str]]:
    """All of these couriers, and the settings that point at them."""
    environ = {"POLL_INTERVAL_FACTOR": FACTOR}
    with ExitStack() as stack:
        for courier in COURIERS:
            environ |= stack.enter_context(courier).environ()
        environ["COURIER_UNTRUSTED_API_URL"] = stack.enter_context(_untrusted())
        yield environ


@contextmanager
def _untrusted() -> Iterator[str]:
    """A server whose certificate nobody trusts; its address."""

    class Handler(BaseHTTPRequestHandler):
        pass

    with TemporaryDirectory() as directory:
        certificate = nginx.certify(Path(directory), "IP:127.0.0.1")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_name("key.pem"))
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{server.server_port}"
        server.shutdown()
        server.server_close()


def register(stage: Stage) -> None:
    """Three orders with each courier, which are polled."""
    for courier in COURIERS:
        for _ in range(3):
            order = courier.create(evenly("created", start=utc_now(), apart=timedelta()))
            body = {"account": courier.account.lower(), "courier_order_id": order.id}
            connection = stage.connect()
            headers = {**AUTHORIZED, "Content-Type": "application/json"}
            connection.request("POST", "/v1/orders", json.dumps(body), headers)
            assert connection.getresponse().status == 201
            connection.close()


def fails(courier: Tiramizoo, kind: str, ago: str = "0 s") -> Callable[[Stage], Undo]:
    """Its API fails; once it is paused, so much time passes.

    ago: as an interval of PostgreSQL.
    """

    def begin(stage: Stage) -> Undo:
        if kind == "refuse":
            courier.token = "another"
        elif kind != "certificate":
            courier.faults.always(kind)
        account = courier.account.lower()
        stage.sql("UPDATE polls SET due_at = now() WHERE account = %s", [account])
        paused = "SELECT FROM accounts WHERE account = %s AND paused_at IS NOT NULL"
        wait_until(lambda: stage.sql(paused, [account]), 120)
        stage.sql(
            "UPDATE accounts SET paused_at = paused_at - %s::interval WHERE account = %s",
            [ago, account],
        )
        return nothing

    return begin


INCIDENTS = (
    Incident(
        "courier answers 500", "a courier's API answers 500; ten minutes pass by SQL",
        fails(ERRS, "status", "10 min"), "poll_failing/errs", "API failed", ends=False,
        beside="polling", around=polled, prepare=register,
    ),
    Incident(
        "courier hangs", "a courier's API never answers; ten minutes pass by SQL",
        fails(HANGS, "hang", "10 min"), "poll_failing/hangs", "API failed", ends=False,
        beside="polling",
    ),
    Incident(
        "certificate", "a courier's certificate is not trusted; ten minutes pass by SQL",
        fails(UNTRUSTED, "certificate", "10 min"), "poll_failing/untrusted", "API failed",
        ends=False, beside="polling",
    ),
    Incident(
        "courier limits", "a courier answers 429 to everything; an hour passes by SQL",
        fails(LIMITS, "too_many", "1 h"), "poll_limited/limits", "limited our requests",
        ends=False, beside="polling",
    ),
    Incident(
        "wrong API token", "a courier refuses our API token", fails(REFUSES, "refuse"),
        "poll_refused/refuses", "refuses our credentials", ends=False, beside="polling",
    ),
)  # fmt: skip
