"""One PostgreSQL and one Valkey for the whole run; a database of its own for each test process.

The servers start when a test needs them: with xdist the controller starts them at once and hands
them to its workers. Each process copies a migrated template and empties its copy between tests.
Imports that take long stand in the fixtures that need them, so that a file without servers starts
at once.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from receiver.couriers import DRIVERS
from tests.courier_secrets import fitting_secret

if TYPE_CHECKING:
    from flask import Flask
    from flask.testing import FlaskClient
    from redis import Redis
    from sqlalchemy import Engine
    from sqlalchemy.orm import Session, sessionmaker

    from receiver.settings import Settings
    from tests.polling import MakeWorld
    from tests.service import Web

SERVERS = pytest.StashKey[dict[str, str]]()
STACK = pytest.StashKey[ExitStack]()

API_TOKEN = "test-api-token-01"
ENVIRON = {
    "API_TOKENS": API_TOKEN,
    "METRICS_TOKEN": "test-metrics-token",
    "REQUEST_LOG": "off",
    "COURIER_TIRAMIZOO_SECRETS": "tiramizoo-token,tiramizoo-old-token",
    "COURIER_COTTONCAST_SECRETS": "cottoncast-key,cottoncast-old-key",
    "COURIER_SHIPMENTAPI_SECRETS": "shipmentapi-token",
    "COURIER_FIELDS_FIELDS": (
        '{"orders": "shipments || [@][]", "courier_order_id": "id", "courier_status": "state",'
        ' "occurred_at": "at", "reference": "shop_reference",'
        ' "statuses": {"accepted": "info_received",'
        ' "on its way": "in_transit", "delivered": "delivered"}}'
    ),
    "COURIER_COTTONCAST_PARKING_DRIVER": "cottoncast",
    "COURIER_COTTONCAST_PARKING_SECRETS": "parking-key",
    "COURIER_COTTONCAST_PARKING_UNKNOWN_ORDERS": "park",
    "COURIER_TIRAMIZOO_PARKING_DRIVER": "tiramizoo",
    "COURIER_TIRAMIZOO_PARKING_SECRETS": "parking-token",
    "COURIER_TIRAMIZOO_PARKING_UNKNOWN_ORDERS": "park",
}
# A courier that this file does not know yet has an account as well.
ENVIRON = {
    f"COURIER_{name.upper()}_SECRETS": fitting_secret(driver, f"{name}-secret")
    for name, driver in DRIVERS.items()
} | ENVIRON
# And a value for each setting that only its driver needs.
ENVIRON |= {
    f"COURIER_{name.upper()}_{setting}": "test"
    for name, driver in DRIVERS.items()
    for setting, field in driver.settings.items()
    if field.required
}


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Load Hypothesis, which takes half a second, only before a module that uses it.

    A module that is collected is imported; pytest makes one of every file of the folder.
    """
    if isinstance(collector, pytest.Module) and b"hypothesis" in collector.path.read_bytes():
        from tests import hypothesis_profiles

        hypothesis_profiles.load()


def pytest_configure() -> None:
    # A shell without job control has what it starts in the background ignore Ctrl-C, and every
    # process that a test starts would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not entry_points(group="ordertrail.commands"):
        raise pytest.UsageError(
            "the installed ordertrail is older than pyproject.toml: run `make dev`, or"
            " .venv/bin/pip install -q --no-deps --no-build-isolation -e ."
        )


def start_servers(config: pytest.Config) -> dict[str, str]:
    """Start both servers; they stop at the end of the run."""
    from tests.servers import with_template

    stack = config.stash[STACK] = ExitStack()
    return stack.enter_context(with_template())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let those that may take longest start first, so that no process is left with one at the end.

    xdist then takes the largest groups first, and keeps this order among the rest.
    """

    def longest_first(item: pytest.Item) -> float:
        timeout = item.get_closest_marker("timeout")
        return -timeout.args[0] if timeout else 0.0

    items.sort(key=longest_first)


def pytest_configure_node(node: Any) -> None:
    """xdist: hand the servers to a worker; the first worker has the controller start them."""
    stash = node.config.stash
    if SERVERS not in stash:
        stash[SERVERS] = start_servers(node.config)
    node.workerinput["servers"] = stash[SERVERS]


def pytest_unconfigure(config: pytest.Config) -> None:
    if STACK in config.stash:
        config.stash[STACK].close()


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> dict[str, str]:
    """The URLs of both servers."""
    config = request.config
    if hasattr(config, "workerinput"):
        return dict(config.workerinput["servers"])
    return start_servers(config)


@pytest.fixture(scope="session")
def new_database(servers: dict[str, str], worker_id: str) -> Callable[[str], str]:
    """Make a database with all tables, and return its URL."""
    import psycopg

    from tests.servers import TEMPLATE

    def make(name: str) -> str:
        full_name = f"ot_{worker_id}_{name}"
        with psycopg.connect(servers["admin"], autocommit=True) as admin:
            admin.execute(f"DROP DATABASE IF EXISTS {full_name} WITH (FORCE)")
            admin.execute(f"CREATE DATABASE {full_name} TEMPLATE {TEMPLATE}")
        return servers["postgres"].replace("%7B%7D", full_name)

    return make


@pytest.fixture(scope="session")
def environ(
    new_database: Callable[[str], str], servers: dict[str, str], worker_id: str
) -> dict[str, str]:
    """What a process of this test worker's own service is given."""
    number = 1 + int(worker_id.removeprefix("gw")) if worker_id != "master" else 0
    return {
        **ENVIRON,
        "DATABASE_URL": new_database("main"),
        "REDIS_URL": f"{servers['valkey']}?db={number}",
    }


