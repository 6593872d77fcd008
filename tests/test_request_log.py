"""The log leads from a request to its message and on to its order, and contains no secret."""

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session, sessionmaker
from structlog.testing import capture_logs

from tests.bodies import life, raw, tiramizoo_order
from tests.conftest import API_TOKEN
from tests.service import running_web

TOKEN = "tiramizoo-token"


def test_a_line_a_request_leads_to_the_message_and_hides_the_token(
    environ: dict[str, str],
    sessions: sessionmaker[Session],
    drain: Callable[[], int],
    tmp_path: Path,
) -> None:
    log = tmp_path / "web.log"
    hook = f"/webhooks/tiramizoo/orders/{TOKEN}"
    body = raw(tiramizoo_order("6d1f0b1e", life("created", "picked_up")))

    def lines() -> list[dict[str, Any]]:
        logged = [json.loads(line) for line in log.read_text().splitlines()]
        return [line for line in logged if line.get("event") == "request"]

    with running_web({**environ, "REQUEST_LOG": "on"}, log) as web:
        web.open(hook, method="POST", data=body)
        web.open(hook, method="POST", data=body)
        web.open(f"{hook}-wrong", method="POST", data=body)
        web.open("/livez")
        bearer = {"Authorization": f"Bearer {API_TOKEN}"}
        web.open("/v1/orders/tiramizoo/6d1f0b1e", headers=bearer)
        web.open("/nowhere/secret")
        for path in (f"tiramizoo/{TOKEN}", f"tiramizoo/{TOKEN}/orders", f"{TOKEN}/orders"):
            for method in ("POST", "GET"):
                web.open(f"/webhooks/{path}", method=method, data=b"{}")
    # The last line is written although web was stopped at once.
    kept, again, refused, asked, nowhere, *misplaced = lines()
    webhook = {"method": "POST", "account": "tiramizoo", "topic": "orders"}
    assert kept.items() >= {**webhook, "status": 200, "message_id": 1, "repeated": False}.items()
    assert again.items() >= {**webhook, "status": 200, "message_id": 1, "repeated": True}.items()
    assert refused.items() >= {**webhook, "status": 401}.items()
    assert kept["route"] == "/webhooks/<account>/<topic>/<token>"
    assert kept["ms"] > 0
    assert asked["order_id"] == "6d1f0b1e"
    assert (nowhere["route"], nowhere["status"]) == (None, 404)
    # A token in a wrong place of the address.
    assert [line["status"] for line in misplaced] == [404, 405, 404, 405, 404, 404]
    posted = [line.get("account") for line in misplaced if line["method"] == "POST"]
    assert posted == ["tiramizoo", "tiramizoo", None]
    for secret in (TOKEN, API_TOKEN, "secret", "Alice", "Thujaweg"):
        assert secret not in log.read_text()
    with capture_logs() as captured:
        drain()
    [batch] = [line for line in captured if line["event"] == "batch_folded"]
    assert batch["orders"] == {1: "6d1f0b1e"}
    assert (batch["accounts"], batch["not_applied"]) == (["tiramizoo"], {})


@pytest.mark.system
def test_requests_are_answered_while_nobody_reads_stdout(
    environ: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "web.log"
    os.mkfifo(log)
    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    try:
        # The smallest size of a pipe.
        room = fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
        with running_web({**environ, "REQUEST_LOG": "on", "WEB_CONCURRENCY": "1"}, log) as web:
            answers = [web.open("/nowhere").status_code for _ in range(room // 40)]
            # Those are lines of the request log, and these are lines of `logging`.
            refused = [web.send(b"x\r\n\r\n").status_code for _ in range(room // 40)]
            os.read(reader, 10 * room)
    finally:
        os.close(reader)
    assert set(answers) == {404}
    assert set(refused) == {400}
