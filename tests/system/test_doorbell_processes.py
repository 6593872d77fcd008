"""Webhook to drain and sweep on real processes: no ring is lost for long."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

import pytest
from redis import Redis
from rq import Worker
from rq.job import Job
from rq.serializers import JSONSerializer
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.engine import create_engine_for
from receiver.db.engine import session_factory as open_sessions
from receiver.db.models import APPLIED, PENDING, Message
from receiver.inbox.accept import IncomingMessage, store_messages
from receiver.queue.doorbell import DRAIN_JOB, RING_SECONDS, ring_doorbell
from receiver.queue.job_queue import get_queue
from receiver.queue.redis_client import connect_redis
from receiver.standalone.embedded import Valkey
from receiver.stats import totals
from tests.bodies import (
    cottoncast_signature,
    cottoncast_status,
    payload,
    raw,
    shipmentapi_order,
    tiramizoo_order,
    tour_plan,
)
from tests.emptying import empty
from tests.servers import started
from tests.service import (
    CLOCK,
    WORKER,
    Web,
    running,
    running_web,
    valkey_made,
    wait_until,
    waiting_for,
)
from tests.test_doorbell import RING_KEY, TIRAMIZOO, assert_nothing_personal, everything_in, queued
from workers.upkeep.sweep import OVERDUE_AFTER

Sessions = sessionmaker[Session]


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    """A Valkey of this module's own: other tests' rings may still be under way in theirs."""
    with valkey_made() as server, started(server):
        yield server


def outcomes_in(sessions: Sessions) -> list[str]:
    """What became of each message, oldest first."""
    with sessions() as session:
        return list(session.scalars(select(Message.outcome).order_by(Message.id)))


def keep_silently(sessions: Sessions, body: bytes, account: str = "tiramizoo") -> None:
    """Keep a message a minute ago and ring for nobody."""
    a_minute_ago = datetime.now(UTC) - timedelta(minutes=1)
    with sessions.begin() as session:
        store_messages(
            session, [IncomingMessage(account, "orders", "webhook", "token", body, a_minute_ago)]
        )


@dataclass(frozen=True)
class Service:
    """Web, worker and clock at work, and ways to look at what they do."""

    web: Web
    engine: Engine
    sessions: Sessions
    redis: Redis
    logs: Path

    def outcomes(self) -> list[str]:
        return outcomes_in(self.sessions)


@pytest.fixture(scope="module")
def running_service(
    environ: dict[str, str],
    new_database: Callable[[str], str],
    valkey: Valkey,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:
    logs = tmp_path_factory.mktemp("service")
    own = {"DATABASE_URL": new_database("doorbell"), "REDIS_URL": valkey.url()}
    with ExitStack() as stack:
        engine = create_engine_for(own["DATABASE_URL"])
        stack.callback(engine.dispose)
        client = stack.enter_context(connect_redis(own["REDIS_URL"]))
        web = stack.enter_context(running_web({**environ, **own}, logs / "web.log"))
        for name, arguments in (("worker", WORKER), ("clock", CLOCK)):
            stack.enter_context(running(arguments, {**environ, **own}, logs / f"{name}.log"))
        wait_until(lambda: Worker.count(client))
        yield Service(web, engine, open_sessions(engine), client, logs)


@pytest.fixture
def service(running_service: Service) -> Service:
    """The service with empty tables, at work."""
    wait_until(lambda: PENDING not in running_service.outcomes())
    # Another test's ring would have this one's messages folded.
    wait_until(lambda: not running_service.redis.exists(RING_KEY))

    def emptied() -> bool:
        # What works in the background may take the tables in another order.
        with suppress(OperationalError), running_service.engine.begin() as connection:
            empty(connection)
            return True
        return False

    wait_until(emptied)
    return running_service


@contextmanager
def locked(service: Service, table: str, mode: str = "EXCLUSIVE") -> Iterator[Session]:
    """Nobody else writes to the table inside, but all may read it."""
    with service.sessions() as session:
        session.execute(text(f"LOCK TABLE {table} IN {mode} MODE"))
        yield session
        session.rollback()


def test_a_posted_order_is_folded_without_waiting_for_the_sweep(service: Service) -> None:
    def seconds_to_drain(name: str) -> float:
        """Until a drain comes to the orders; a sweep leaves a new message to it."""
        with locked(service, "orders"):
            began = monotonic()
            assert service.web.post(TIRAMIZOO, raw(tiramizoo_order(name))).status_code == 200
            wait_until(lambda: waiting_for(service.sessions, "orders"))
            seconds = monotonic() - began
        wait_until(lambda: PENDING not in service.outcomes())
        return seconds

    # Once in a few times, for a machine that is busy takes longer at times.
    assert any(
        seconds_to_drain(f"order-{number}") < OVERDUE_AFTER.total_seconds() for number in range(5)
    )


def test_a_message_that_comes_while_a_drain_is_running_is_rung_for(service: Service) -> None:
    with locked(service, "orders"):
        service.web.post(TIRAMIZOO, raw(tiramizoo_order("before")))
        wait_until(lambda: waiting_for(service.sessions, "orders"))
        # The drain has taken its batch and cannot have seen this one. Nothing but the ring of this
        # message can queue another drain while the one worker is held up.
        service.web.post(TIRAMIZOO, raw(tiramizoo_order("meanwhile")))
        wait_until(lambda: DRAIN_JOB in queued(service.redis), seconds=RING_SECONDS)
    wait_until(lambda: service.outcomes() == [APPLIED, APPLIED])


def test_a_message_that_nobody_rang_for_is_found_by_the_sweep(service: Service) -> None:
    keep_silently(service.sessions, raw(tiramizoo_order()))
    wait_until(lambda: service.outcomes() == [APPLIED])

    def counted() -> float:
        with service.sessions() as session:
            return totals.read_totals(session).get((totals.MENDED, "", totals.RINGS), 0)

    wait_until(counted)
    log = (service.logs / "worker.log").read_text()
    # It came a minute ago; some seconds more where the machine is busy.
    assert re.search(r'"messages": 1, "waiting_seconds": ([6-9]\d|1\d\d)\b', log), log


def test_a_message_whose_ring_was_lost_is_found_by_the_sweep(service: Service) -> None:
    # As a worker leaves it that dies between taking the job and answering the ring.
    wait_until(lambda: service.redis.set(RING_KEY, 1, nx=True, px=1500))
    keep_silently(service.sessions, raw(tiramizoo_order()))
    wait_until(lambda: service.outcomes() == [APPLIED])


def test_the_clock_has_old_bodies_dropped(service: Service) -> None:
    keep_silently(service.sessions, raw(tiramizoo_order()))
    wait_until(lambda: service.outcomes() == [APPLIED])
    with service.sessions.begin() as session:
        session.execute(text("UPDATE messages SET processed_at = now() - interval '91 days'"))

    def bodies() -> list[bytes | None]:
        with service.sessions() as session:
            return list(session.scalars(select(Message.body)))

    wait_until(lambda: bodies() == [None])


def test_a_drain_that_postgresql_fails_is_made_good_and_tells_nothing_personal(
    service: Service,
) -> None:
    driver = "Erika Mustermann"
    with locked(service, "tours"):
        plan = raw(tour_plan(courier=driver))
        path = "/webhooks/tiramizoo/tours/tiramizoo-token"
        assert service.web.post(path, plan).status_code == 200
        [pid] = wait_until(lambda: waiting_for(service.sessions, "tours"))
        with service.sessions() as session:
            session.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        failed = get_queue(service.redis).failed_job_registry
        [job_id] = wait_until(failed.get_job_ids)
        job = Job.fetch(job_id, service.redis, JSONSerializer)
        assert job.func_name == DRAIN_JOB
    wait_until(lambda: service.outcomes() == [APPLIED])
    assert driver.encode() not in everything_in(service.redis)
    assert driver not in (service.logs / "worker.log").read_text()
    failed.remove(job_id, delete_job=True)


def test_a_message_being_parked_while_its_order_is_registered_is_folded_all_the_same(
    service: Service,
) -> None:
    account, body = "cottoncast-parking", raw(cottoncast_status())
    new = raw({"account": account, "courier_order_id": "3AF7"})
    headers = {"Authorization": "Bearer test-api-token-01", "Content-Type": "application/json"}
    with service.sessions() as holding, ThreadPoolExecutor(1) as pool:
        with locked(service, "orders", "ACCESS EXCLUSIVE"):
            keep_silently(service.sessions, body, account)
            wait_until(lambda: ring_doorbell(service.redis))
            wait_until(lambda: waiting_for(service.sessions, "orders"))
            holding.execute(text("LOCK TABLE messages IN SHARE MODE"))
        # The drain finds no such order, and is held up before it can note that the message waits.
        wait_until(lambda: waiting_for(service.sessions, "messages"))
        registered = pool.submit(service.web.post, "/v1/orders", new, headers)
        wait_until(lambda: len(waiting_for(service.sessions)) == 2)
        holding.rollback()
        assert registered.result().status_code == 201
    wait_until(lambda: service.outcomes() == [APPLIED])


def test_real_bodies_leave_nothing_personal_in_redis_or_the_logs(service: Service) -> None:
    order = raw(payload("tiramizoo/order_web_hook.json"))
    status = raw(payload("cottoncast/orderstatus.json"))
    service.web.post(TIRAMIZOO, order)
    service.web.post("/webhooks/cottoncast/orders", status, cottoncast_signature(status))
    service.web.post("/webhooks/shipmentapi/orders/shipmentapi-token", raw(shipmentapi_order()))
    service.web.post(TIRAMIZOO, order[:-9])
    service.web.post(TIRAMIZOO, raw({"pickup": payload("tiramizoo/order_web_hook.json")["pickup"]}))
    wait_until(lambda: PENDING not in service.outcomes())
    assert sorted(service.outcomes()) == [APPLIED] * 3 + ["quarantined"] * 2
    assert_nothing_personal(everything_in(service.redis))
    for log in service.logs.glob("*.log"):
        # An order's id is what leads from one line to the other.
        assert_nothing_personal(log.read_bytes(), but="3AF7")


def test_worker_and_clock_work_on_when_redis_was_away(
    environ: dict[str, str], new_database: Callable[[str], str], tmp_path: Path
) -> None:
    database_url = new_database("redis_away")
    engine = create_engine_for(database_url)
    sessions = open_sessions(engine)
    with valkey_made() as server, ExitStack() as processes:
        own = {**environ, "DATABASE_URL": database_url, "REDIS_URL": server.url()}
        processes.enter_context(running(WORKER, own, tmp_path / "worker.log"))
        processes.enter_context(running(CLOCK, own, tmp_path / "clock.log"))
        for number in range(2):
            keep_silently(sessions, raw(tiramizoo_order(f"order-{number}")))
            with started(server):
                wait_until(lambda: PENDING not in outcomes_in(sessions))
                if number == 1:
                    processes.close()
    assert outcomes_in(sessions) == [APPLIED, APPLIED]
    engine.dispose()


def test_a_worker_stops_when_told_to_also_while_redis_is_away(
    environ: dict[str, str], tmp_path: Path
) -> None:
    with valkey_made() as server:
        own = {**environ, "REDIS_URL": server.url()}
        with started(server), connect_redis(server.url()) as client, ExitStack() as stack:
            process = stack.enter_context(running(WORKER, own, tmp_path / "worker.log"))
            wait_until(lambda: Worker.count(client))
            # Out of this block, so that Redis goes first.
            stopping = stack.pop_all()
        with stopping:
            process.terminate()
            process.wait(10)
