"""The machines of a shop: what runs on each, and how the whole is looked at from outside."""

import http.client
import json
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
from redis import Redis
from redis.sentinel import Sentinel

from receiver.db.migrate import migrate
from receiver.standalone.embedded import Postgres, Valkey
from receiver.standalone.home import Home
from tests import nginx, pgbouncer
from tests.faults.stand import AUTHORIZED, DATABASE, ENVIRON, PATIENCE, START_SECONDS
from tests.hosts.network import NET, Host, Network
from tests.sandbox import Cottoncast
from tests.service import CLOCK, ROOT, WEB, WORKER, wait_until

SERVICE = "ordertrail"
SENTINELS = ("valkey1", "valkey2", "pool")
NAMES = (
    *("front", "web1", "web2", "work1", "work2", "clock1", "clock2"),
    *("valkey1", "valkey2", "pool", "database"),
)
CONFIGURED = ROOT / "deploy" / "valkey"
# Tells what a primary that answers no more is, sooner than on real networks.
DOWN_AFTER_MS = "2000"
# RecordedRequest about every 7 s while nothing is heard, then 14, 28...
FACTOR = 0.002


class Shop:
    """Eleven hosts. The network they are on is this process's own (network.go_inside)."""

    def __init__(self, directory: Path, silent: Cottoncast) -> None:
        self.directory = directory
        self.silent = silent
        directory.chmod(0o711)
        self.network = Network(directory)
        self.hosts = {name: self.network.add(name) for name in NAMES}
        home = Home.make(directory / "servers")
        self.user = home.user or (0, 0)
        self.postgres = Postgres(home, {"listen_addresses": self.hosts["database"].address})
        self.valkey = Valkey(home)
        self.certificate = nginx.certify(self.hosts["front"].directory, f"IP:{self.front.address}")
        self._trust = ssl.create_default_context(cafile=str(self.certificate))

    @property
    def front(self) -> Host:
        return self.hosts["front"]

    # What runs where

    def start(self) -> None:
        """Everything runs and answers."""
        self._install_database()
        self._install_valkeys()
        self._install_pool()
        self.hosts["database"].start()
        wait_until(self.postgres.answers, START_SECONDS)
        self.postgres.create_database(DATABASE)
        for name in ("valkey1", "valkey2", "pool"):
            self.hosts[name].start()
        migrate(self.postgres.url(DATABASE))
        self._install_ours()
        for name in ("web1", "web2", "work1", "work2", "clock1", "clock2", "front"):
            self.hosts[name].start()
        wait_until(lambda: self.workers() == 2, START_SECONDS)
        wait_until(lambda: self.get("/v1/alerts")[0] == http.HTTPStatus.OK, START_SECONDS)

    def _install_database(self) -> None:
        self.postgres.prepare()
        with (self.postgres.data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {NET}.0/24 trust\n")
        host = self.hosts["database"]
        host.install(self.postgres.command(), {}, self.postgres.data, self.user)

    def _install_valkeys(self) -> None:
        self.valkey.prepare()
        server = str(self.valkey.binary())
        for name in ("valkey1", "valkey2"):
            host = self.hosts[name]
            given = ["--bind", host.address, "--protected-mode", "no", "--dir", "."]
            if name != "valkey1":
                given += ["--replicaof", self.hosts["valkey1"].address, "6379"]
            # A host remembers what its Sentinel made of it: it writes into its own copy.
            self._own(host, CONFIGURED / "valkey.conf")
            host.install([server, "valkey.conf", *given], {}, host.directory)
        for name in SENTINELS:
            host = self.hosts[name]
            conf = self._own(host, CONFIGURED / "sentinel.conf")
            told = conf.read_text()
            for was, now in {
                f"{SERVICE} valkey 6379": f"{SERVICE} {self.hosts['valkey1'].address} 6379",
                "-milliseconds ordertrail 3000": f"-milliseconds ordertrail {DOWN_AFTER_MS}",
            }.items():
                assert was in told
                told = told.replace(was, now)
            conf.write_text(f"{told}bind {host.address}\nprotected-mode no\n")
            host.install([server, "sentinel.conf", "--sentinel"], {}, host.directory)

    def _own(self, host: Host, file: Path) -> Path:
        copy = host.directory / file.name
        copy.write_text(file.read_text())
        return copy

    def _install_pool(self) -> None:
        host = self.hosts["pool"]
        program = pgbouncer.require()
        place = host.directory / "pgbouncer"
        place.mkdir()
        server = f"host={self.hosts['database'].address} port=5432"
        ini = pgbouncer.configured(
            place, server, listen_addr=host.address, listen_port=6432, unix_socket_dir=""
        )
        host.install([program, str(ini)], {}, place, self.user)

    def environ(self) -> dict[str, str]:
        """What web, worker and clock are given."""
        sentinels = ",".join(f"{self.hosts[name].address}:26379" for name in SENTINELS)
        pool = self.hosts["pool"].address
        return {
            **ENVIRON,
            **self.silent.environ(),
            "DATABASE_URL": f"postgresql://postgres@{pool}:6432/{DATABASE}",
            "REDIS_URL": f"redis+sentinel://{sentinels}/{SERVICE}/0",
            "POLL_INTERVAL_FACTOR": str(FACTOR),
            "WEB_CONCURRENCY": "1",
            "PORT": "8000",
        }

    def _install_ours(self) -> None:
        webs = []
        for name, command in (
            ("web1", WEB), ("web2", WEB), ("work1", WORKER), ("work2", WORKER),
            ("clock1", CLOCK), ("clock2", CLOCK),
        ):  # fmt: skip
            host = self.hosts[name]
            environ = {**self.environ(), "HOST": host.address}
            host.install([sys.executable, *command], environ, ROOT)
            if command is WEB:
                webs.append(f"{host.address}:8000")
        nginx.prepared(self.front.directory, webs)
        command_of_nginx = nginx.command(nginx.require(), self.front.directory)
        self.front.install(command_of_nginx, {}, self.front.directory)

    # What is looked at from outside

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            self.front.address, 443, timeout=PATIENCE, context=self._trust
        )

    def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON. Raises: OSError, HTTPException, ValueError."""
        return self.ask("GET", path)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        connection = self.connect()
        try:
            told = None if body is None else json.dumps(body)
            connection.request(
                method, path, told, {**AUTHORIZED, "Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def workers(self) -> int:
        """How many workers /readyz of the first web host tells of."""
        connection = http.client.HTTPConnection(self.hosts["web1"].address, 8000, timeout=PATIENCE)
        with suppress(OSError, ValueError, http.client.HTTPException):
            connection.request("GET", "/readyz")
            return int(json.loads(connection.getresponse().read())["workers"] or 0)
        return 0

    @contextmanager
    def database(self) -> Iterator["psycopg.Connection[Any]"]:
        """A way to PostgreSQL that no fault lies on: its socket."""
        with psycopg.connect(self.postgres.url(DATABASE), autocommit=True) as connection:
            yield connection

    def primary(self) -> Host:
        """The Valkey that the Sentinels hold for the primary."""
        addresses = [(self.hosts[name].address, 26379) for name in SENTINELS]
        sentinel: Any = Sentinel(addresses, socket_timeout=1)  # type: ignore[no-untyped-call]
        address, _ = wait_until(lambda: _primary(sentinel), START_SECONDS)
        (host,) = [it for it in self.hosts.values() if it.address == address]
        return host

    def jobs_queued(self) -> int:
        """How many jobs were ever put into the queue of the primary that is now."""
        with Redis(self.primary().address, socket_timeout=2) as redis:
            told: Any = redis.info("commandstats")
        return int(told.get("cmdstat_rpush", {}).get("calls", 0))


def _primary(sentinel: Any) -> Any:
    with suppress(Exception):
        return sentinel.discover_master(SERVICE)
    return None
