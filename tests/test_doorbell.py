"""The doorbell and all that waits for it: no ring is lost for long, and none carries data."""

import base64
import json
import re
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
from flask import Flask
from redis import Redis
from redis.sentinel import SentinelConnectionPool
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
from receiver.queue.doorbell import DRAIN_JOB, RING_SECONDS, Doorbell, ring_doorbell
from receiver.queue.job_queue import get_queue, mark_job_started, waiting_key
from receiver.queue.liveness import ALIVE_SECONDS, CLOCK_KEY, clock_alive_since
from receiver.queue.redis_client import TIMEOUT_SECONDS, connect_redis
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
    at_once,
    at_rest,
    running,
    running_web,
    valkey_made,
    wait_until,
    waiting_for,
)
from workers import clock, jobs

Sessions = sessionmaker[Session]

# Separate from what the worker of these tests listens on.
QUIET, BUSY = 0, 1

RING_KEY = waiting_key(DRAIN_JOB)

TIRAMIZOO = "/webhooks/tiramizoo/orders/tiramizoo-token"
NAMES = ("Alice Icealay", "+491234567890", "alice@icealay.de", "Im Dol 1", "Bob Obbay", "Thujaweg")


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    """A Valkey of this module's own: other tests' rings may still be under way in theirs."""
    with valkey_made() as server, started(server):
        yield server


@pytest.fixture
def quiet(valkey: Valkey) -> Iterator[Redis]:
    """An empty Redis that no worker listens on."""
    with connect_redis(valkey.url(QUIET)) as client:
        client.flushdb()
        yield client


def outcomes_in(sessions: Sessions) -> list[str]:
    """What became of each message, oldest first."""
    with sessions() as session:
        return list(session.scalars(select(Message.outcome).order_by(Message.id)))


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
    own = {"DATABASE_URL": new_database("doorbell"), "REDIS_URL": valkey.url(BUSY)}
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


def queued(client: Redis) -> list[str]:
    """The names of the jobs that wait."""
    return [job.func_name or "" for job in get_queue(client).get_jobs()]


def keep_silently(sessions: Sessions, body: bytes, account: str = "tiramizoo") -> None:
    """Keep a message a minute ago and ring for nobody."""
    a_minute_ago = datetime.now(UTC) - timedelta(minutes=1)
    with sessions.begin() as session:
        store_messages(
            session, [IncomingMessage(account, "orders", "webhook", "token", body, a_minute_ago)]
        )


@contextmanager
def locked(service: Service, table: str, mode: str = "EXCLUSIVE") -> Iterator[Session]:
    """Nobody else writes to the table inside, but all may read it."""
    with service.sessions() as session:
        session.execute(text(f"LOCK TABLE {table} IN {mode} MODE"))
        yield session
        session.rollback()


def everything_in(client: Redis) -> bytes:
    """All names and values in a Redis, packed ones unpacked."""
    read: dict[Any, Callable[[Any], Any]] = {
        b"string": lambda key: [client.get(key)],
        b"hash": lambda key: list(client.hgetall(key).items()),
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": lambda key: list(client.smembers(key)),
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"stream": lambda key: [told for _, told in client.xrange(key) or ()],
        # It has gone away since it was listed.
        b"none": lambda _key: [],
    }
    return b"\n".join(
        unpacked(part)
        for key in client.scan_iter()
        for part in flat([key, read[client.type(key)](key)])
    )


def flat(value: Any) -> Iterator[bytes]:
    """The bytes in a value that Redis gave."""
    if isinstance(value, dict):
        value = list(value.items())
    if isinstance(value, list | tuple):
        for item in value:
            yield from flat(item)
    else:
        yield value if isinstance(value, bytes) else str(value).encode()


def unpacked(packed: bytes) -> bytes:
    """What RQ packed, as it packs it in jobs (deflated) and in results (in base64 besides)."""
    with suppress(zlib.error):
        return zlib.decompress(packed)
    with suppress(zlib.error, ValueError):
        return zlib.decompress(base64.b64decode(packed))
    return packed


# Ringing


def test_a_ring_queues_a_drain(quiet: Redis) -> None:
    assert ring_doorbell(quiet) is True
    assert queued(quiet) == [DRAIN_JOB]


def test_a_ring_while_a_drain_is_queued_queues_no_second(quiet: Redis) -> None:
    assert [ring_doorbell(quiet) for _ in range(5)] == [True, False, False, False, False]
    assert queued(quiet) == [DRAIN_JOB]


