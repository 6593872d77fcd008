"""The doorbell and all that waits for it: no ring is lost for long, and none carries data."""

import base64
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pkgutil import resolve_name
from typing import Any

import pytest
from flask import Flask
from redis import Redis
from redis.sentinel import SentinelConnectionPool
from sqlalchemy.orm import Session, sessionmaker

from receiver.queue.doorbell import DRAIN_JOB, RING_SECONDS, Doorbell, ring_doorbell
from receiver.queue.job_queue import get_queue, mark_job_started, waiting_key
from receiver.queue.liveness import ALIVE_SECONDS, CLOCK_KEY, clock_alive_since
from receiver.queue.redis_client import TIMEOUT_SECONDS, connect_redis
from receiver.standalone.embedded import Valkey
from tests.bodies import cottoncast_signature, cottoncast_status, payload, raw
from tests.servers import started
from tests.service import at_once, at_rest, valkey_made, wait_until
from workers import clock, jobs

Sessions = sessionmaker[Session]

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
    with connect_redis(valkey.url()) as client:
        client.flushdb()
        yield client


def queued(client: Redis) -> list[str]:
    """The names of the jobs that wait."""
    return [job.func_name or "" for job in get_queue(client).get_jobs()]


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
    app = new_app(REDIS_URL=valkey.url())
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
        with connect_redis(valkey.url()) as own:
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
        # It waits for a drain that runs, for the next one, and for the other jobs.
        assert 3 * jobs.DRAIN_SECONDS < (job.get_ttl() or 0) <= clock.JOB_TTL_SECONDS


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
