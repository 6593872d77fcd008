"""`ordertrail doctor`: each thing that is wrong is named, with what mends it, and nothing hangs."""

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from redis import Redis
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.models import Message
from tests.command import run_command
from tests.oauth_courier import TOKEN_PATH, OAuthCourier, Reply, serving
from tests.sandbox import Cottoncast, Courier, ShipmentAPI, Tiramizoo, evenly
from tests.servers import started as server_started
from tests.service import CLOCK, WORKER, Web, running, running_web, valkey_made, wait_until
from tests.shop import fill
from tests.test_courier_api import CERTIFICATE
from workers.cli.doctor import command, findings, servers, webhook
from workers.cli.doctor.alerting import check_alerting
from workers.cli.doctor.findings import BROKEN, NOTE, OK, WARNING, Finding
from workers.cli.doctor.http_probe import ProbeResponse, send_probe
from workers.cli.doctor.settings import read_usable_settings
from workers.polling.http_client import trusted_certificates

Sessions = sessionmaker[Session]
STRONG = "mK3vQ9xWz7Lp2RtY8bNc"
NOBODY = "http://127.0.0.1:9"


def alone(environ: Mapping[str, str], **given: str) -> dict[str, str]:
    """An environment with this test's servers and nothing that doctor finds fault with."""
    return {
        "DATABASE_URL": environ["DATABASE_URL"],
        "REDIS_URL": environ["REDIS_URL"],
        "API_TOKENS": f"{STRONG}-1",
        "ALERT_URLS": "json://127.0.0.1:9",
        "HEARTBEAT_URL": "http://127.0.0.1:9",
        "COURIER_COTTONCAST_SECRETS": f"{STRONG}-2",
        "WEB_CONCURRENCY": "1",
        "PORT": "9",
        **given,
    }


def examined(environ: Mapping[str, str], *arguments: str) -> dict[tuple[str, str], Finding]:
    """What doctor said, by area and check; the worst of where it said several things."""
    done = run_command(environ, "doctor", "--json", *arguments)
    told = [Finding(**it) for it in json.loads(done.stdout)["checks"]]
    worst = max(command.EXIT_CODES[it.level] for it in told)
    assert done.exit_code == worst
    assert all(it.mend for it in told if it.level in {WARNING, BROKEN})
    ordered = sorted(told, key=lambda it: command.EXIT_CODES[it.level])
    return {(it.area, it.check): it for it in ordered}


def levels(found: Mapping[tuple[str, str], Finding], area: str) -> dict[str, str]:
    return {check: it.level for (of, check), it in found.items() if of == area}


