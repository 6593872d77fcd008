"""An answer goes out in one piece, whole and in its order, however it was written."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from receiver.web.gunicorn_worker import HELD_BYTES, Whole
from tests.service import Web, running_web

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


@pytest.fixture
def ends() -> Iterator[tuple[Whole, socket.socket]]:
    """Ours, and the one who reads."""
    ours, theirs = socket.socketpair()
    whole = Whole(ours.family, ours.type, ours.proto, ours.detach())
    theirs.settimeout(5)
    with whole, theirs:
        yield whole, theirs


def came(theirs: socket.socket) -> bytes:
    """What can be read just now."""
    theirs.setblocking(False)
    try:
        return theirs.recv(10 * HELD_BYTES)
    except BlockingIOError:
        return b""


def test_head_and_body_go_together(ends: tuple[Whole, socket.socket]) -> None:
    ours, theirs = ends
    ours.sendall(HEAD)
    ours.sendall(b"ok")
    assert came(theirs) == b""
    ours.flush()
    assert came(theirs) == HEAD + b"ok"
    ours.flush()
    assert came(theirs) == b""


def test_what_is_long_does_not_wait(ends: tuple[Whole, socket.socket]) -> None:
    ours, theirs = ends
    ours.sendall(HEAD)
    ours.sendall(b"x" * HELD_BYTES)
    assert came(theirs).startswith(HEAD + b"x")


def test_a_file_comes_behind_its_head(ends: tuple[Whole, socket.socket], tmp_path: Path) -> None:
    ours, theirs = ends
    file = tmp_path / "file"
    file.write_bytes(b"of a file")
    ours.sendall(HEAD)
    with file.open("rb") as content:
        ours.sendfile(content)
    assert came(theirs) == HEAD + b"of a file"


def test_every_kind_of_answer_comes_whole_on_one_connection(
    environ: dict[str, str], tmp_path: Path
) -> None:
    with running_web(environ, tmp_path / "web.log") as web:
        shop = b"Authorization: Bearer test-api-token\r\n"
        script = (
            b"/ops/static/"
            + next((Path("receiver/web/console") / "static").glob("*.js")).name.encode()
        )
        asked = [
            (b"HEAD /livez", b"200", 0),
            (b"GET /livez", b"200", None),
            # Longer than what is held back.
            (b"GET /v1/openapi.json", b"200", None),
            (b"GET " + script, b"200", None),
            (b"GET /webhooks/tiramizoo/orders", b"405", None),
            (b"HEAD /webhooks/tiramizoo/orders", b"405", 0),
        ]
        with socket.create_connection(("127.0.0.1", web.port), timeout=10) as connection:
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
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as connection:
        connection.sendall(b"".join(line + b" HTTP/1.1\r\nHost: a\r\n\r\n" for line in lines))
        answers = connection.makefile("rb")
        return [read(answers, None)[0] for _ in lines]
