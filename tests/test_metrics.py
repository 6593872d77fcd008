"""/metrics: what web processes count beside what stands in PostgreSQL, and the page about it."""

import json
import re
import time
from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from receiver.alerts import CATALOGUE, AlertContext
from receiver.stats.process_usage import (
    CPU_KEY,
    KEPT_SECONDS,
    PROCESSES_KEY,
    UsageReporter,
    read_usage,
)
from receiver.web import metric_families, metrics_collector
from tests.bodies import after, cottoncast_status, life, tiramizoo_order
from tests.conftest import API_TOKEN
from tests.service import ROOT, wait_until
from tests.shop import deliver

PAGE = (ROOT / "deploy/docs/metrics.md").read_text(encoding="utf-8")

FAILED = "metrics_failed"
Sample = tuple[str, tuple[tuple[str, str], ...]]


def whole(shop: FlaskClient) -> str:
    """A scrape with all there is: a slow machine takes longer than a scrape waits."""

    def all_of_it() -> str | None:
        answer = shop.get("/metrics")
        assert answer.status_code == 200
        return answer.text if "ordertrail_database_up 1.0" in answer.text else None

    return wait_until(all_of_it) or ""


def scrape(shop: FlaskClient) -> dict[Sample, float]:
    return samples(whole(shop))


def samples(scraped: str) -> dict[Sample, float]:
    return {
        (
            sample.name.removeprefix("ordertrail_"),
            tuple(sorted(sample.labels.items())),
        ): sample.value
        for family in text_string_to_metric_families(scraped)
        for sample in family.samples
    }


def of(found: dict[Sample, float], name: str, **labels: str) -> float | None:
    return found.get((name, tuple(sorted(labels.items()))))


def names(shop: FlaskClient) -> set[str]:
    """The families that a scrape shows, as the code names them."""
    found = re.findall(r"^# TYPE (ordertrail_\w+) \w+$", whole(shop), re.MULTILINE)
    return {name.removesuffix("_total").removesuffix("_info") for name in found} - {
        name for name in found if name.endswith("_created")
    }


def test_the_page_lists_every_metric_there_is_and_no_other(shop: FlaskClient) -> None:
    listed = set(re.findall(r"`(ordertrail_\w+)`", "\n".join(PAGE.split("\n## ")[1:])))
    assert listed - {"ordertrail_build_info"} == names(shop)


def test_the_page_names_alerts_that_there_are(shop: FlaskClient) -> None:
    named = {
        name
        for listed in re.findall(r"alerts? ((?:`\w+`(?:, )?)+)", PAGE)
        for name in re.findall(r"\w+", listed)
    }
    assert named
    assert named <= set(CATALOGUE)


def test_what_workers_did_is_seen_on_any_web_process(
    shop: FlaskClient, drain: Callable[[], int], new_app: Callable[..., Flask]
) -> None:
    deliver(shop, tiramizoo_order("a", life("created", "picked_up")), b"{}")
    deliver(shop, cottoncast_status("D", after(0), order_id="b"), account="cottoncast")
    drain()
    other = new_app().test_client()
    other.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {API_TOKEN}"
    found = scrape(other)
    own = {"account": "tiramizoo"}
    assert of(found, "messages_processed_total", outcome="applied", **own) == 1
    assert of(found, "messages_processed_total", outcome="quarantined", **own) == 1
    assert of(found, "messages_quarantined", **own) == 1
    assert of(found, "events_total", **own) == 2
    assert of(found, "hooks_folded_total", **own) == 2
    waited = of(found, "message_wait_seconds_bucket", le="+Inf", courier="tiramizoo", **own)
    assert waited == of(found, "message_wait_seconds_count", courier="tiramizoo", **own) == 2
    assert of(found, "drain_batches_total") == 1
    assert of(found, "drain_batch_messages_bucket", le="5") == 1
    # Delivered is an end.
    assert of(found, "orders_open", status="picked_up", **own) == 1
    assert not [
        name
        for name, labels in found
        if ("account", "cottoncast") in labels and name == "orders_open"
    ]
    assert of(found, "messages_pending") == 0
    assert of(found, "database_up") == of(found, "redis_up") == 1


def test_counters_are_there_before_anything_is_counted(
    new_app: Callable[..., Flask], sessions: sessionmaker[Session]
) -> None:
    client = new_app(COURIER_TIRAMIZOO_API_TOKEN="a token").test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {API_TOKEN}"
    found = scrape(client)
    own = {"account": "tiramizoo"}
    for reason in ("missing", "malformed", "wrong", "body_too_large", "body_cut_off"):
        assert of(found, "messages_refused_total", reason=reason, **own) is not None
    for topic in ("orders", "tours"):
        for name in ("messages_accepted_total", "messages_repeated_total"):
            assert of(found, name, topic=topic, **own) is not None
    for outcome in ("applied", "quarantined", "parked"):
        assert of(found, "messages_processed_total", outcome=outcome, **own) == 0
    assert of(found, "events_total", **own) == 0
    assert of(found, "polls_total", result="unavailable", **own) == 0
    assert of(found, "mended_total", account="", what="rings") == 0
    assert of(found, "mended_total", what="leases", **own) == 0


