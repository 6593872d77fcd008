"""The change feed in a terminal: from where, until when, and where to go on."""

import io
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from receiver.changes import feed
from receiver.cli import changes as command
from tests.command import command_json, process, run_command
from tests.shop import get


@pytest.fixture
def register(shop: FlaskClient) -> Callable[[str], None]:
    """Make a change: order it is registered."""

    def post(order_id: str) -> None:
        new = {"account": "tiramizoo", "courier_order_id": order_id, "reference": f"r-{order_id}"}
        assert shop.post("/v1/orders", json=new).status_code == 201

    return post


@contextmanager
def following(environ: dict[str, str], *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """`changes --follow --json` as a process; stopped behind."""
    running = process(environ, "changes", "--follow", "--json", *arguments)
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def line(running: "subprocess.Popen[str]") -> dict[str, Any]:
    assert running.stdout
    return dict(json.loads(running.stdout.readline()))


def stop(running: "subprocess.Popen[str]") -> str:
    """Ctrl-C: what stderr says then."""
    running.send_signal(signal.SIGINT)
    rest, errors = running.communicate(timeout=60)
    assert (running.returncode, rest) == (0, "")
    assert "Traceback" not in errors
    return errors


def test_without_follow_it_is_a_page_from_the_beginning(
    environ: dict[str, str], shop: FlaskClient, register: Callable[[str], None]
) -> None:
    for name in ("a", "b", "c"):
        register(name)
    assert command_json(environ, "changes", "--limit", "2") == get(shop, "/changes", limit=2)
    assert command_json(environ, "changes", "--after", "now") == get(shop, "/changes", after="now")
    shown = run_command(environ, "changes", "--limit", "2")
    assert [row.split()[2:4] for row in shown.stdout.splitlines()[1:]] == [
        ["a", "r-a"],
        ["b", "r-b"],
    ]
    cursor = command_json(environ, "changes", "--limit", "2")["next_cursor"]
    assert f"--after {cursor}" in shown.stderr
    (last,) = command_json(environ, "changes", "--after", cursor)["changes"]
    assert last["courier_order_id"] == "c"


def test_following_goes_on_until_ctrl_c_and_says_where_to_go_on(
    environ: dict[str, str], register: Callable[[str], None]
) -> None:
    register("a")
    with following(environ, "--after", "beginning") as running:
        first = line(running)
        assert (first["courier_order_id"], first["changed"][0]) == ("a", "created")
        register("b")
        second = line(running)
        assert second["courier_order_id"] == "b"
        errors = stop(running)
    assert f"--follow --after {second['cursor']}" in errors
    register("c")
    with following(environ, "--after", second["cursor"]) as running:
        assert line(running)["courier_order_id"] == "c"
        stop(running)


class InterruptedOutput(io.StringIO):
    """A stdout during which Ctrl-C is pressed while order b is printed."""

    def flush(self) -> None:
        super().flush()
        if "r-b" in self.getvalue():
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("as_json", [True, False])
def test_ctrl_c_while_a_change_is_printed_loses_none(
    sessions: sessionmaker[Session],
    register: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    as_json: bool,
) -> None:
    register("a")
    register("b")
    with sessions() as session:
        page = feed.read_page(session, 0, 10, {})
    terminal = InterruptedOutput()
    monkeypatch.setattr("sys.stdout", terminal)
    command.follow_changes(sessions, page, {}, as_json)
    assert "r-b" in terminal.getvalue()
    assert capsys.readouterr().err.endswith("--after YzI\n")


def test_following_leaves_out_the_past_where_nothing_else_is_said(
    environ: dict[str, str], register: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    register("a")
    names = iter("b")

    def meanwhile(seconds: float) -> None:
        if (name := next(names, None)) is None:
            raise KeyboardInterrupt
        register(name)

    monkeypatch.setattr(command, "time", SimpleNamespace(sleep=meanwhile))
    done = run_command(environ, "changes", "--follow")
    assert [row.split()[2] for row in done.stdout.splitlines()] == ["order", "b"]


def test_following_nothing_new_ends_where_it_began(
    environ: dict[str, str], register: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    register("a")

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "time", SimpleNamespace(sleep=interrupt))
    cursor = command_json(environ, "changes")["next_cursor"]
    done = run_command(environ, "changes", "--follow")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.endswith(f"--after {cursor}\n")


def test_a_database_that_goes_away_meanwhile_is_waited_for(
    environ: dict[str, str], register: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    register("a")
    real, looks = feed.read_page, iter(range(100))

    def page(session: Session, after: int, *rest: Any) -> feed.ChangePage:
        look = next(looks)
        if look in {1, 2}:
            raise OperationalError("", {}, Exception("away"))
        if look == 3:
            register("b")
        if look == 4:
            raise KeyboardInterrupt
        return real(session, after, *rest)

    monkeypatch.setattr(feed, "read_page", page)
    monkeypatch.setattr(command, "POLL_SECONDS", 0)
    done = run_command(environ, "changes", "--follow", "--after", "beginning", "--json")
    assert done.exit_code == 0
    assert [json.loads(row)["courier_order_id"] for row in done.stdout.splitlines()] == ["a", "b"]
    assert done.stderr.count("PostgreSQL cannot be reached") == 1
    assert done.stderr.count("PostgreSQL can be reached again") == 1


def test_a_pipe_that_ends_ends_it_without_a_place_to_go_on_from(
    environ: dict[str, str], register: Callable[[str], None]
) -> None:
    register("a")
    with following(environ, "--after", "beginning") as running:
        line(running)
        assert running.stdout
        running.stdout.close()
        register("b")
        assert running.stderr
        assert running.stderr.read() == ""
        assert running.wait(60) == 0


@pytest.mark.usefixtures("sessions")
@pytest.mark.parametrize(
    "arguments",
    [
        ("--after", "nonsense"),
        ("--after", "YzE", "--limit", "0"),
        ("--limit", "1001"),
        ("--follow", "--limit", "5"),
        ("--after", "YzEwMDA"),
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2(environ: dict[str, str], arguments: tuple[str, ...]) -> None:
    done = run_command(environ, "changes", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr
