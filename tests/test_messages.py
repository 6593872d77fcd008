"""The inbox over the API: what came in, what became of it, and how it is tried again."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session, sessionmaker
from structlog.testing import capture_logs

from receiver.db.models import Message
from receiver.inbox import browse, retry
from receiver.settings import Settings
from receiver.web.api import messages as view
from tests.bodies import cottoncast_status, raw, tiramizoo_order
from tests.service import at_once
from tests.shop import deliver, get, problem_of, record_order
from workers.folding.drain import BATCH, SENT_BACK, drain_batch, lock_batch
from workers.upkeep.sweep import find_overdue_messages, is_being_folded

Drain = Callable[[], int]
Sessions = sessionmaker[Session]

# Cannot be read: state is missing.
BROKEN = {"uuid": "u-9"}


def fill(sessions: Sessions, *rows: dict[str, Any]) -> None:
    """Messages as they stand in the inbox; ids from 1 on."""
    now = datetime.now(UTC)
    with sessions.begin() as session:
        for row in rows:
            number = session.scalar(select(func.count()).select_from(Message)) or 0
            defaults = {
                "account": "tiramizoo",
                "topic": "orders",
                "kind": "webhook",
                "trust": "token",
                "body": raw(tiramizoo_order(f"u-{number}")),
                "body_sha256": number.to_bytes(32, "big"),
                "received_at": now,
                "last_seen_at": now,
                "processed_at": None if row.get("outcome", "pending") == "pending" else now,
            }
            session.add(Message(**{**defaults, **row}))
            session.flush()


def ids(page: dict[str, Any]) -> list[int]:
    return [int(message["id"]) for message in page["messages"]]


def outcomes(sessions: Sessions) -> list[str]:
    with sessions() as session:
        return list(session.scalars(select(Message.outcome).order_by(Message.id)))


def retried(shop: FlaskClient, path: str = "/retry", **fields: Any) -> dict[str, Any]:
    body = {"json": fields} if fields else {}
    answer = shop.post(f"/v1/messages{path}", **body)
    assert answer.status_code == 202, answer.data
    return dict(answer.get_json())


# Lists


def test_message_has_the_shape_of_the_contract(shop: FlaskClient, drain: Drain) -> None:
    body = raw(tiramizoo_order("u-1"))
    deliver(shop, body, body)
    drain()
    (message,) = get(shop, "/messages")["messages"]
    times = {name: message.pop(name) for name in ("received_at", "processed_at", "last_seen_at")}
    assert message == {
        "id": "1",
        "account": "tiramizoo",
        "topic": "orders",
        "kind": "webhook",
        "trust": "token",
        "outcome": "applied",
        "reason": None,
        "courier_order_id": "u-1",
        "size": len(body),
        "repetitions": 1,
        "retried_at": None,
        "left_out": None,
    }
    assert times["received_at"] <= times["last_seen_at"] <= times["processed_at"]
    assert all(time.endswith("Z") for time in times.values())


def test_quarantined_message_says_why(shop: FlaskClient, drain: Drain) -> None:
    deliver(shop, BROKEN)
    drain()
    (message,) = get(shop, "/messages", outcome="quarantined")["messages"]
    assert "state" in message["reason"]
    assert get(shop, f"/messages/{message['id']}")["reason"] == message["reason"]


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({}, [5, 4, 3, 2, 1]),
        ({"outcome": "quarantined"}, [4, 2]),
        ({"outcome": "discarded"}, []),
        ({"account": "tiramizoo"}, [3, 2, 1]),
        ({"account": "cottoncast-parking"}, []),
        ({"account": "cottoncast", "outcome": "quarantined"}, [4]),
        ({"account": "tiramizoo", "courier_order_id": "A"}, [3, 1]),
        ({"account": "tiramizoo", "courier_order_id": "A", "outcome": "applied"}, [1]),
        ({"account": "cottoncast", "courier_order_id": "A"}, []),
    ],
)
def test_filters_narrow_the_list(
    shop: FlaskClient, sessions: Sessions, parameters: dict[str, str], found: list[int]
) -> None:
    fill(
        sessions,
        {"outcome": "applied", "courier_order_id": "A"},
        {"outcome": "quarantined"},
        {"outcome": "parked", "courier_order_id": "A"},
        {"outcome": "quarantined", "account": "cottoncast"},
        {"outcome": "pending", "account": "shipmentapi"},
    )
    assert ids(get(shop, "/messages", **parameters)) == found


@pytest.mark.parametrize("parameters", [{}, {"account": "tiramizoo"}, {"outcome": "applied"}])
def test_pages_do_not_shift_under_inserts_and_updates(
    shop: FlaskClient, sessions: Sessions, parameters: dict[str, str]
) -> None:
    fill(sessions, *({"outcome": "applied"} for _ in range(9)))
    seen: list[int] = []
    asked: dict[str, Any] = {"limit": 2, **parameters}
    for _ in range(5):
        page = get(shop, "/messages", **asked)
        seen += ids(page)
        asked["cursor"] = page["next_cursor"]
        fill(sessions, {"outcome": "applied"})
        with sessions.begin() as session:
            session.execute(update(Message).values(repetitions=Message.repetitions + 1))
    assert asked["cursor"] is None
    assert seen == list(range(9, 0, -1))


def test_the_list_of_an_empty_inbox_is_empty(shop: FlaskClient) -> None:
    nothing: dict[str, Any] = {"messages": [], "next_cursor": None}
    assert get(shop, "/messages") == nothing
    assert get(shop, "/messages", outcome="quarantined") == nothing


def test_the_messages_of_an_order_need_its_account(shop: FlaskClient) -> None:
    problem = problem_of(shop.get("/v1/messages?courier_order_id=3AF7"), 422)
    assert list(problem["errors"]["query"]) == ["courier_order_id"]


def test_a_cursor_of_orders_is_none_of_messages(shop: FlaskClient, sessions: Sessions) -> None:
    fill(sessions, {}, {})
    cursor = get(shop, "/messages", limit=1)["next_cursor"]
    assert ids(get(shop, "/messages", cursor=cursor)) == [1]
    problem_of(shop.get("/v1/orders", query_string={"cursor": cursor}), 422)
    problem_of(shop.get("/v1/messages", query_string={"cursor": "bzE"}), 422)


# One message


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1.00, "a": 2,\r\n "big": 123456789012345678901234567890, "\\u0000": "\\ud800"}',
        '{"who": "Jürgen 🚚", "nul": "\x00"}'.encode(),
        b"",
        b"not JSON at all <script>alert(1)</script>",
        b"\xef\xbb\xbf{}",
    ],
)
def test_body_is_shown_word_for_word(shop: FlaskClient, sessions: Sessions, body: bytes) -> None:
    fill(sessions, {"body": body})
    answer = shop.get("/v1/messages/1")
    assert answer.mimetype == "application/json"
    message = answer.get_json()
    assert message["body"].encode() == body
    assert (message["body_base64"], message["size"]) == (None, len(body))


@pytest.mark.parametrize(
    "body", [b"\xff\xfe", b'{"a": "\xe9"}', b"\xed\xa0\x80", bytes(range(256))]
)
def test_body_that_is_no_text_is_shown_byte_for_byte(
    shop: FlaskClient, sessions: Sessions, body: bytes
) -> None:
    fill(sessions, {"body": body})
    message = get(shop, "/messages/1")
    assert base64.b64decode(message["body_base64"], validate=True) == body
    assert message["body"] is None


def test_body_that_is_no_longer_kept_is_null(shop: FlaskClient, sessions: Sessions) -> None:
    fill(sessions, {"body": None, "outcome": "applied"})
    message = get(shop, "/messages/1")
    assert (message["body"], message["body_base64"], message["size"]) == (None, None, None)
    assert message.items() >= get(shop, "/messages")["messages"][0].items()


UNKNOWN = [
    "2",
    "0",
    "-1",
    "01",
    "1.0",
    "1e0",
    "x",
    " 1",
    "1 ",
    "\u0661",
    "9" * 18,
    str(2**63),
    "9" * 5000,
]


@pytest.mark.parametrize("message_id", [*UNKNOWN, "%00", "%0A", "1%0A", "';--", "null", "%ff"])
@pytest.mark.parametrize("rest", ["", "/retry", "/discard"])
def test_message_that_is_not_there_is_not_found(
    shop: FlaskClient, sessions: Sessions, message_id: str, rest: str
) -> None:
    fill(sessions, {"outcome": "quarantined"})
    body: dict[str, Any] = {"json": {"by": "Ann"}} if rest == "/discard" else {}
    method = "POST" if rest else "GET"
    problem_of(shop.open(f"/v1/messages/{message_id}{rest}", method=method, **body), 404)
    assert outcomes(sessions) == ["quarantined"]


# Another try


def test_retry_of_one_is_read_anew(shop: FlaskClient, sessions: Sessions, drain: Drain) -> None:
    deliver(shop, BROKEN)
    drain()
    with sessions.begin() as session:
        session.execute(update(Message).values(body=raw(tiramizoo_order("u-9"))))
    assert retried(shop, "/1/retry") == {"retried": 1, "next_cursor": None}
    message = get(shop, "/messages/1")
    assert (message["outcome"], message["reason"], message["processed_at"]) == (
        "pending",
        None,
        None,
    )
    assert message["retried_at"] >= message["received_at"]
    assert drain() == 1
    assert get(shop, "/messages/1")["outcome"] == "applied"
    assert get(shop, "/messages/1")["retried_at"] == message["retried_at"]
    assert get(shop, "/orders/tiramizoo/u-9")["status"] == "info_received"


@pytest.mark.parametrize(
    ("outcome", "sent"),
    [("quarantined", 1), ("parked", 1), ("discarded", 1), ("pending", 0), ("applied", 0)],
)
def test_retry_of_one_can_be_repeated(
    shop: FlaskClient, sessions: Sessions, outcome: str, sent: int
) -> None:
    fill(sessions, {"outcome": outcome})
    assert retried(shop, "/1/retry")["retried"] == sent
    after = get(shop, "/messages/1")
    assert after["outcome"] == ("pending" if sent else outcome)
    assert (after["retried_at"] is not None) == bool(sent)
    assert retried(shop, "/1/retry")["retried"] == 0
    assert get(shop, "/messages/1") == after


def test_retry_without_a_body_to_read_is_refused(shop: FlaskClient, sessions: Sessions) -> None:
    fill(sessions, {"outcome": "quarantined", "body": None})
    problem_of(shop.post("/v1/messages/1/retry"), 409)
    assert retried(shop, outcome="quarantined")["retried"] == 0
    assert outcomes(sessions) == ["quarantined"]


def test_retry_of_many_takes_only_what_it_names(shop: FlaskClient, sessions: Sessions) -> None:
    rows = [
        {"outcome": outcome, "account": account}
        for outcome in ("quarantined", "parked", "discarded", "applied", "pending")
        for account in ("tiramizoo", "cottoncast")
    ]
    fill(sessions, *rows)
    before = outcomes(sessions)
    assert retried(shop, outcome="quarantined", account="cottoncast") == {
        "retried": 1,
        "next_cursor": None,
    }
    assert outcomes(sessions) == ["quarantined", "pending", *before[2:]]
    assert retried(shop, outcome="parked")["retried"] == 2
    assert outcomes(sessions) == ["quarantined", "pending", "pending", "pending", *before[4:]]
    assert retried(shop, outcome="parked")["retried"] == 0


def test_retry_of_many_narrows_down_and_counts_as_discarding_does(
    shop: FlaskClient, sessions: Sessions
) -> None:
    old = datetime.now(UTC) - timedelta(days=2)
    broken = {"outcome": "quarantined", "reason": "state: missing"}
    fill(sessions, broken | {"received_at": old}, broken, broken | {"reason": "no JSON"})
    since = {"received_since": (old + timedelta(hours=1)).isoformat()}
    before = {"received_until": (old + timedelta(hours=1)).isoformat()}
    for wanted, count in (({}, 3), (since, 2), (before, 1), ({"reason": "state"}, 2)):
        counted = retried(shop, outcome="quarantined", dry_run=True, **wanted)
        assert counted == {"retried": count, "next_cursor": None}
    assert outcomes(sessions) == ["quarantined"] * 3
    assert retried(shop, outcome="quarantined", reason="state", **since)["retried"] == 1
    assert outcomes(sessions) == ["quarantined", "pending", "quarantined"]


# Lists by time and text


def test_a_list_narrows_down_by_time_of_arrival(shop: FlaskClient, sessions: Sessions) -> None:
    """Messages may be numbered a little out of order."""
    start = datetime(2026, 4, 16, tzinfo=UTC)
    minutes = [0, 300, 290, 600, 610, 605, 900]
    fill(sessions, *({"received_at": start + timedelta(minutes=each)} for each in minutes))

    def listed(**given: str) -> list[int]:
        return ids(get(shop, "/messages", **given))

    assert listed(received_since="2026-04-16T04:50:00Z") == [7, 6, 5, 4, 3, 2]
    assert listed(received_since="2026-04-16T05:00:00Z") == [7, 6, 5, 4, 2]
    assert listed(received_until="2026-04-16T10:05:00Z") == [4, 3, 2, 1]
    both = {"received_since": "2026-04-16T04:55:00Z", "received_until": "2026-04-16T10:06:00Z"}
    assert listed(**both) == [6, 4, 2]
    assert listed(**both, outcome="pending", account="tiramizoo") == [6, 4, 2]
    assert listed(received_since="0001-01-01T00:00:00Z") == [7, 6, 5, 4, 3, 2, 1]
    assert listed(received_since="9999-12-31T23:59:59Z") == []
    page = get(shop, "/messages", **both, limit=2)
    assert ids(get(shop, "/messages", **both, limit=2, cursor=page["next_cursor"])) == [2]


def test_quarantined_messages_are_searched_for_a_text(
    shop: FlaskClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    quarantined = {"outcome": "quarantined"}
    fill(
        sessions,
        quarantined | {"body": '{"order": "Müller 100%"}'.encode()},
        quarantined | {"body": b"\xff\xfeT-41", "reason": None},
        quarantined | {"body": None, "reason": "order T-41 cannot be read"},
        {"outcome": "applied", "body": b"T-41"},
        quarantined | {"body": b"t-41"},
    )

    def search(contains: str, **more: Any) -> Any:
        return get(shop, "/messages", outcome="quarantined", contains=contains, **more)

    for size in (200, 2):
        monkeypatch.setattr(browse, "SEARCHED", size)
        assert (ids(search("T-41")), search("T-41")["next_cursor"]) == ([3, 2], None)
        assert ids(search("Müller 100%")) == [1]
        assert ids(search("Müller_100")) == []
        first = search("T-41", limit=1)
        assert ids(first) == [3]
        assert ids(search("T-41", limit=1, cursor=first["next_cursor"])) == [2]
    # Where there is no more time, the reader goes on from the last that was looked at.
    monkeypatch.setattr(browse, "SEARCH_SECONDS", -1.0)
    page = search("Müller")
    assert ids(page) == []
    assert ids(search("Müller", cursor=page["next_cursor"])) == [1]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"contains": "x"}, "contains"),
        ({"contains": "x", "outcome": "parked"}, "contains"),
        ({"contains": "", "outcome": "quarantined"}, "contains"),
        ({"contains": "x" * 256, "outcome": "quarantined"}, "contains"),
        ({"received_since": "yesterday"}, "received_since"),
        ({"received_until": "2026-04-16T07:00:00"}, "received_until"),
        (
            {"received_since": "2026-04-16T07:00:00Z", "received_until": "2026-04-16T06:00:00Z"},
            "received_until",
        ),
    ],
)
def test_a_search_that_cannot_be_made_names_the_parameter(
    shop: FlaskClient, query: dict[str, str], field: str
) -> None:
    problem = problem_of(shop.get("/v1/messages", query_string=query), 422)
    assert list(problem["errors"]["query"]) == [field]


def test_messages_of_an_account_that_does_not_exist_are_404(shop: FlaskClient) -> None:
    problem_of(shop.get("/v1/messages?account=tiramizo"), 404)


def test_retry_of_very_many_goes_on_from_where_it_stopped(
    shop: FlaskClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "CHUNK", 3)
    clock = iter(range(100))
    ticking = SimpleNamespace(monotonic=lambda: float(next(clock)))
    monkeypatch.setattr("receiver.inbox.retry.time", ticking)
    monkeypatch.setattr(view, "ONE_REQUEST_SECONDS", 3.0)
    fill(sessions, *({"outcome": "quarantined", "account": f"a{n % 3}"} for n in range(10)))
    first = retried(shop, outcome="quarantined")
    assert first["retried"] == 6
    assert outcomes(sessions) == ["pending"] * 6 + ["quarantined"] * 4
    with sessions.begin() as session:
        # The workers have been there, and it was no use.
        session.execute(update(Message).where(Message.id <= 6).values(outcome="quarantined"))
    second = retried(shop, outcome="quarantined", cursor=first["next_cursor"])
    assert second == {"retried": 4, "next_cursor": None}
    assert outcomes(sessions) == ["quarantined"] * 6 + ["pending"] * 4


def test_retries_at_once_send_each_message_back_once(shop: FlaskClient, sessions: Sessions) -> None:
    fill(sessions, *({"outcome": "quarantined"} for _ in range(50)))
    # A client is not to be shared between threads, an application is.
    asked = [shop.application.test_client() for _ in range(4)]
    for client in asked:
        client.environ_base = dict(shop.environ_base)
    answers = at_once(*(lambda it=it: retried(it, outcome="quarantined") for it in asked))
    assert sum(it["retried"] for it in answers) == 50
    assert set(outcomes(sessions)) == {"pending"}


def test_retry_passes_over_what_somebody_else_changes(
    shop: FlaskClient, sessions: Sessions
) -> None:
    fill(sessions, *({"outcome": "parked"} for _ in range(3)))
    with sessions() as other:
        other.execute(text("SELECT 1 FROM messages WHERE id = 2 FOR UPDATE"))
        assert retried(shop, outcome="parked")["retried"] == 2
    assert outcomes(sessions) == ["pending", "parked", "pending"]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"account": "tiramizoo"}, "outcome"),
        ({"outcome": "applied"}, "outcome"),
        ({"outcome": "pending"}, "outcome"),
        ({"outcome": "discarded"}, "outcome"),
        ({"outcome": ["parked"]}, "outcome"),
        ({"outcome": "parked", "account": ""}, "account"),
        ({"outcome": "parked", "account": "\x00"}, "account"),
        ({"outcome": "parked", "ids": ["1"]}, "ids"),
    ],
)
def test_retry_that_cannot_be_used_names_the_field(
    shop: FlaskClient, fields: dict[str, Any], named: str
) -> None:
    problem = problem_of(shop.post("/v1/messages/retry", json=fields), 422)
    assert list(problem["errors"]["json"]) == [named]


def test_retry_with_a_cursor_of_another_list_is_refused(shop: FlaskClient) -> None:
    body = {"outcome": "parked", "cursor": "bzE"}
    problem_of(shop.post("/v1/messages/retry", json=body), 422)


@pytest.mark.parametrize("action", ["retry", "discard"])
@pytest.mark.parametrize("further", [{}, {"dry_run": True}])
def test_many_messages_of_an_unknown_account_are_404(
    shop: FlaskClient, action: str, further: dict[str, Any]
) -> None:
    body = {"outcome": "quarantined", "account": "nowhere", **further}
    if action == "discard":
        body["note"] = "a test"
    problem = problem_of(shop.post(f"/v1/messages/{action}", json=body), 404)
    assert problem["code"] == "account_not_found"


@pytest.mark.parametrize("action", ["retry", "discard"])
def test_many_messages_of_an_account_that_was_switched_off_are_found(
    shop: FlaskClient, sessions: Sessions, action: str
) -> None:
    fill(sessions, {"account": "switched-off", "outcome": "quarantined"})
    body = {"outcome": "quarantined", "account": "switched-off"}
    if action == "discard":
        body["note"] = "a test"
    answer = shop.post(f"/v1/messages/{action}", json=body)
    assert next(iter(answer.get_json().values())) == 1


# How messages that were sent back wait


def claimed(sessions: Sessions) -> list[int]:
    with sessions() as session:
        return [message.id for message in lock_batch(session)]


def test_new_messages_come_before_those_sent_back(sessions: Sessions) -> None:
    again = {"retried_at": datetime.now(UTC)}
    fill(sessions, again, {}, again, {}, {"outcome": "applied", **again})
    assert claimed(sessions) == [2, 4, 1, 3]


def test_few_of_those_sent_back_are_taken_at_once(sessions: Sessions) -> None:
    fill(sessions, *({"retried_at": datetime.now(UTC)} for _ in range(SENT_BACK + 1)))
    assert claimed(sessions) == list(range(1, SENT_BACK + 1))


def test_a_whole_batch_of_new_ones_leaves_no_room(sessions: Sessions) -> None:
    fill(sessions, *({"retried_at": datetime.now(UTC)} for _ in range(5)))
    fill(sessions, *({} for _ in range(BATCH)))
    assert claimed(sessions) == list(range(6, BATCH + 6))
    with sessions.begin() as session:
        session.execute(text("DELETE FROM messages WHERE id = 6"))
    assert claimed(sessions) == [*range(7, BATCH + 6), 1]


def test_drain_empties_both(sessions: Sessions, settings: Settings) -> None:
    fill(sessions, *({"retried_at": datetime.now(UTC)} if n % 2 else {} for n in range(6)))
    while drain_batch(sessions, settings, datetime.now(UTC)):
        pass
    assert set(outcomes(sessions)) == {"applied"}


@pytest.mark.parametrize("kind", ["received_at", "retried_at"])
def test_the_sweep_sees_both(sessions: Sessions, kind: str) -> None:
    now = datetime.now(UTC)
    long_ago = now - timedelta(days=1)
    fill(sessions, {"outcome": "applied", "received_at": long_ago, "retried_at": long_ago})
    times = {"received_at": long_ago, kind: now}
    fill(sessions, times)
    with sessions() as session:
        assert not find_overdue_messages(session, now + timedelta(seconds=2))
        assert find_overdue_messages(session, now + timedelta(seconds=4))


def test_a_backlog_that_is_worked_on_is_not_forgotten(
    sessions: Sessions, settings: Settings
) -> None:
    fill(sessions, {}, {})
    with sessions() as session:
        assert not is_being_folded(session, datetime.now(UTC))
    now = datetime.now(UTC)
    drain_batch(sessions, settings, now)
    with sessions() as session:
        assert is_being_folded(session, now + timedelta(seconds=2))
        assert not is_being_folded(session, now + timedelta(seconds=4))


def test_registration_puts_what_it_releases_before_what_was_sent_back(
    shop: FlaskClient, sessions: Sessions, drain: Drain
) -> None:
    deliver(shop, cottoncast_status("E"), account="cottoncast-parking")
    drain()
    retried(shop, outcome="parked")
    drain()
    assert get(shop, "/messages/1")["outcome"] == "parked"
    with sessions.begin() as session:
        record_order(session, "cottoncast-parking", "cottoncast", "3AF7", datetime.now(UTC))
    fill(sessions, {"retried_at": datetime.now(UTC)})
    assert claimed(sessions) == [1, 2]
    assert get(shop, "/messages/1")["retried_at"] is None


# Discarded


@pytest.mark.parametrize("outcome", ["quarantined", "parked"])
@pytest.mark.parametrize(
    ("word", "said"),
    [
        ({"by": "Ann", "note": "a test of theirs"}, "discarded by Ann: a test of theirs"),
        ({"by": "Ann"}, "discarded by Ann"),
    ],
)
def test_a_message_is_discarded_with_who_said_so_and_why(
    shop: FlaskClient, sessions: Sessions, outcome: str, word: dict[str, str], said: str
) -> None:
    fill(sessions, {"outcome": outcome, "reason": "no state"})
    answer = shop.post("/v1/messages/1/discard", json=word)
    assert answer.status_code == 200
    message = answer.get_json()
    assert message == get(shop, "/messages/1")
    assert message["outcome"] == "discarded"
    assert message["reason"] == f"{said} (was {outcome}: no state)"
    assert ids(get(shop, "/messages", outcome="discarded")) == [1]
    assert retried(shop, outcome=outcome)["retried"] == 0
    again = shop.post("/v1/messages/1/discard", json={"by": "Bob"})
    assert (again.status_code, again.get_json()) == (200, message)


@pytest.mark.parametrize("outcome", ["pending", "applied"])
def test_what_counts_or_is_about_to_cannot_be_discarded(
    shop: FlaskClient, sessions: Sessions, outcome: str
) -> None:
    fill(sessions, {"outcome": outcome})
    problem = problem_of(shop.post("/v1/messages/1/discard", json={"by": "Ann"}), 409)
    assert outcome in problem["detail"]
    assert outcomes(sessions) == [outcome]


@pytest.mark.parametrize(
    ("word", "field"),
    [
        ({}, "by"),
        ({"by": ""}, "by"),
        ({"by": "x" * 101}, "by"),
        ({"by": "Ann", "note": "x" * 1001}, "note"),
        ({"by": "Ann", "note": "\x00"}, "note"),
        ({"by": "Ann", "why": "x"}, "why"),
    ],
)
def test_discarding_that_cannot_be_used_names_the_field(
    shop: FlaskClient, sessions: Sessions, word: dict[str, str], field: str
) -> None:
    fill(sessions, {"outcome": "parked"})
    problem = problem_of(shop.post("/v1/messages/1/discard", json=word), 422)
    assert list(problem["errors"]["json"]) == [field]
    assert json.loads(shop.get("/v1/messages/1").data)["outcome"] == "parked"


def test_many_are_discarded_by_account_reason_and_time(
    shop: FlaskClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = datetime.now(UTC) - timedelta(days=2)
    chosen = {"outcome": "quarantined", "reason": "state: 100%_ missing", "received_at": old}
    fill(
        sessions,
        chosen,
        chosen | {"reason": "state: 100 of missing"},
        chosen | {"account": "cottoncast"},
        chosen | {"outcome": "parked"},
        chosen | {"received_at": datetime.now(UTC)},
        chosen,
    )
    monkeypatch.setattr(retry, "CHUNK", 1)
    wanted = {"outcome": "quarantined", "account": "tiramizoo", "reason": "100%_"}
    wanted |= {"received_until": (old + timedelta(hours=1)).isoformat(), "note": "a test"}
    counted = shop.post("/v1/messages/discard", json={**wanted, "dry_run": True})
    assert (counted.status_code, counted.get_json()["discarded"]) == (200, 2)
    assert shop.post("/v1/messages/discard", json={**wanted, "dry_run": 0}).status_code == 422
    assert "discarded" not in outcomes(sessions)
    with capture_logs() as lines:
        done = shop.post("/v1/messages/discard", json={**wanted, "by": "Ann"})
    assert done.get_json() == {"discarded": 2, "next_cursor": None}
    assert [n for n, outcome in enumerate(outcomes(sessions)) if outcome == "discarded"] == [0, 5]
    reason = "discarded by Ann: a test (was quarantined: state: 100%_ missing)"
    assert get(shop, "/messages/6")["reason"] == reason
    [line] = [line for line in lines if line["event"] == "messages_discarded"]
    assert (line["by"], line["count"], line["account"]) == ("Ann", 2, "tiramizoo")


def test_one_request_discards_a_bounded_number(
    shop: FlaskClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(sessions, *({"outcome": "parked"} for _ in range(3)))
    monkeypatch.setattr(retry, "CHUNK", 1)
    monkeypatch.setattr(view, "ONE_REQUEST_SECONDS", 0.0)
    wanted = {"outcome": "parked", "note": "a test"}
    none = shop.post("/v1/messages/discard", json=wanted).get_json()
    assert none["discarded"] == 0
    monkeypatch.setattr(view, "ONE_REQUEST_SECONDS", 60.0)
    rest = shop.post("/v1/messages/discard", json={**wanted, "cursor": none["next_cursor"]})
    assert rest.get_json() == {"discarded": 3, "next_cursor": None}


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"outcome": "pending", "note": "x"}, "outcome"),
        ({"outcome": "parked"}, "note"),
        ({"outcome": "parked", "note": "x", "received_since": "2026-01-01"}, "received_since"),
        ({"outcome": "parked", "note": "x", "reason": ""}, "reason"),
    ],
)
def test_discarding_many_that_cannot_be_used_names_the_field(
    shop: FlaskClient, wanted: dict[str, str], field: str
) -> None:
    problem = problem_of(shop.post("/v1/messages/discard", json=wanted), 422)
    assert list(problem["errors"]["json"]) == [field]
