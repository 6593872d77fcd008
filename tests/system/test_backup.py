"""A restore, rehearsed: both ways, with PostgreSQL's own programs, while messages come in.

The runbook's "Backup and restore" says the same to people.
"""

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session, sessionmaker

from receiver.couriers.tiramizoo import driver
from receiver.db.engine import create_engine_for
from receiver.db.engine import session_factory as open_sessions
from receiver.db.migrate import migrate
from receiver.db.models import PENDING, Message, Order
from receiver.standalone.embedded import Postgres
from receiver.standalone.home import Home
from tests.bodies import after, raw, tiramizoo_order
from tests.servers import Running, started
from tests.servers import running as running_servers
from tests.service import CLOCK, WORKER, Web, running, running_web, wait_until
from workers.folding.drain import BATCH

Sessions = sessionmaker[Session]

# Five processes are started twice.
pytestmark = [pytest.mark.xdist_group("embedded"), pytest.mark.timeout(300)]

HOOK = "/webhooks/tiramizoo/orders/tiramizoo-token"
SHOP = {"Authorization": "Bearer test-api-token-01"}
DATABASE = "ordertrail"
STATES = ("created", "dispatched", "picked_up")
# Messages before, and while, a backup is taken.
ENOUGH = 40


@dataclass
class Courier:
    """Posts hooks one after another, and writes down which were answered 200."""

    web: Web
    prefix: str
    kept: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def post(self) -> None:
        number = 0
        while not self.stop.is_set():
            number += 1
            name = f"{self.prefix}-{number}"
            states = {it: after(n) for n, it in enumerate(STATES[: number % 3 + 1])}
            if self.web.post(HOOK, raw(tiramizoo_order(name, states))).status_code == 200:
                self.kept.append(name)


@contextmanager
def posting(web: Web, prefix: str) -> Iterator[Courier]:
    courier = Courier(web, prefix)
    thread = threading.Thread(target=courier.post)
    thread.start()
    try:
        yield courier
    finally:
        courier.stop.set()
        thread.join()


def program(postgres: Postgres, name: str, *options: str) -> None:
    """Run one of the server's own programs against it."""
    where = ("--host", str(postgres.home.sockets), "--username=postgres", "--no-password")
    done = subprocess.run(
        [str(postgres.binary().with_name(name)), *where, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


class Restored:
    """A server on restored data."""

    def __init__(self, directory: Path) -> None:
        self.home = Home.make(directory)
        self.postgres = Postgres(self.home)

    @contextmanager
    def started(self) -> Iterator[Postgres]:
        with started(self.postgres):
            yield self.postgres
        self.home.close()


def take(how: str, postgres: Postgres, backup: Path) -> None:
    """Take a backup of a server at work."""
    if how == "pg_dump":
        program(postgres, how, "--format=custom", f"--file={backup}", DATABASE)
    else:
        program(postgres, how, f"--pgdata={backup}", "--checkpoint=fast", "--wal-method=stream")


@contextmanager
def restored(how: str, backup: Path, directory: Path) -> Iterator[Postgres]:
    """A server on what the backup holds."""
    there = Restored(directory)
    if how == "pg_basebackup":
        data = directory / "postgres"
        backup.rename(data)
        if there.home.user:
            for path in (data, *data.rglob("*")):
                os.chown(path, *there.home.user)
    with there.started() as postgres:
        if how == "pg_dump":
            postgres.create_database(DATABASE)
            program(postgres, "pg_restore", f"--dbname={DATABASE}", "--exit-on-error", str(backup))
        yield postgres


class Asked(BaseHTTPRequestHandler):
    """A courier that knows no order, and notes when it was asked."""

    times: list[float] = []  # noqa: RUF012 (one for the server of this test)

    def do_GET(self) -> None:
        self.times.append(time.monotonic())
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def courier_api() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Asked)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Servers of this test's own, since a base backup copies all that one holds."""
    with running_servers(tmp_path_factory.mktemp("live")) as servers:
        servers.postgres.create_database(DATABASE)
        migrate(servers.postgres.url(DATABASE))
        yield servers


def count(sessions: Sessions, *conditions: ColumnElement[bool]) -> int:
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(Message).where(*conditions)) or 0


@dataclass(frozen=True)
class Before:
    """What was so when the backup began: what was answered 200, and a reader's cursor; and one of
    after it.
    """

    kept: list[str]
    cursor: str
    ahead: str