@pytest.fixture(scope="session")
def settings(environ: dict[str, str]) -> Settings:
    from receiver.settings import Settings

    return Settings.from_env(environ)


@pytest.fixture(scope="session")
def engine(settings: Settings) -> Iterator[Engine]:
    from receiver.db.engine import create_engine_for

    engine = create_engine_for(settings.database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def sessions(engine: Engine) -> sessionmaker[Session]:
    """Sessions on an empty database."""
    from receiver.db.engine import session_factory
    from tests.emptying import empty

    with engine.begin() as connection:
        empty(connection)
    return session_factory(engine)


@pytest.fixture
def redis(settings: Settings) -> Iterator[Redis]:
    """An empty Redis."""
    from receiver.queue.redis_client import connect_redis

    client = connect_redis(settings.redis_url)
    client.flushdb()
    yield client
    client.close()


@pytest.fixture(scope="session")
def built_app(settings: Settings) -> Iterator[Flask]:
    """The application, built once; ask for `app` to have it without what it remembers."""
    from receiver.app import create_app
    from tests.applications import close

    app = create_app(settings)
    yield app
    close(app)


@pytest.fixture
def app(sessions: sessionmaker[Session], redis: Redis, built_app: Flask) -> Iterator[Flask]:
    """The application on an empty database, as if it had just been started."""
    from tests.applications import end_threads, forget
    from tests.service import at_rest, wait_until

    forget(built_app)
    yield built_app
    # The doorbell is a thread of its own and rings after the answer, which is all a test waits for.
    wait_until(lambda: at_rest(built_app))
    end_threads(built_app)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def shop(app: Flask) -> FlaskClient:
    """A client with the shop's token."""
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {API_TOKEN}"
    return client


@pytest.fixture
def drain(sessions: sessionmaker[Session], settings: Settings) -> Callable[[], int]:
    """Empty the inbox, as a worker would; how many messages there were."""
    from workers.folding.drain import drain_batch

    def run() -> int:
        folded = 0
        while size := drain_batch(sessions, settings, datetime.now(UTC)):
            folded += size
        return folded

    return run


@pytest.fixture(scope="session")
def web(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A gunicorn on this test worker's database and Redis; ask for `sessions` to empty them."""
    from tests.service import running_web

    with running_web(environ, tmp_path_factory.mktemp("web") / "web.log") as web:
        yield web


@pytest.fixture(scope="session")
def asking_web(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """The same, with an account whose courier can be asked."""
    from tests import everything
    from tests.service import running_web

    log = tmp_path_factory.mktemp("web") / "web.log"
    with running_web({**environ, **everything.ENVIRON}, log) as web:
        yield web


@pytest.fixture
def filled(
    asking_web: Web,
    new_app: Callable[..., Flask],
    sessions: sessionmaker[Session],
    redis: Redis,
    drain: Callable[[], int],
) -> Web:
    """A running service that holds one of everything."""
    from tests import everything

    shop = new_app(**everything.ENVIRON).test_client()
    shop.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {API_TOKEN}"
    everything.put_in(shop, sessions, drain)
    return asking_web


@pytest.fixture
def new_world(
    environ: dict[str, str], sessions: sessionmaker[Session], redis: Redis
) -> Iterator[MakeWorld]:
    """Make a shop with a courier that is asked, by a clock that the test moves."""
    from tests.polling import making_worlds

    with making_worlds(environ, sessions, redis) as make:
        yield make


@pytest.fixture
def new_app(environ: dict[str, str]) -> Iterator[Callable[..., Flask]]:
    """Make an application with other settings, by the names of the environment."""
    from receiver.app import create_app
    from receiver.settings import Settings
    from tests.applications import close
    from tests.service import at_rest, wait_until

    apps: list[Flask] = []

    def make(**changed: str) -> Flask:
        apps.append(create_app(Settings.from_env({**environ, **changed})))
        return apps[-1]

    yield make
    wait_until(lambda: all(map(at_rest, apps)))
    for app in apps:
        close(app)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Undo what a command that ran inside the test did to logging: the next test may read a log."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
