"""`ordertrail poll`."""

from collections.abc import Callable, Mapping

import pytest
from click.testing import CliRunner, Result
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from receiver.cli.main import main
from tests.conftest import API_TOKEN

POLLED = {"COURIER_TIRAMIZOO_API_TOKEN": "t"}


@pytest.fixture
def shop(new_app: Callable[..., Flask], sessions: sessionmaker[Session]) -> FlaskClient:
    client = new_app(**POLLED).test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {API_TOKEN}"
    for number in range(3):
        new = {"account": "tiramizoo", "courier_order_id": f"u-{number}"}
        assert client.post("/v1/orders", json=new).status_code == 201
    return client


@pytest.fixture
def poll(environ: Mapping[str, str]) -> Callable[..., Result]:
    def run(*arguments: str, **changed: str) -> Result:
        env = {**environ, **POLLED, **changed}
        return CliRunner().invoke(main, ["poll", *arguments], env=env)

    return run


def due(sessions: sessionmaker[Session]) -> int:
    with sessions() as session:
        return session.scalar(text("SELECT count(*) FROM polls WHERE due_at <= now()")) or 0


def test_all_open_orders_become_due(
    shop: FlaskClient, poll: Callable[..., Result], sessions: sessionmaker[Session]
) -> None:
    assert due(sessions) == 0
    ran = poll("--all-open")
    assert ran.exit_code == 0
    assert ran.output.startswith("tiramizoo: 3 open orders are due")
    assert due(sessions) == 3


def test_orders_that_were_given_up_are_polled_too_and_those_that_are_over_are_not(
    shop: FlaskClient, poll: Callable[..., Result], sessions: sessionmaker[Session]
) -> None:
    with sessions.begin() as session:
        session.execute(
            text("UPDATE polls SET due_at = NULL, stopped_at = now() WHERE order_id = 1")
        )
        session.execute(text("UPDATE orders SET status = 'delivered' WHERE id = 2"))
    assert poll("--all-open", "--account", "tiramizoo").exit_code == 0
    assert due(sessions) == 2


@pytest.mark.parametrize(
    ("arguments", "changed", "code", "said"),
    [
        ((), {}, 2, "--all-open"),
        (("--all-open", "--account", "nobody"), {}, 1, "account 'nobody' is not configured"),
        (("--all-open", "--account", "shipmentapi"), {}, 1, "API_TOKEN"),
        (("--all-open",), {"COURIER_TIRAMIZOO_API_TOKEN": ""}, 1, "API_TOKEN"),
    ],
)
def test_an_account_that_cannot_be_polled_is_reported(
    poll: Callable[..., Result],
    arguments: tuple[str, ...],
    changed: dict[str, str],
    code: int,
    said: str,
) -> None:
    ran = poll(*arguments, **changed)
    assert ran.exit_code == code
    assert said in ran.output