def back_up(how: str, live: Running, environ: dict[str, str], tmp_path: Path) -> Before:
    """Take a backup while messages come in and are folded."""
    with ExitStack() as stack:
        web = stack.enter_context(running_web(environ, tmp_path / "web.log"))
        stack.enter_context(running(WORKER, environ, tmp_path / "worker.log"))
        courier = stack.enter_context(posting(web, how))
        wait_until(lambda: len(courier.kept) > ENOUGH)
        wait_until(lambda: web.get("/v1/changes", SHOP).json["changes"])
        cursor = web.get("/v1/changes?limit=1", SHOP).json["next_cursor"]
        kept = list(courier.kept)
        take(how, live.postgres, tmp_path / "backup")
        # A dump may have the numbers of a batch that was not committed yet: a reader is ahead of
        # the backup once it is ahead of those, and of all that came while it was taken.
        taken = len(courier.kept)
        wait_until(lambda: len(courier.kept) > taken + BATCH + ENOUGH, 60)
        courier.stop.set()

        # The worker reads the oldest first, a batch as a whole.
        def everything_was_told() -> bool:
            last = web.get(f"/v1/orders/tiramizoo/{courier.kept[-1]}", SHOP)
            return last.status_code == HTTPStatus.OK

        wait_until(everything_was_told)
        return Before(kept, cursor, web.get("/v1/changes?after=now", SHOP).json["next_cursor"])


def assert_all_is_there(before: Before, sessions: Sessions, kept: int) -> None:
    """What was answered 200 before the backup began is there, and folded as it should be."""
    wait_until(lambda: count(sessions, Message.outcome == PENDING) == 0)
    with sessions() as session:
        orders = session.scalars(select(Order)).all()
    words = {order.courier_order_id: order.courier_status for order in orders}
    assert [it for it in before.kept if it not in words] == []
    assert len(words) == kept
    for name, word in words.items():
        assert word == STATES[int(name.rpartition("-")[2]) % len(STATES)], name


def assert_it_goes_on(before: Before, web: Web, sessions: Sessions, kept: int) -> None:
    """Readers, hooks and repetitions fare as they would have without a restore."""
    assert web.get(f"/v1/changes?after={before.cursor}", SHOP).status_code == 200
    # What one that read past the backup has seen is gone: it is told to begin anew.
    assert web.get(f"/v1/changes?after={before.ahead}", SHOP).status_code == 422
    last = web.get("/v1/changes?after=now", SHOP).json["next_cursor"]
    assert web.post(HOOK, raw(tiramizoo_order("new", {"created": after(0)}))).status_code == 200
    wait_until(lambda: web.get("/v1/orders/tiramizoo/new", SHOP).status_code == 200)
    news = web.get(f"/v1/changes?after={last}", SHOP).json["changes"]
    assert [it["courier_order_id"] for it in news] == ["new"]
    name = before.kept[2]
    again = tiramizoo_order(name, {"created": after(0)})
    assert web.post(HOOK, raw(again)).status_code == 200
    assert count(sessions) == kept + 1


def assert_no_storm() -> None:
    """Open orders are asked about at once, and no faster than the courier bears."""
    api = driver.api
    assert api is not None
    wait_until(lambda: len(Asked.times) > 3 * api.per_second)
    times = list(Asked.times)
    span = times[-1] - times[0]
    assert len(times) <= api.per_second * (span + 2), f"{len(times)} in {span:.1f} s"


@pytest.mark.parametrize("how", ["pg_dump", "pg_basebackup"])
def test_a_backup_taken_under_load_is_restored_and_the_service_goes_on(
    live: Running, environ: dict[str, str], tmp_path: Path, how: str
) -> None:
    number = 1 if how == "pg_dump" else 2
    own = {
        **environ,
        "DATABASE_URL": live.postgres.url(DATABASE),
        "REDIS_URL": live.valkey.url(number),
    }
    before = back_up(how, live, own, tmp_path)
    with ExitStack() as stack:
        backup = tmp_path / "backup"
        postgres = stack.enter_context(restored(how, backup, tmp_path / "restored"))
        Asked.times.clear()
        again = {
            **environ,
            "DATABASE_URL": postgres.url(DATABASE),
            # Redis comes back empty.
            "REDIS_URL": live.valkey.url(number + 2),
            "COURIER_TIRAMIZOO_API_URL": stack.enter_context(courier_api()),
            "COURIER_TIRAMIZOO_API_TOKEN": "made-up",
        }
        migrate(again["DATABASE_URL"])
        engine = create_engine_for(again["DATABASE_URL"])
        stack.callback(engine.dispose)
        sessions = open_sessions(engine)
        kept = count(sessions)
        web = stack.enter_context(running_web(again, tmp_path / "web2.log"))
        for name, arguments in (("worker2", WORKER), ("clock2", CLOCK)):
            stack.enter_context(running(arguments, again, tmp_path / f"{name}.log"))
        assert_all_is_there(before, sessions, kept)
        assert_it_goes_on(before, web, sessions, kept)
        assert_no_storm()