def test_rings_at_the_same_moment_queue_one_drain(quiet: Redis) -> None:
    assert sorted(at_once(*[lambda: ring_doorbell(quiet)] * 16)) == [False] * 15 + [True]
    assert queued(quiet) == [DRAIN_JOB]


def test_a_ring_after_a_drain_has_begun_queues_another(quiet: Redis) -> None:
    ring_doorbell(quiet)
    quiet.delete(get_queue(quiet).key)  # a worker takes the job
    mark_job_started(quiet, DRAIN_JOB)
    assert [ring_doorbell(quiet), ring_doorbell(quiet)] == [True, False]
    assert queued(quiet) == [DRAIN_JOB]


def test_a_ring_whose_drain_was_lost_is_forgotten_in_seconds(quiet: Redis) -> None:
    ring_doorbell(quiet)
    assert 0 < quiet.ttl(RING_KEY) <= RING_SECONDS


def test_a_job_is_json_and_carries_no_data(quiet: Redis) -> None:
    ring_doorbell(quiet)
    clock.queue_due_jobs(quiet)
    jobs = [key for key in quiet.keys("rq:job:*") if quiet.type(key) == b"hash"]
    fields: list[Any] = [quiet.hgetall(key) for key in jobs]
    told = [json.loads(unpacked(told[b"data"])) for told in fields]
    assert sorted(told) == sorted([name, None, [], {}] for name in [DRAIN_JOB, *clock.SCHEDULE])


def test_the_names_of_jobs_are_those_of_functions() -> None:
    assert all(callable(resolve_name(name)) for name in [DRAIN_JOB, *clock.SCHEDULE])


def test_asks_at_the_same_moment_become_one_ring(quiet: Redis) -> None:
    bell = Doorbell(quiet)
    at_once(*[bell.ring] * 50)
    wait_until(lambda: queued(quiet))
    assert queued(quiet) == [DRAIN_JOB]


def test_a_doorbell_rings_again_when_redis_is_back() -> None:
    with valkey_made() as server, connect_redis(server.url()) as client:
        bell = Doorbell(client)
        bell.ring()  # into the void
        for _ in range(2):
            with started(server):

                def asked_again() -> list[str]:
                    # An ask while it still tries in vain is part of that attempt.
                    bell.ring()
                    return queued(client)

                assert wait_until(asked_again) == [DRAIN_JOB]
                client.flushdb()


def test_no_personal_data_reaches_redis(
    valkey: Valkey, quiet: Redis, new_app: Callable[..., Flask], sessions: Sessions
) -> None:
    app = new_app(REDIS_URL=valkey.url(QUIET))
    client = app.test_client()
    order = raw(payload("tiramizoo/order_web_hook.json"))
    assert all(name.encode() in order for name in NAMES)
    assert client.post(TIRAMIZOO, data=order).status_code == 200
    status = raw(cottoncast_status())
    headers = cottoncast_signature(status)
    assert client.post("/webhooks/cottoncast/orders", data=status, headers=headers).status_code
    wait_until(lambda: queued(quiet) and at_rest(app))
    assert_nothing_personal(everything_in(quiet))


def assert_nothing_personal(told: bytes, but: str = "") -> None:
    bodies = ("tiramizoo-token", "ID4K7", "ZVW8GV", "external id", "3SCEBU", "postnl", "3AF7")
    assert {name for name in (*NAMES, *bodies) if name.encode() in told} <= {but}


# The clock


def test_several_clocks_queue_a_job_once_an_interval(valkey: Valkey, quiet: Redis) -> None:
    def tick() -> list[str]:
        with connect_redis(valkey.url(QUIET)) as own:
            return [name for _ in range(10) for name in clock.queue_due_jobs(own)]

    ticked = at_once(*[tick] * 8)
    assert sorted(name for names in ticked for name in names) == sorted(clock.SCHEDULE)
    assert sorted(queued(quiet)) == sorted(clock.SCHEDULE)


def over(redis: Redis) -> None:
    """Let the jobs' intervals end."""
    for name, seconds in clock.SCHEDULE.items():
        assert 0 < redis.pttl(clock.interval_key(name)) <= seconds * 1000
        redis.pexpire(clock.interval_key(name), 1)
    wait_until(lambda: not redis.keys(clock.interval_key("*")))


def test_a_job_is_due_again_when_its_interval_is_over_and_it_was_taken(quiet: Redis) -> None:
    clock.queue_due_jobs(quiet)
    over(quiet)
    # Those that wait do the same work, so that none piles up while all workers are busy.
    assert clock.queue_due_jobs(quiet) == []
    over(quiet)
    for name in clock.SCHEDULE:
        mark_job_started(quiet, name)
    assert sorted(clock.queue_due_jobs(quiet)) == sorted(clock.SCHEDULE)


