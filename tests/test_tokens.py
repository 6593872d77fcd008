"""What each kind of token opens."""

import re
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session, sessionmaker

from tests.shop import problem_of

READ_TOKEN = "read-token-of-report"
# What a read token may use is every GET under /v1 but these, and one POST.
CLOSED = {"/v1/messages/<number:message_id>", "/v1/audit"}
OPEN = {("POST", "/v1/orders/lookup")}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


@pytest.fixture
def app(new_app: Callable[..., Flask], sessions: sessionmaker[Session]) -> Flask:
    return new_app(READ_TOKENS=f"report:{READ_TOKEN}")


@pytest.fixture
def reader(app: Flask) -> FlaskClient:
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {READ_TOKEN}"
    return client


def test_a_read_token_opens_what_the_contract_lists_and_nothing_else(
    app: Flask, reader: FlaskClient
) -> None:
    tried = set()
    for rule in app.url_map.iter_rules():
        if not rule.rule.startswith(("/v1", "/ops", "/metrics")) or "static" in rule.endpoint:
            continue
        path = re.sub(r"<[^>]+>", "1", rule.rule)
        for method in ("GET", "HEAD") if path == "/metrics" else METHODS:
            answer = reader.open(path, method=method)
            reads = method in {"GET", "HEAD"} and rule.rule not in CLOSED
            is_open = rule.rule.startswith("/v1") and (reads or (method, rule.rule) in OPEN)
            assert (answer.status_code not in {401, 403}) == is_open, (method, rule.rule)
            if not is_open and method != "HEAD" and not path.startswith("/ops"):
                assert problem_of(answer, 403)["code"] == "read_only_token"
            tried.add((method, rule.rule))
    assert len(tried) > 200


def test_at_a_path_that_does_not_exist_a_read_token_only_reads(reader: FlaskClient) -> None:
    assert problem_of(reader.get("/v1/nothing"), 404)["code"] == "path_not_found"
    problem_of(reader.post("/v1/nothing"), 403)
    assert reader.options("/v1/orders").status_code == 200


def test_a_read_token_opens_the_description_as_a_password(app: Flask) -> None:
    client = app.test_client()
    assert client.get("/v1/docs", auth=("any", READ_TOKEN)).status_code == 200
    assert client.get("/v1/orders", auth=("any", READ_TOKEN)).status_code == 401


def test_a_read_token_is_no_wrong_attempt(app: Flask, reader: FlaskClient) -> None:
    """Or a client that may only read would lock out the others behind its address."""
    for _ in range(100):
        assert reader.post("/v1/orders").status_code == 403
    wrong = app.test_client().get("/v1/orders", headers={"Authorization": "Bearer wrong"})
    assert wrong.status_code == 401


def test_head_answers_as_get_does_without_the_body(reader: FlaskClient) -> None:
    same = {"X-Request-ID": "the-same"}
    got, asked = reader.get("/v1/orders", headers=same), reader.head("/v1/orders", headers=same)
    assert asked.status_code == 200
    assert asked.data == b""
    assert dict(asked.headers) == dict(got.headers)
