"""Every answer arrives whole and in its order on one connection."""

import socket
from pathlib import Path
from typing import BinaryIO

from tests.service import Web, running_web


def test_every_kind_of_answer_comes_whole_on_one_connection(
    environ: dict[str, str], tmp_path: Path
) -> None:
    with running_web(environ, tmp_path / "web.log") as web:
        shop = b"Authorization: Bearer test-api-token-01\r\n"
        script = (
            b"/ops/static/"
            + next((Path("receiver/web/console") / "static").glob("*.js")).name.encode()
        )
        asked = [
            (b"HEAD /livez", b"200", 0),
            (b"GET /livez", b"200", None),
            (b"GET /v1/openapi.json", b"200", None),
            (b"GET " + script, b"200", None),
            (b"GET /webhooks/tiramizoo/orders", b"405", None),
            (b"HEAD /webhooks/tiramizoo/orders", b"405", 0),
        ]
        with socket.create_connection(("127.0.0.1", web.port), timeout=60) as connection:
            answers = connection.makefile("rb")
            for line, status, length in asked:
                connection.sendall(line + b" HTTP/1.1\r\nHost: a\r\n" + shop + b"\r\n")
                assert read(answers, length)[0] == status, line


def read(answers: BinaryIO, length: int | None) -> tuple[bytes, bytes]:
    """The status and the body of the next answer; length: where it has no body in spite of it."""
    status = answers.readline().split()[1]
    headers: dict[bytes, bytes] = {}
    while line := answers.readline().strip():
        name, _, value = line.partition(b": ")
        headers[name.lower()] = value
    expected = int(headers[b"content-length"]) if length is None else length
    body = answers.read(expected)
    assert len(body) == expected
    return status, body


def test_many_requests_at_once_are_answered_in_their_order(
    environ: dict[str, str], tmp_path: Path
) -> None:
    with running_web(environ, tmp_path / "web.log") as web:
        assert pipelined(web) == [b"200", b"405", b"200"]


def pipelined(web: Web) -> list[bytes]:
    lines = (b"GET /livez", b"GET /webhooks/tiramizoo/orders", b"GET /livez")
    with socket.create_connection(("127.0.0.1", web.port), timeout=60) as connection:
        connection.sendall(b"".join(line + b" HTTP/1.1\r\nHost: a\r\n\r\n" for line in lines))
        answers = connection.makefile("rb")
        return [read(answers, None)[0] for _ in lines]
