"""A PgBouncer for the tests: deploy/pgbouncer/pgbouncer.ini, before whichever server."""

import configparser
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from receiver.standalone import child_process
from tests.service import ROOT

INI = ROOT / "deploy" / "pgbouncer" / "pgbouncer.ini"
PROGRAM = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")


def require() -> str:
    """Where the program is; without it the test is passed over."""
    if PROGRAM is None:
        assert "CI" not in os.environ, "pgbouncer is missing"
        pytest.skip("needs PgBouncer (Debian: apt-get install pgbouncer)")
    return PROGRAM


def configured(directory: Path, server: str, **changed: str | int) -> Path:
    """The deployed settings, less who may come in, with the server and what a test changes."""
    # Not by %include: a section that is opened again forgets what it held.
    ini = configparser.ConfigParser(interpolation=None, comment_prefixes=(";",))
    ini.read(INI)
    ini["databases"] = {"*": f"{server} user=postgres"}
    own = {"auth_type": "any", "auth_file": "", "listen_addr": "", **changed}
    ini["pgbouncer"].update({name: str(value) for name, value in own.items()})
    path = directory / "pgbouncer.ini"
    with path.open("w") as opened:
        ini.write(opened)
    return path


def start(
    program: str, ini: Path, user: tuple[int, int], prefix: tuple[str, ...] = ()
) -> "subprocess.Popen[bytes]":
    """Start it. user: it refuses to be root; prefix: such as `ip netns exec ...`."""
    with (ini.parent / "pgbouncer.log").open("ab") as log:
        return child_process.start_child(
            [*prefix, program, str(ini)],
            death_signal=signal.SIGKILL,
            cwd=str(ini.parent),
            env={"PATH": "/usr/bin:/bin"},
            log=log.fileno(),
            user=user,
        )


@contextmanager
def running(
    directory: Path, server: str, sockets: Path, settings: Mapping[str, str | int]
) -> Iterator[str]:
    """A PgBouncer at a Unix socket of the directory, as the owner of the server's sockets."""
    program = require()
    owner = sockets.stat()
    user = (owner.st_uid, owner.st_gid)
    port = 6432
    shutil.chown(directory, *user)
    ini = configured(
        directory, server, unix_socket_dir=str(directory), listen_port=port, **settings
    )
    process = start(program, ini, user)
    try:
        deadline = time.monotonic() + 20
        while not (directory / f".s.PGSQL.{port}").exists():
            assert process.poll() is None, (directory / "pgbouncer.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield f"host={directory} port={port}"
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