def test_a_job_outlives_a_drain_and_goes_away_where_no_worker_takes_it(quiet: Redis) -> None:
    clock.queue_due_jobs(quiet)
    for job in get_queue(quiet).get_jobs():
        assert jobs.DRAIN_SECONDS < (job.get_ttl() or 0) <= clock.JOB_TTL_SECONDS


def test_since_when_the_clock_ticks_is_known_and_forgotten(quiet: Redis) -> None:
    assert clock_alive_since(quiet) is None
    before = datetime.now(UTC)
    clock.queue_due_jobs(quiet)
    since = clock_alive_since(quiet)
    assert since is not None
    assert before <= since <= datetime.now(UTC)
    quiet.pexpire(CLOCK_KEY, 1000)
    clock.queue_due_jobs(quiet)
    assert clock_alive_since(quiet) == since
    assert 1 < quiet.ttl(CLOCK_KEY) <= ALIVE_SECONDS


# Processes


def test_a_posted_order_is_folded_without_waiting_for_the_sweep(service: Service) -> None:
    with locked(service, "orders"):
        assert service.web.post(TIRAMIZOO, raw(tiramizoo_order())).status_code == 200
        # Only a drain comes to this table, and a sweep leaves a new message to it.
        wait_until(lambda: waiting_for(service.sessions, "orders"), seconds=2)
    wait_until(lambda: service.outcomes() == [APPLIED])


def test_a_message_that_comes_while_a_drain_is_running_is_rung_for(service: Service) -> None:
    with locked(service, "orders"):
        service.web.post(TIRAMIZOO, raw(tiramizoo_order("before")))
        wait_until(lambda: waiting_for(service.sessions, "orders"))
        # The drain has taken its batch and cannot have seen this one. Soon, since nothing but the
        # ring of this message can queue another drain while the one worker is held up.
        service.web.post(TIRAMIZOO, raw(tiramizoo_order("meanwhile")))
        wait_until(lambda: DRAIN_JOB in queued(service.redis), seconds=RING_SECONDS - 2)
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
    wait_until(lambda: service.outcomes() == [APPLIED], seconds=10)


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


# Addresses


def test_an_address_of_sentinel_gives_a_client_for_the_primary() -> None:
    client = connect_redis("redis+sentinel://one:26380,two,three:5000/orders/2")
    pool = client.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.is_master
    assert pool.service_name == "orders"
    sentinels = [
        found.connection_pool.connection_kwargs for found in pool.sentinel_manager.sentinels
    ]
    assert [(kwargs["host"], kwargs["port"]) for kwargs in sentinels] == [
        ("one", 26380),
        ("two", 26379),
        ("three", 5000),
    ]
    assert pool.connection_kwargs["db"] == 2


def test_a_sentinel_that_is_gone_is_tried_once_and_for_a_second() -> None:
    pool = connect_redis("redis+sentinel://one,two/orders").connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    for each in pool.sentinel_manager.sentinels:
        made = each.connection_pool.make_connection()
        assert (made.retry.get_retries(), made.socket_connect_timeout) == (0, TIMEOUT_SECONDS)


def test_an_address_of_sentinel_needs_no_more_than_hosts() -> None:
    pool = connect_redis("redis+sentinel://one").connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert (pool.service_name, pool.connection_kwargs["db"]) == ("mymaster", 0)


def test_an_address_of_sentinel_may_hold_a_user_and_a_password() -> None:
    pool = connect_redis("redis+sentinel://web:p%40ss%2Fword@one,two/orders").connection_pool
    assert pool.connection_kwargs["username"] == "web"
    assert pool.connection_kwargs["password"] == "p@ss/word"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://cache.example:6380/3", {"host": "cache.example", "port": 6380, "db": 3}),
        ("rediss://:s%40cret@cache.example/0", {"host": "cache.example", "password": "s@cret"}),
        ("unix:///run/valkey.sock?db=4", {"path": "/run/valkey.sock", "db": 4}),
    ],
)
def test_any_other_address_is_redis_pys_own(url: str, told: dict[str, Any]) -> None:
    known = connect_redis(url).connection_pool.connection_kwargs
    assert {name: known[name] for name in told} == told
    assert 0 < known["socket_timeout"] <= 5
    assert 0 < known["socket_connect_timeout"] <= 5
