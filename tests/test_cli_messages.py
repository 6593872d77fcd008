"""The inbox on the command line."""

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis
from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.models import Message
from receiver.inbox import retry
from receiver.queue.doorbell import DRAIN_JOB
from receiver.queue.job_queue import waiting_key
from tests.bodies import cottoncast_status, tiramizoo_order
from tests.command import api_json, command_json, run_command
from tests.shop import deliver, get

Sessions = sessionmaker[Session]
Drain = Callable[[], int]

# Cannot be read: state is missing.
BROKEN = {"uuid": "u-9"}


@pytest.fixture
def inbox(client: FlaskClient, drain: Drain, redis: Redis) -> None:
    """1 and 2 are quarantined, 3 is parked, 4 is applied and came twice."""
    deliver(client, BROKEN, {"uuid": "u-8", "nested": {"list": [1, {}]}})
    deliver(client, cottoncast_status(order_id="p-1"), account="cottoncast-parking")
    deliver(client, tiramizoo_order("u-1"), tiramizoo_order("u-1"))
    drain()
    redis.flushdb()


def outcomes(sessions: Sessions) -> list[str]:
    with sessions() as session:
        return list(session.scalars(select(Message.outcome).order_by(Message.id)))


@pytest.mark.usefixtures("inbox")
@pytest.mark.parametrize(
    ("arguments", "path", "ids"),
    [
        (("messages",), "/messages", ["4", "3", "2", "1"]),
        (("messages", "--outcome", "quarantined"), "/messages?outcome=quarantined", ["2", "1"]),
        (("messages", "--account", "cottoncast-parking"), None, ["3"]),
        (("messages", "--account", "tiramizoo", "--courier-order-id", "u-1"), None, ["4"]),
        (("messages", "--limit", "2"), "/messages?limit=2", ["4", "3"]),
        (("messages", "--all"), "/messages", ["4", "3", "2", "1"]),
    ],
    ids=lambda it: " ".join(it) if isinstance(it, tuple) else "",
)
def test_messages_are_listed_as_the_api_does(
    environ: dict[str, str],
    shop: FlaskClient,
    arguments: tuple[str, ...],
    path: str | None,
    ids: list[str],
) -> None:
    page = command_json(environ, *arguments)
    assert [message["id"] for message in page["messages"]] == ids
    if path is not None:
        assert page == api_json(shop, path)
    lines = run_command(environ, *arguments).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["id", *ids]


@pytest.mark.usefixtures("inbox")
def test_a_message_is_shown_with_its_body_laid_out(environ: dict[str, str]) -> None:
    shown = run_command(environ, "messages", "show", "2")
    assert shown.exit_code == 0
    head, _, body = shown.stdout.partition("\n\n")
    assert head.startswith("Message 2 of tiramizoo\n")
    assert "quarantined" in head
    assert body.splitlines() == [
        "{",
        '  "uuid": "u-8",',
        '  "nested": {',
        '    "list": [',
        "      1,",
        "      {}",
        "    ]",
        "  }",
        "}",
    ]


@pytest.mark.usefixtures("inbox")
@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"\xff", "The body is not UTF-8; in base64:\n/w=="),
        (None, "The body is no longer stored."),
        (b"not JSON\r\x1b[2J\xc2\x85\xe2\x80\xa8x\nand more", "not JSON??[2J??x\nand more"),
    ],
)
def test_a_body_that_is_no_json_is_shown_as_far_as_it_can_be(
    environ: dict[str, str], sessions: Sessions, body: bytes | None, shown: str
) -> None:
    with sessions.begin() as session:
        session.execute(update(Message).where(Message.id == 1).values(body=body))
    assert run_command(environ, "messages", "show", "1").stdout.endswith(f"\n\n{shown}\n")


@pytest.mark.usefixtures("inbox")
@pytest.mark.parametrize("message_id", ["5", "0", "x", "1" * 30, "-"])
@pytest.mark.parametrize(
    "arguments", [("messages", "show"), ("retry",), ("discard", "--by", "Ada")], ids=" ".join
)
def test_a_message_that_is_not_there_ends_with_1(
    environ: dict[str, str], arguments: tuple[str, ...], message_id: str
) -> None:
    done = run_command(environ, *arguments, message_id)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("ordertrail: ")


@pytest.mark.usefixtures("inbox")
def test_one_message_goes_back_and_the_workers_are_woken(
    environ: dict[str, str], sessions: Sessions, redis: Redis
) -> None:
    done = run_command(environ, "retry", "1")
    assert (done.exit_code, done.stdout) == (0, "Message 1 will be processed again.\n")
    assert outcomes(sessions) == ["pending", "quarantined", "parked", "applied"]
    assert redis.exists(waiting_key(DRAIN_JOB))


