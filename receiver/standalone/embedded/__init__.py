"""An embedded PostgreSQL and Valkey, for `ordertrail run` and for the tests.

Both are real servers from Python wheels, run in the foreground as child processes and reached by
unix sockets in a private directory. The wheels' own start scripts are not used: they do not quote
paths, trust reused pids and make every parent directory accessible to all.
"""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from receiver.standalone.embedded.home import EmbeddedError, Home, make_data_dir
from receiver.standalone.embedded.postgres import Postgres
from receiver.standalone.embedded.server import NOTHING, Server
from receiver.standalone.embedded.valkey import Valkey

__all__ = [
    "EmbeddedError",
    "Home",
    "Postgres",
    "Running",
    "Server",
    "Valkey",
    "make_data_dir",
    "running",
]

# Data survives a killed server, but not a power cut: for tests only.
NOT_DURABLE: Mapping[str, str] = MappingProxyType({"fsync": "off", "full_page_writes": "off"})


@dataclass(frozen=True)
class Running:
    """Two running servers with their processes."""

    postgres: Postgres
    postgres_process: subprocess.Popen[bytes]
    valkey: Valkey
    valkey_process: subprocess.Popen[bytes]


@contextmanager
def running(
    data_dir: Path,
    postgres_settings: Mapping[str, str] = NOT_DURABLE,
    valkey_settings: Mapping[str, str] = NOTHING,
) -> Iterator[Running]:
    """Run both servers in one directory, for the tests."""
    with ExitStack() as stack:
        home = Home.make(data_dir)
        stack.callback(home.close)
        postgres = Postgres(home, postgres_settings)
        valkey = Valkey(home, valkey_settings)
        postgres_process = stack.enter_context(_started(postgres))
        valkey_process = stack.enter_context(_started(valkey))
        postgres.wait_ready(postgres_process)
        valkey.wait_ready(valkey_process)
        yield Running(postgres, postgres_process, valkey, valkey_process)


@contextmanager
def _started(server: Server) -> Iterator[subprocess.Popen[bytes]]:
    server.prepare()
    process = server.start()
    try:
        yield process
    finally:
        server.stop(process)
