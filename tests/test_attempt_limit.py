"""Guessing tokens is slow for the address that guesses, and for nobody else."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from flask import Request
from flask.testing import FlaskClient
from werkzeug.test import EnvironBuilder

from receiver.access.tokens import Token
from receiver.errors import TooManyAttempts
from receiver.web import attempt_limit
from receiver.web.attempt_limit import API_ATTEMPTS, SIGN_IN_ATTEMPTS, AttemptLimit, client_address
from receiver.web.console.session_guard import COOKIE, create_session_cookie
from tests.conftest import API_TOKEN
from tests.console import sign_in

ELSEWHERE = {"REMOTE_ADDR": "198.51.100.7"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def refused(limit: AttemptLimit, address: str, credential: str) -> bool:
    """Try a wrong credential; whether it was not even compared."""
    try:
        limit.check(address, credential)
    except TooManyAttempts:
        return True
    limit.record(address, credential, right=False)
    return False


# The count


def test_an_address_has_its_attempts_at_once_and_then_one_a_second() -> None:
    now = [0.0]
    limit = AttemptLimit(5, lambda: now[0])
    assert sum(not refused(limit, "a", "x") for _ in range(300)) == 5
    assert not refused(limit, "b", "x")
    now[0] = 10.0
    assert sum(not refused(limit, "a", "x") for _ in range(300)) == 5
    tried = 0
    for tenth in range(600):
        now[0] = 10 + tenth / 10
        tried += not refused(limit, "a", "x")
    assert tried == pytest.approx(60, abs=2)


def test_a_refusal_says_how_long_to_wait() -> None:
    now = [0.0]
    limit = AttemptLimit(3, lambda: now[0])
    while not refused(limit, "a", "x"):
        pass
    with pytest.raises(TooManyAttempts) as refusal:
        limit.check("a", "y")
    now[0] += refusal.value.seconds
    limit.check("a", "y")


def test_a_credential_that_was_right_from_an_address_is_compared_there_always() -> None:
    limit = AttemptLimit(3, lambda: 0.0)
    limit.record("a", "right", right=True)
    while not refused(limit, "a", "x"):
        pass
    while not refused(limit, "b", "x"):
        pass
    limit.check("a", "right")
    with pytest.raises(TooManyAttempts):
        limit.check("b", "right")


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_limit, "MAX_ADDRESSES", 10)
    monkeypatch.setattr(attempt_limit, "MAX_KNOWN", 10)
    limit = AttemptLimit(3)
    for number in range(100):
        limit.record(str(number), "x", right=False)
        limit.record(str(number), "y", right=True)
    assert len(limit._filled) == len(limit._known) == 10


@pytest.mark.parametrize(
    ("peer", "forwarded", "counted"),
    [
        ("8.8.8.8", None, "8.8.8.8"),
        # A stranger's word about itself.
        ("8.8.8.8", "1.2.3.4", "8.8.8.8"),
        ("127.0.0.1", "1.2.3.4", "1.2.3.4"),
        ("::1", "1.2.3.4", "1.2.3.4"),
        ("10.2.3.4", "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        ("", "1.2.3.4", "1.2.3.4"),
        ("127.0.0.1", "nonsense", "127.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", None, "2001:db8:1:2::/64"),
        ("::ffff:8.8.8.8", None, "8.8.8.8"),
        ("", None, ""),
    ],
)
def test_whom_an_attempt_counts_against(peer: str, forwarded: str | None, counted: str) -> None:
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    environ = EnvironBuilder(
        headers=list(headers.items()), environ_base={"REMOTE_ADDR": peer}
    ).get_environ()
    assert client_address(Request(environ)) == counted


# The requests


def guess_bearer(client: FlaskClient, token: str) -> int:
    return client.get("/v1/orders", headers=bearer(token)).status_code


def guess_metrics_bearer(client: FlaskClient, token: str) -> int:
    return client.get("/metrics", headers=bearer(token)).status_code


def guess_console_bearer(client: FlaskClient, token: str) -> int:
    return client.get("/ops", headers=bearer(token)).status_code


def guess_docs_password(client: FlaskClient, token: str) -> int:
    return client.get("/v1/docs", auth=("anybody", token)).status_code


def guess_sign_in(client: FlaskClient, token: str) -> int:
    return sign_in(client, token).status_code


@pytest.mark.parametrize(
    ("guess", "attempts", "right"),
    [
        (guess_bearer, API_ATTEMPTS, 200),
        (guess_metrics_bearer, API_ATTEMPTS, 200),
        (guess_console_bearer, API_ATTEMPTS, 200),
        (guess_docs_password, API_ATTEMPTS, 200),
        (guess_sign_in, SIGN_IN_ATTEMPTS, 303),
    ],
)
def test_guesses_are_slowed_by_address(
    client: FlaskClient, guess: Callable[[FlaskClient, str], int], attempts: int, right: int
) -> None:
    answers = [guess(client, f"wrong-{number}") for number in range(150)]
    assert set(answers) == {401, 429}
    # One more each second that this takes.
    assert attempts <= answers.count(401) <= attempts + 15
    assert guess(client, API_TOKEN) == 429
    client.environ_base.update(ELSEWHERE)
    assert guess(client, API_TOKEN) == right


def test_who_uses_a_right_token_already_does_not_notice(client: FlaskClient) -> None:
    assert guess_bearer(client, API_TOKEN) == 200
    while guess_bearer(client, "wrong") != 429:
        pass
    assert guess_bearer(client, API_TOKEN) == 200


def test_requests_without_a_token_and_webhooks_are_not_slowed(client: FlaskClient) -> None:
    assert {client.get("/v1/orders").status_code for _ in range(2 * API_ATTEMPTS)} == {401}
    while guess_sign_in(client, "wrong") != 429:
        pass
    client.set_cookie(
        COOKIE,
        create_session_cookie(Token("api-1", API_TOKEN), "Ann", datetime.now(UTC)),
        path="/ops",
    )
    assert client.get("/ops/orders").status_code == 200


def test_the_refusal_is_a_problem_with_a_time_to_wait(client: FlaskClient) -> None:
    while guess_bearer(client, "wrong") != 429:
        pass
    answer = client.get("/v1/orders", headers=bearer("wrong"))
    assert answer.mimetype == "application/problem+json"
    assert answer.headers["Retry-After"] == "1"
    while guess_sign_in(client, "wrong") != 429:
        pass
    page = sign_in(client, "wrong")
    assert page.mimetype == "text/html"
    assert page.headers["Retry-After"] == "1"