@pytest.mark.usefixtures("inbox")
def test_what_is_applied_has_nothing_to_go_back_for(environ: dict[str, str], redis: Redis) -> None:
    done = run_command(environ, "retry", "4", "--json")
    assert done.exit_code == 1
    assert done.stdout.split() == ["{", '"retried":', "0,", '"next_cursor":', "null", "}"]
    assert not redis.exists(waiting_key(DRAIN_JOB))


@pytest.mark.usefixtures("inbox")
def test_a_message_without_a_body_cannot_go_back(
    environ: dict[str, str], sessions: Sessions
) -> None:
    with sessions.begin() as session:
        session.execute(update(Message).where(Message.id == 1).values(body=None))
    done = run_command(environ, "retry", "1")
    assert done.exit_code == 1
    assert "no longer stored" in done.stderr


@pytest.mark.usefixtures("inbox")
def test_all_of_an_outcome_go_back_in_however_many_steps(
    environ: dict[str, str], sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "CHUNK", 1)
    none = run_command(environ, "retry", "--outcome", "quarantined", "--account", "cottoncast")
    assert none.exit_code == 1
    assert none.stdout.startswith("0 quarantined messages ")
    assert command_json(environ, "retry", "--outcome", "quarantined") == {
        "retried": 2,
        "next_cursor": None,
    }
    assert outcomes(sessions) == ["pending", "pending", "parked", "applied"]
    assert run_command(environ, "retry", "--outcome", "parked").exit_code == 0


@pytest.mark.usefixtures("inbox")
def test_a_message_is_discarded_and_its_retry_takes_that_back(
    environ: dict[str, str], sessions: Sessions, shop: FlaskClient
) -> None:
    done = command_json(environ, "discard", "1", "--by", "Ada", "--note", "a test")
    assert done == get(shop, "/messages/1")
    assert done["reason"].startswith("discarded by Ada: a test (was quarantined: ")
    assert run_command(environ, "discard", "2", "--by", "Ada").stdout.startswith(
        "Message 2: discarded by Ada (was quarantined: "
    )
    assert run_command(environ, "retry", "1").exit_code == 0
    refused = run_command(environ, "discard", "4", "--by", "Ada")
    assert refused.exit_code == 1
    assert "message 4 is applied" in refused.stderr


@pytest.mark.usefixtures("inbox")
def test_all_of_an_outcome_are_discarded(environ: dict[str, str], sessions: Sessions) -> None:
    which = ("discard", "--outcome", "quarantined", "--by", "Ada", "--note", "a test")
    assert run_command(environ, *which, "--reason", "no such reason").exit_code == 1
    counted = run_command(environ, *which, "--dry-run")
    assert "2 quarantined messages" in counted.stdout
    assert command_json(environ, *which) == {"discarded": 2, "next_cursor": None}
    assert outcomes(sessions) == ["discarded", "discarded", "parked", "applied"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("messages", "--courier-order-id", "u-1"), "requires account"),
        (("messages", "--outcome", "lost"), "--outcome"),
        (("messages", "--limit", "201"), "--limit"),
        (("messages", "--cursor", "bm8"), "cursor"),
        (("messages", "show"), "MESSAGE_ID"),
        (("retry",), "MESSAGE_ID or --outcome"),
        (("retry", "1", "--outcome", "parked"), "MESSAGE_ID or --outcome"),
        (("retry", "1", "--account", "tiramizoo"), "--outcome"),
        (("retry", "--outcome", "applied"), "--outcome"),
        (("discard", "1"), "--by"),
        (("discard", "--by", "Ada"), "MESSAGE_ID or --outcome"),
        (("discard", "1", "--by", "Ada", "--reason", "x"), "--outcome"),
        (("discard", "--outcome", "parked", "--by", "Ada"), "--note"),
        (("discard", "1", "--by", "x" * 101), "--by"),
    ],
    ids=lambda it: " ".join(it)[:50] if isinstance(it, tuple) else "",
)
def test_wrong_usage_ends_with_2(
    environ: dict[str, str], arguments: tuple[str, ...], said: str
) -> None:
    done: Any = run_command(environ, *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.usefixtures("sessions")
@pytest.mark.parametrize("arguments", [("messages",), ("retry", "--outcome", "parked")])
def test_an_account_that_is_not_there_ends_with_1(
    environ: dict[str, str], arguments: tuple[str, ...]
) -> None:
    done = run_command(environ, *arguments, "--account", "tiramzoo")
    assert done.exit_code == 1
    assert "configured accounts: cottoncast" in done.stderr