def test_processes_are_measured_by_what_they_report(shop: FlaskClient, redis: Redis) -> None:
    worker, clock = UsageReporter(redis, "worker"), UsageReporter(redis, "clock")
    for reporter in (worker, clock, worker):
        reporter.report()
    found = scrape(shop)
    for kind in ("worker", "clock"):
        assert of(found, "processes", process=kind) == 1
        assert (of(found, "process_resident_memory_bytes", process=kind) or 0) > 10_000_000
        most = of(found, "process_max_fds", process=kind) or 0
        assert 0 < (of(found, "process_open_fds", process=kind) or 0) < most
        assert (of(found, "process_cpu_seconds_total", process=kind) or 0) > 0


def test_a_process_that_is_gone_is_not_measured_but_its_cpu_time_stays(redis: Redis) -> None:
    UsageReporter(redis, "worker").report()
    facts = [time.time() - KEPT_SECONDS - 1, 9e9, 5, 10]
    redis.hset(PROCESSES_KEY, "worker elsewhere 1", json.dumps(facts))
    redis.hincrbyfloat(CPU_KEY, "worker", 100)
    usage = read_usage(redis)["worker"]
    assert usage.count == 1
    assert usage.memory < 9e9
    assert usage.cpu_seconds > 100
    assert redis.hlen(PROCESSES_KEY) == 1


def test_what_waits_is_measured(shop: FlaskClient) -> None:
    deliver(shop, tiramizoo_order("a"))
    found = scrape(shop)
    assert of(found, "messages_pending") == of(found, "messages_pending_exact") == 1
    assert (of(found, "oldest_pending_seconds") or 0) > 0


def test_conditions_are_series(shop: FlaskClient, drain: Callable[[], int]) -> None:
    deliver(shop, b"{}")
    drain()
    found = scrape(shop)
    assert (of(found, "oldest_quarantined_seconds", account="tiramizoo") or 0) > 0
    assert of(found, "oldest_parked_seconds", account="tiramizoo") == 0
    condition = {"condition": "messages_quarantined", "account": "tiramizoo"}
    assert of(found, "alert", severity="warning", **condition) == 1


@pytest.fixture
def adrift(new_app: Callable[..., Flask], sessions: sessionmaker[Session]) -> FlaskClient:
    """A service whose PostgreSQL and Redis are not there."""
    app = new_app(
        DATABASE_URL="postgresql://nobody@127.0.0.1:1/none", REDIS_URL="redis://127.0.0.1:1/0"
    )
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {API_TOKEN}"
    return client


def test_without_postgresql_a_scrape_tells_that_and_what_was_counted(adrift: FlaskClient) -> None:
    answer = adrift.get("/metrics")
    assert answer.status_code == 200
    found = samples(answer.text)
    assert of(found, "database_up") == 0
    assert [name for name, _ in found if name == "build_info"]
    assert not [name for name, _ in found if name == "messages_pending"]


def test_without_redis_a_scrape_tells_all_the_rest(
    new_app: Callable[..., Flask], sessions: sessionmaker[Session], redis: Redis
) -> None:
    client = new_app(REDIS_URL="redis://127.0.0.1:1/0").test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {API_TOKEN}"
    found = scrape(client)
    assert (of(found, "database_up"), of(found, "redis_up")) == (1, 0)
    assert of(found, "workers") is None
    assert of(found, "alert", condition="redis_away", account="", severity="critical") == 1


def test_a_part_that_fails_or_is_slow_leaves_the_others_and_the_database_is_up(
    shop: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(context: AlertContext) -> Iterator[Metric]:
        context.session.execute(text("SELECT pg_sleep(30)"))
        yield from ()

    def broken(_context: AlertContext) -> Iterator[Metric]:
        raise KeyError("a word")

    parts = {**metric_families.PARTS, "accounts": broken, "inbox": slow}
    monkeypatch.setattr(metrics_collector, "PARTS", parts)
    found = samples(shop.get("/metrics").text)
    assert of(found, "database_up") == 1
    failed = {labels[0][1]: value for (name, labels), value in found.items() if name == FAILED}
    assert {part for part, value in failed.items() if value} == {"accounts", "inbox"}
    assert of(found, "workers") == 0
    assert of(found, "messages_pending") is None