@pytest.mark.system
def test_an_installation_that_is_well_is_said_to_be(
    environ: dict[str, str], sessions: Sessions, redis: Redis, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        courier = stack.enter_context(Cottoncast())
        here = {**alone(environ), **courier.environ()}
        here["COURIER_COTTONCAST_SECRETS"] = f"{STRONG}-2"
        web = stack.enter_context(running_web(here, tmp_path / "log"))
        here["PORT"] = str(web.port)
        here["ALERT_URLS"] = f"json://127.0.0.1:{web.port}"
        here["HEARTBEAT_URL"] = f"http://127.0.0.1:{web.port}/livez"
        for arguments in (WORKER, CLOCK):
            stack.enter_context(running(arguments, here, tmp_path / "log"))
        ready = json.loads(web.get("/readyz").data)
        wait_until(lambda: json.loads(web.get("/readyz").data)["workers"])
        wait_until(lambda: redis.keys("ordertrail:clock:*"))
        assert ready["status"] == "ready"
        url = f"http://127.0.0.1:{web.port}"
        found = examined(here, "--webhook-url", url)
        shown = run_command(here, "doctor")
    # The tests' own PostgreSQL flushes nothing.
    assert {key: it.level for key, it in found.items() if it.level != OK} == {
        ("PostgreSQL", "fsync"): BROKEN,
        ("PostgreSQL", "full_page_writes"): BROKEN,
        ("webhook", "TLS"): WARNING,
    }
    assert set(levels(found, "processes")) == {"web", "alerts", "jobs"}
    assert "does not know the order" in shown.stdout
    assert shown.exit_code == 2
    assert shown.stdout.splitlines()[-1].startswith("2 broken, 0 warnings, ")


def test_where_everything_is_away_it_says_so_and_ends() -> None:
    away = {
        "DATABASE_URL": "postgresql://u:db-pw@127.0.0.1:9/x",
        "REDIS_URL": "redis://127.0.0.1:9",
    }
    here = alone(away, COURIER_COTTONCAST_API_URL=NOBODY, COURIER_COTTONCAST_API_USER="shop")
    here["COURIER_COTTONCAST_API_TOKEN"] = "made-up-api"
    found = examined(here, "--webhook-url", NOBODY)
    broken = {key for key, it in found.items() if it.level == BROKEN}
    assert broken == {
        ("PostgreSQL", "connection"),
        ("Redis", "connection"),
        ("couriers", "cottoncast"),
        ("webhook", "cottoncast"),
        ("processes", "database_away"),
        ("processes", "redis_away"),
        ("alerts", "ALERT_URLS no. 1"),
        ("alerts", "HEARTBEAT_URL"),
    }
    shown = run_command(here, "doctor")
    assert shown.exit_code == 2
    assert "made-up-api" not in shown.output
    assert "db-pw" not in shown.output
    assert STRONG not in shown.output


def test_a_check_that_hangs_or_fails_costs_only_itself() -> None:
    release = threading.Event()

    def hangs() -> Iterator[Finding]:
        yield Finding("first", OK, "seen")
        release.wait(20)

    def fails() -> Iterator[Finding]:
        raise RuntimeError("a password")

    def works() -> Iterator[Finding]:
        yield Finding("it", OK, "seen")

    began = time.monotonic()
    told = command.run_checks({"slow": hangs, "spoilt": fails, "quick": works}, seconds=0.3)
    assert time.monotonic() - began < 10
    release.set()
    assert [(it.area, it.check, it.level) for it in told] == [
        ("slow", "first", OK),
        ("slow", "check", BROKEN),
        ("spoilt", "check", BROKEN),
        ("quick", "it", OK),
    ]
    assert "a password" not in str(told)


# Settings


def test_every_fault_of_the_settings_is_told_and_the_rest_is_looked_at_all_the_same(
    environ: dict[str, str], sessions: Sessions
) -> None:
    here = alone(environ, PORT="many", COURIER_TIRAMIZOO_CONFIRM="perhaps", COURIER_TYPO="x")
    del here["API_TOKENS"]
    found = examined(here)
    broken = {check for check, level in levels(found, "settings").items() if level == BROKEN}
    assert broken == {"PORT", "COURIER_TIRAMIZOO_CONFIRM", "COURIER_TYPO", "API_TOKENS"}
    assert found["PostgreSQL", "connection"].level == OK
    assert found["Redis", "connection"].level == OK


def test_without_any_settings_it_says_what_is_needed() -> None:
    found = examined({"DATA_DIR": "/nowhere"})
    broken = {check for check, level in levels(found, "settings").items() if level == BROKEN}
    assert broken == {"DATABASE_URL", "REDIS_URL", "API_TOKENS", "accounts"}
    assert {area for area, _ in found} == {"settings"}


@pytest.mark.parametrize(
    "given",
    [{"COURIER_tiramizoo_SECRETS": "x"}, {"COURIER_MUNICH_SECRETS": "x"}],
    ids=["lower case", "no driver"],
)
def test_an_account_that_cannot_be_read_is_named(given: dict[str, str]) -> None:
    away = {"DATABASE_URL": "postgresql://127.0.0.1:9/x", "REDIS_URL": "redis://127.0.0.1:9"}
    found = examined(alone(away, **given))
    broken = [check for check, level in levels(found, "settings").items() if level == BROKEN]
    account = next(iter(given)).removesuffix("_SECRETS")
    assert [check.rpartition("_")[0] for check in broken] == [account]
    assert found["settings", "cottoncast"].level != BROKEN


@pytest.mark.parametrize(
    ("given", "check", "seen"),
    [
        ({"API_TOKENS": "9f8a7c6b5d4e3f2a1"}, "API_TOKENS", "only 17 characters"),
        ({"API_TOKENS": "please-change-this-one"}, "API_TOKENS", "contains a common word"),
        ({"METRICS_TOKEN": f"{STRONG}-2"}, "METRICS_TOKEN", "COURIER_COTTONCAST_SECRETS"),
        ({"POLL_INTERVAL_FACTOR": "0.1"}, "POLL_INTERVAL_FACTOR", "more often"),
        ({"COURIER_TIRAMIZOO_API_TOKEN": "x"}, "tiramizoo", "off: it has no secrets"),
        ({}, "cottoncast", "not polled"),
    ],
)
def test_what_should_not_be_so_is_a_warning(given: dict[str, str], check: str, seen: str) -> None:
    away = {"DATABASE_URL": "postgresql://127.0.0.1:9/x", "REDIS_URL": "redis://127.0.0.1:9"}
    finding = examined(alone(away, **given))["settings", check]
    assert finding.level == WARNING
    assert seen in finding.seen
    # Whose token is to be replaced is no courier.
    assert "courier" not in finding.mend or "COURIER" in finding.mend


def test_an_archive_that_cannot_be_written_is_broken(tmp_path: Path) -> None:
    away = {"DATABASE_URL": "postgresql://127.0.0.1:9/x", "REDIS_URL": "redis://127.0.0.1:9"}
    (tmp_path / "file").touch()
    for name, level in (("", OK), ("nothing", BROKEN), ("file", BROKEN)):
        finding = examined(alone(away, ARCHIVE_DIR=str(tmp_path / name)))["settings", "ARCHIVE_DIR"]
        assert finding.level == level, finding
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_nobody_to_push_alerts_to_is_only_noted() -> None:
    away = {"DATABASE_URL": "postgresql://127.0.0.1:9/x", "REDIS_URL": "redis://127.0.0.1:9"}
    assert examined(alone(away, ALERT_URLS=""))["settings", "ALERT_URLS"].level == NOTE


# PostgreSQL


@pytest.fixture
def own_database(
    servers: dict[str, str], new_database: Callable[[str], str]
) -> tuple[str, Callable[[str], None]]:
    """A database of this test's own, and what does something to it from outside."""
    url = new_database("doctor")

    def act(statement: str) -> None:
        where = servers["admin"] if "ALTER DATABASE" in statement else url
        with psycopg.connect(where, autocommit=True) as connection:
            connection.execute(statement)

    return url, act


@pytest.mark.parametrize(
    ("statement", "check", "seen"),
    [
        ("DROP TABLE alembic_version", "tables", "at revision None"),
        ("UPDATE alembic_version SET version_num = '9999'", "tables", "does not know"),
        ("ALTER DATABASE {} SET default_transaction_read_only = on", "transaction_read_only", "on"),
    ],
)
def test_a_database_that_cannot_be_used_is_told(
    environ: dict[str, str],
    own_database: tuple[str, Callable[[str], None]],
    statement: str,
    check: str,
    seen: str,
) -> None:
    url, act = own_database
    act(statement.format(url.partition("?")[0].rpartition("/")[2]))
    found = examined(alone({**environ, "DATABASE_URL": url}))
    assert found["PostgreSQL", check].level == BROKEN
    assert seen in found["PostgreSQL", check].seen


def test_an_ordinary_role_finds_nothing_broken(
    environ: dict[str, str], own_database: tuple[str, Callable[[str], None]]
) -> None:
    url, act = own_database
    act("CREATE ROLE ordinary LOGIN")
    try:
        act("GRANT SELECT ON ALL TABLES IN SCHEMA public TO ordinary")
        ordinary = url.replace("//postgres@", "//ordinary@")
        found = examined(alone({**environ, "DATABASE_URL": ordinary}))
        assert found["PostgreSQL", "connection"].level == OK
    finally:
        act("DROP OWNED BY ordinary")
        act("DROP ROLE ordinary")


def test_sessions_that_do_not_flush_are_told_whoever_drops_our_options() -> None:
    assert servers._check_setting("synchronous_commit", "off").level == BROKEN
    for value in ("on", "remote_apply", "local"):
        assert servers._check_setting("synchronous_commit", value).level == OK
    assert servers._check_setting("TimeZone", "Europe/Berlin").level == WARNING


@pytest.mark.parametrize(
    ("most", "taken", "level"), [(200, 5, OK), (200, 170, BROKEN), (50, 5, WARNING)]
)
def test_connections_that_run_out_are_told(most: int, taken: int, level: str) -> None:
    assert servers._check_connections(most, taken, {"WEB_CONCURRENCY": "4"}).level == level


@pytest.mark.parametrize(
    ("seconds", "level"), [(0, OK), (-2.9, OK), (4, WARNING), (-59, WARNING), (61, BROKEN)]
)
def test_clocks_that_differ_are_told(seconds: float, level: str) -> None:
    ours = datetime.now(UTC)
    found = findings.compare_clocks("clock", ours + timedelta(seconds=seconds), ours, "its host")
    assert found.level == level
    assert seconds == 0 or ("ahead" if seconds > 0 else "behind") in found.seen or level == OK


# Redis


@pytest.mark.parametrize(
    ("settings", "check", "level"),
    [
        ({"maxmemory-policy": "allkeys-lru", "maxmemory": "100mb"}, "eviction", BROKEN),
        ({"maxmemory-policy": "allkeys-lru"}, "eviction", WARNING),
        ({"appendonly": "no"}, "persistence", WARNING),
    ],
)
def test_a_redis_that_forgets_is_told(
    environ: dict[str, str], settings: dict[str, str], check: str, level: str
) -> None:
    with valkey_made() as valkey:
        valkey.settings = settings
        with server_started(valkey):
            found = examined(alone({**environ, "REDIS_URL": valkey.url()}))
    assert found["Redis", check].level == level
    assert found["Redis", "version"].seen.startswith("Valkey 9")


def test_a_replica_is_told(environ: dict[str, str]) -> None:
    with valkey_made() as valkey:
        valkey.settings = {"replicaof": "127.0.0.1 9"}
        with server_started(valkey):
            found = examined(alone({**environ, "REDIS_URL": valkey.url()}))
    assert found["Redis", "writable"].level == BROKEN


@pytest.mark.parametrize(
    ("version", "level"), [("4.0.9", BROKEN), ("6.0.16", WARNING), ("6.2.0", OK), ("10.1", OK)]
)
def test_a_redis_that_is_too_old_is_told(version: str, level: str) -> None:
    assert servers._check_version({"redis_version": version}).level == level


@pytest.mark.parametrize(
    ("url", "level"),
    [
        ("redis://cache.example:6379/0", WARNING),
        ("redis://:password@cache.example", OK),
        ("redis://127.0.0.1", OK),
        ("unix:///run/redis.sock", OK),
    ],
)
def test_a_redis_that_anybody_can_write_to_is_told(url: str, level: str) -> None:
    assert servers._check_password(url).level == level


# Processes


def test_alerts_about_the_whole_service_are_findings(
    environ: dict[str, str], sessions: Sessions, redis: Redis
) -> None:
    found = levels(examined(alone(environ)), "processes")
    found.pop("disk_low", None)
    assert found == {"web": NOTE, "no_workers": BROKEN, "jobs": OK}


# Couriers


def asked(environ: Mapping[str, str], courier: Courier, **changed: str) -> Finding:
    here = {**alone(environ), **courier.environ(), **changed}
    return examined(here)["couriers", courier.name]


def test_a_courier_that_takes_our_credentials_is_asked_once(
    environ: dict[str, str], sessions: Sessions
) -> None:
    with Tiramizoo() as courier:
        assert asked(environ, courier).level == OK
        assert len(courier.ledger) == 1
    with ShipmentAPI() as courier:
        order = courier.create(evenly("accepted", start=datetime.now(UTC), apart=timedelta()))
        fill(
            sessions,
            {
                "account": "shipmentapi",
                "courier": "shipmentapi",
                "courier_order_id": order.id,
                "courier_status": "accepted",
            },
        )
        assert "credentials are accepted" in asked(environ, courier).seen
        fill(
            sessions,
            {
                "account": "shipmentapi",
                "courier": "shipmentapi",
                "courier_order_id": "not there",
                "courier_status": "accepted",
            },
        )
        found = asked(environ, courier)
    assert (found.level, "does not know" in found.seen) == (WARNING, True)


@pytest.mark.parametrize(
    ("fault", "level", "seen"),
    [
        ({"kind": "status", "status": 503}, WARNING, "503"),
        ({"kind": "too_many"}, WARNING, "too many"),
        ({"kind": "html"}, BROKEN, "not JSON"),
        ({"kind": "redirect"}, BROKEN, "redirects"),
        ({"kind": "status", "status": 418}, WARNING, "unexpected"),
    ],
)
def test_a_courier_that_does_not_answer_is_told(
    environ: dict[str, str], sessions: Sessions, fault: dict[str, Any], level: str, seen: str
) -> None:
    with Tiramizoo() as courier:
        courier.faults.always(**fault)
        found = asked(environ, courier)
    assert (found.level, seen in found.seen) == (level, True)


def test_a_courier_that_refuses_our_credentials_is_told(
    environ: dict[str, str], sessions: Sessions
) -> None:
    with Tiramizoo() as courier:
        found = asked(environ, courier, COURIER_TIRAMIZOO_API_TOKEN="another")
    assert (found.level, "COURIER_TIRAMIZOO_API_TOKEN" in found.mend) == (BROKEN, True)


# The webhook's address


@pytest.fixture
def front() -> Iterator[Callable[..., str]]:
    """Start a server that answers in our stead, as proxies do; its address."""
    running: list[HTTPServer] = []

    def start(status: int, body: bytes = b"", **headers: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        running.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def by_access_token(url: str) -> dict[str, str]:
    """The settings of an account whose courier gives out access tokens."""
    own = {
        "DRIVER": "fields",
        "SECRETS": f"{STRONG}-4",
        "FIELDS": '{"courier_order_id": "id", "courier_status": "state"}',
        "API_URL": f"{url}/v1",
        "API_USER": "client-7",
        "API_TOKEN": f"{STRONG}-5",
        "API": json.dumps({"oauth": {"token_url": f"{url}{TOKEN_PATH}"}}),
    }
    return {f"COURIER_SHOP_{name}": value for name, value in own.items()}


@pytest.mark.parametrize(
    ("replies", "level", "seen"),
    [
        ([], OK, "our credentials are accepted"),
        ([Reply({"error": "invalid_client"}, 401)], BROKEN, "OAuth server refuses our credentials"),
        ([Reply(b"<html>")], BROKEN, "without a usable access_token"),
    ],
)
def test_whether_a_courier_gives_an_access_token_is_told(
    environ: dict[str, str], replies: list[Reply], level: str, seen: str
) -> None:
    pages = {"/v1/orders/ORDERTRAIL-SAMPLE-F": Reply({})}
    with serving(OAuthCourier(token_replies=replies, pages=pages)) as courier:
        found = examined(alone(environ, **by_access_token(courier.url)))["couriers", "shop"]
        assert (found.level, seen in found.seen) == (level, True), found
        assert (f"{courier.url}{TOKEN_PATH}" in found.mend) == (level == BROKEN)
        assert STRONG not in f"{found.seen}{found.mend}"


def test_a_path_that_needs_a_postcode_is_tried_without_an_order(environ: dict[str, str]) -> None:
    pages = {"/v1/track/ORDERTRAIL-SAMPLE-F/00000": Reply({})}
    with serving(OAuthCourier(needs_token=False, pages=pages)) as courier:
        own = {"path": "/track/{tracking_number}/{postcode}", "auth": "bearer"}
        given = {**by_access_token(courier.url), "COURIER_SHOP_API": json.dumps(own)}
        found = examined(alone(environ, **given))["couriers", "shop"]
        assert (found.level, "credentials are accepted" in found.seen) == (OK, True)


SECRET = {"COURIER_TIRAMIZOO_SECRETS": f"{STRONG}-3"}
UNSIGNED = b'{"status":"error","message":"Cottoncast-Authentication is missing"}'


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        ((301, b"", {"Location": "https://elsewhere"}), "redirects to https://elsewhere"),
        ((502, b"<html>"), "502"),
        ((200, b'{"status":"ok"}'), "not a response of Ordertrail"),
        ((404, b"<html>"), "not a response of Ordertrail"),
        ((404, b'{"status":"error","message":"no such account"}'), "no such account"),
        ((401, b"who are you"), "not a response of Ordertrail"),
        ((401, UNSIGNED), "the header with the credential did not arrive"),
    ],
)
def test_what_stands_in_the_way_of_the_couriers_is_told(
    environ: dict[str, str], front: Callable[..., str], answer: tuple[Any, ...], seen: str
) -> None:
    status, body, *headers = answer
    url = front(status, body, **(headers[0] if headers else {}))
    found = examined(alone(environ), "--webhook-url", url)["webhook", "cottoncast"]
    assert (found.level, seen in found.seen) == (BROKEN, True), found


