"""A PostgreSQL and a Valkey of our own, for one machine and for the tests.

Both are real servers out of Python wheels, run in the foreground as children, reached by unix
sockets in a private directory. The wheels bring starters of their own, which are not used: they
leave paths unquoted, trust recycled pids and open every parent directory to all.
"""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from receiver.standalone.embedded.home import EmbeddedError, Home, private_dir
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
    "private_dir",
    "running",
]

# Safe against a killed server, not against a power cut: for data that a test throws away.
THROW_AWAY: Mapping[str, str] = MappingProxyType({"fsync": "off", "full_page_writes": "off"})


@dataclass(frozen=True)
class Running:
    """Two servers that run, with their processes."""

    postgres: Postgres
    postgres_process: subprocess.Popen[bytes]
    valkey: Valkey
    valkey_process: subprocess.Popen[bytes]


@contextmanager
def running(
    data_dir: Path,
    postgres_settings: Mapping[str, str] = THROW_AWAY,
    valkey_settings: Mapping[str, str] = NOTHING,
) -> Iterator[Running]:
    """Both servers on one directory, for the tests: ready inside, stopped behind."""
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
