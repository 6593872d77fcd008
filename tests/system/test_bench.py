"""The bench runs, and its check that every answered body is stored can fail."""

import os
import shutil

import psycopg
import pytest

from tests.bench.load import Request, ids, load
from tests.bench.samples import LIFE, filled, hook, snapshots
from tests.bench.stage import Kept, accepting, missing
from tests.bench.table import Goal, as_text, compare
from tests.service import Web

TOKEN = "tiramizoo-token"


@pytest.fixture
def request_to(web: Web, sessions: object) -> Request:
    if shutil.which("wrk") is None:
        assert "CI" not in os.environ, "wrk is missing"
        pytest.skip("needs wrk (Debian: apt-get install wrk)")
    return accepting(web.port, hook(), TOKEN)


def test_each_answered_body_is_looked_for_and_one_that_is_gone_is_missed(
    request_to: Request, environ: dict[str, str]
) -> None:
    loaded = load(request_to, 1, "a", connections=4, exact=True)
    answered = list(loaded.answered_ids())
    assert loaded.errors == 0
    assert len(answered) >= loaded.answered > 0
    with psycopg.connect(environ["DATABASE_URL"], autocommit=True) as connection:
        assert missing(connection, request_to.body, iter(answered)) == 0
        connection.execute("DELETE FROM messages WHERE id = (SELECT min(id) FROM messages)")
        assert missing(connection, request_to.body, iter(answered)) == 1
        connection.execute(
            "UPDATE messages SET body = body || ' ' WHERE id = (SELECT min(id) FROM messages)"
        )
        assert missing(connection, request_to.body, iter(answered)) == 2


def test_more_missing_than_unanswered_is_a_loss(
    request_to: Request, environ: dict[str, str]
) -> None:
    kept = Kept(environ["DATABASE_URL"], request_to.body)
    loaded = load(request_to, 1, "b", connections=4)
    kept.check(loaded)
    assert (kept.checked, kept.lost) == (loaded.answered, 0)
    with psycopg.connect(environ["DATABASE_URL"], autocommit=True) as connection:
        # More than the four that may have been under way at the end.
        connection.execute("DELETE FROM messages WHERE id IN (SELECT id FROM messages LIMIT 10)")
    kept.check(loaded)
    assert kept.lost >= 6


def test_the_bodies_differ_in_nothing_but_their_names() -> None:
    one, other = (filled(hook(), order_id) for order_id in ids("a", 1, 2))
    assert one != other
    assert len(one) == len(other) == len(hook())
    assert len(snapshots()) == len(LIFE) == len(set(snapshots())) == 8


def test_a_goal_that_is_not_met_is_told() -> None:
    goal = Goal(least=0.5)
    figures = [
        compare("kept", "empty", [60.0, 50.0, 70.0], [100.0, 100.0, 100.0], goal),
        compare("read", "empty", [40.0, 50.0, 10.0], [100.0, 100.0, 100.0], goal),
    ]
    assert [(figure.ratio, figure.met) for figure in figures] == [(0.6, True), (0.4, False)]
    kept, read = as_text(figures).splitlines()[2:]
    assert "NOT MET" in read
    assert "NOT MET" not in kept