def test_a_limit_that_is_smaller_than_ours_is_told(web: Web, environ: dict[str, str]) -> None:
    url = f"http://127.0.0.1:{web.port}"
    here = alone(environ, **SECRET)
    assert examined(here, "--webhook-url", url)["webhook", "body size"].level == OK
    larger = {**here, "MAX_BODY_BYTES": str(2 * 1024 * 1024)}
    found = examined(larger, "--webhook-url", url)
    assert found["webhook", "body size"].level == BROKEN
    assert "MAX_BODY_BYTES there" in found["webhook", "body size"].mend
    assert {found["webhook", name].level for name in ("cottoncast", "tiramizoo")} == {OK}


def test_nothing_that_is_tried_is_kept(
    web: Web, environ: dict[str, str], sessions: Sessions
) -> None:
    examined(alone(environ, **SECRET), "--webhook-url", f"http://127.0.0.1:{web.port}")
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Message)) == 0


@pytest.mark.parametrize(("days", "level"), [(90, OK), (20, WARNING), (2, BROKEN), (-1, BROKEN)])
def test_a_certificate_that_ends_soon_is_told(days: float, level: str) -> None:
    now = datetime.now(UTC)
    told = ProbeResponse(401, {}, b"", 1, now, now, now + timedelta(days=days))
    assert webhook._check_certificate(told).level == level


