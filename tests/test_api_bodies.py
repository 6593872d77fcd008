"""Bodies under /v1 as they come over the wire: cut off, badly chunked, never ending."""

import time

import pytest
from sqlalchemy.orm import Session, sessionmaker

from tests.conftest import API_TOKEN
from tests.service import Web, chunked, read_answer

HEAD = (
    "POST /v1/orders HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n"
    f"Authorization: Bearer {API_TOKEN}\r\n"
)
ORDER = b'{"account":"tiramizoo","courier_order_id":"cut-1"}'


@pytest.fixture(autouse=True)
def empty(sessions: sessionmaker[Session]) -> None:
    """On an empty database."""


def test_a_body_in_chunks_is_read(web: Web) -> None:
    head = f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode()
    assert web.send(head + chunked(ORDER[:20], ORDER[20:])).status_code == 201


@pytest.mark.parametrize(
    ("rest", "half_close"),
    [
        (b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", False),
        (b"Transfer-Encoding: chunked\r\n\r\n32\r\n" + ORDER[:9], True),
        (b"Content-Length: 100\r\n\r\n" + ORDER, True),
    ],
)
def test_a_body_that_does_not_come_whole_is_a_problem(
    web: Web, rest: bytes, half_close: bool
) -> None:
    answer = web.send(HEAD.encode() + rest, half_close=half_close)
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    asked = {"Authorization": f"Bearer {API_TOKEN}"}
    assert web.get("/v1/orders/tiramizoo/cut-1", asked).status_code == 404


def test_a_body_that_is_too_large_is_refused(web: Web) -> None:
    rest = f"Content-Length: 300000\r\n\r\n{'x' * 300_000}"
    answer = web.send(f"{HEAD}{rest}".encode())
    assert answer.status_code == 413
    assert "262144 bytes" in answer.json["detail"]


@pytest.mark.system
def test_a_sender_that_stalls_is_given_up_on(web: Web) -> None:
    began = time.monotonic()
    with web.connected() as connection:
        connection.sendall(f"{HEAD}Content-Length: 100\r\n\r\n{{".encode())
        assert read_answer(connection).status_code == 400
    assert 5 < time.monotonic() - began < 60
