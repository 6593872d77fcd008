"""An embedded PostgreSQL and Valkey for tests that need servers of their own."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from receiver.db.migrate import migrate
from receiver.standalone.embedded import Postgres, Server, Valkey
from receiver.standalone.home import Home
from receiver.standalone.process import SupervisedProcess, stop_processes

# Data survives a killed server, but not a power cut.
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}

# The database of which each test process copies its own.
TEMPLATE = "ordertrail_template"


@dataclass(frozen=True)
class Running:
    """Two running servers with their processes."""

    postgres: Postgres
    postgres_process: "subprocess.Popen[bytes]"
    valkey: Valkey
    valkey_process: "subprocess.Popen[bytes]"


@contextmanager
def running(
    data_dir: Path,
    postgres_settings: Mapping[str, str] = NOT_DURABLE,
    valkey_settings: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """Run both servers in one directory."""
    with ExitStack() as stack:
        home = Home.make(data_dir)
        stack.callback(home.close)
        postgres = Postgres(home, postgres_settings)
        valkey = Valkey(home, valkey_settings)
        postgres_process = stack.enter_context(started(postgres))
        valkey_process = stack.enter_context(started(valkey))
        yield Running(postgres, postgres_process, valkey, valkey_process)


@contextmanager
def with_template() -> Iterator[dict[str, str]]:
    """Run both servers in a directory of their own, with a migrated template; their URLs."""
    # Short, since a socket's path may have only 107 bytes; resolved, since macOS links /tmp.
    directory = Path(tempfile.mkdtemp(prefix="ot-tests-")).resolve()
    try:
        with running(directory) as servers:
            servers.postgres.create_database(TEMPLATE)
            migrate(servers.postgres.url(TEMPLATE))
            yield {
                "admin": servers.postgres.url("postgres"),
                "postgres": servers.postgres.url("{}"),
                "valkey": servers.valkey.url(0).partition("?")[0],
            }
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def started(server: Server) -> Iterator["subprocess.Popen[bytes]"]:
    """Run one server."""
    server.prepare()
    process = server.start()
    try:
        server.wait_ready(process)
        yield process
    finally:
        stop_server(server, process)


def stop_server(server: Server, process: "subprocess.Popen[bytes]") -> None:
    part = SupervisedProcess(server.name, server.start, server.stop_signal, process)
    stop_processes([part], 30)
