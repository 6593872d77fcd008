"""Every answer has an X-Request-ID, which is in the log, in problems and on error pages."""

import json
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.console import sign_in, text_of
from tests.service import running_web
from tests.shop import problem_of

PATHS = (
    *("/", "/livez", "/readyz", "/metrics", "/nowhere", "/v1/orders", "/v1/nothing", "/v1/docs"),
    *("/ops", "/ops/nothing", "/ops/static/console.css", "/webhooks/tiramizoo/orders/x"),
)


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_one(client: FlaskClient, path: str) -> None:
    def ask(**headers: str) -> list[str]:
        answer = client.get(path, headers=headers)
        answer.close()
        return answer.headers.getlist("X-Request-ID")

    made = {*ask(), *ask()}
    assert [len(each) for each in made] == [20, 20]
    assert ask(**{"X-Request-ID": "shop-1/a.b:c"}) == ["shop-1/a.b:c"]


UNSAFE = (
    "",
    " ",
    "a b",
    "x" * 129,
    "é",
    "a,b",
    "<b>",
    "a;b",
    '"a"',
    "a\\b",
    "{}",
    "\x7f",
    "\x1b[m",
)


@pytest.mark.parametrize("given", UNSAFE)
def test_one_that_could_harm_is_replaced(client: FlaskClient, given: str) -> None:
    answer = client.get("/livez", headers={"X-Request-ID": given})
    assert answer.headers["X-Request-ID"] not in {given, given.strip()}


def test_a_problem_and_an_error_page_name_it(client: FlaskClient, shop: FlaskClient) -> None:
    same = {"X-Request-ID": "r-1"}
    problem = problem_of(shop.get("/v1/orders/tiramizoo/x", headers=same), 404)
    assert (problem["code"], problem["request_id"]) == ("order_not_found", "r-1")
    wrong = {"references": ["41", 41]}
    [_, item] = shop.post("/v1/orders/lookup", json=wrong, headers=same).get_json()["results"]
    assert item["problem"]["code"] == "invalid_request"
    assert item["problem"]["request_id"] == "r-1"
    sign_in(client)
    assert "r-1" in text_of(client.get("/ops/messages/7", headers=same))


def test_whatever_a_client_sends_the_answer_and_the_log_hold_one_sane_id(
    environ: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "web.log"
    with running_web({**environ, "REQUEST_LOG": "on"}, log) as web:

        def ask(value: bytes) -> tuple[int, str]:
            head = b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-ID: "
            answer = web.send(head + value + b"\r\n\r\n")
            found = {name.lower(): text for name, text in answer.headers.items()}["x-request-id"]
            assert json.loads(answer.data)["request_id"] == found
            return answer.status_code, found

        assert ask(b"shop-1") == (404, "shop-1")
        unsafe = (b"", b"a\r\n b", b"a\rb", b"a\nInjected: 1", b"\xc3\xa9", b"\xff", b"x" * 10_240)
        for value in unsafe:
            status, made = ask(value)
            assert status in {400, 404, 431}
            assert len(made) == 20
        # Two of them.
        assert len(ask(b"one\r\nX-Request-ID: two")[1]) == 20
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert "shop-1" in {line.get("request_id") for line in lines if line.get("event") == "request"}
    refused = [line for line in lines if line.get("event") == "invalid_request_refused"]
    assert refused
    assert all(len(line["request_id"]) == 20 for line in refused)