def test_when_a_certificate_ends_is_read_off_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "certificate.pem"
    file.write_text(CERTIFICATE)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    trusted_certificates.cache_clear()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.handle_request, daemon=True)
    thread.start()
    told = send_probe("POST", f"https://127.0.0.1:{server.server_port}/", {}, b"{}")
    thread.join(20)
    server.server_close()
    trusted_certificates.cache_clear()
    assert told.status == 501
    assert told.certificate_until is not None
    assert told.certificate_until > datetime(2030, 1, 1, tzinfo=UTC)


def test_an_address_that_is_none_is_wrong_usage() -> None:
    assert run_command({}, "doctor", "--webhook-url", "hooks.shop.example").exit_code == 2


# Where alerts go


class Receiver(BaseHTTPRequestHandler):
    """Takes alerts and heartbeats at one path only."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.paths.append(self.path)  # type: ignore[attr-defined]
        self.send_response(200 if self.path == "/right" else 404)
        self.end_headers()

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *arguments: Any) -> None:
        """Not on the terminal."""


@pytest.mark.parametrize("path", ["right", "wrong"])
def test_where_alerts_go_is_tried_without_an_alarm_and_with_one(
    environ: dict[str, str], path: str
) -> None:
    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        server.paths = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = alone(
            environ,
            ALERT_URLS=f"json://user:s3cret@127.0.0.1:{server.server_port}/{path}",
            HEARTBEAT_URL=f"http://127.0.0.1:{server.server_port}/{path}",
        )
        settings, _, _ = read_usable_settings(here)
        connected = list(check_alerting(settings, push=False))
        assert server.paths == []  # type: ignore[attr-defined]
        pushed = list(check_alerting(settings, push=True))
        server.shutdown()
    assert [it.level for it in connected] == [OK, OK]
    assert [it.level for it in pushed] == [OK, OK] if path == "right" else [BROKEN, BROKEN]
    assert not [it for it in (*connected, *pushed) if "s3cret" in it.seen + it.mend]


@pytest.mark.parametrize(
    ("url", "level"),
    [
        ("json://127.0.0.1:9/", BROKEN),
        ("jsons://no-such-host.invalid/", BROKEN),
        ("mailto://user:pw@example.com?smtp=127.0.0.1:9", BROKEN),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general", NOTE),
    ],
)
def test_an_address_of_alerts_that_refuses_is_seen_without_a_push(
    environ: dict[str, str], url: str, level: str
) -> None:
    settings, _, _ = read_usable_settings(alone(environ, ALERT_URLS=url, HEARTBEAT_URL=""))
    [finding] = check_alerting(settings, push=False)
    assert finding.level == level
    assert "pw" not in finding.seen
