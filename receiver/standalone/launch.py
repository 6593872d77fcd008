"""What `ordertrail run` settles before it starts anything: what is given, what is to be made."""

import errno
import shlex
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from receiver.couriers import DRIVERS
from receiver.settings import ACCOUNT_NAME

# Where the Procfile and what it names stand: in the tree, or in what a wheel brings of it.
TREE = Path(__file__).resolve().parents[2]
ROOT = TREE if (TREE / "Procfile").is_file() else Path(__file__).resolve().parent / "installed"


class CannotRun(Exception):
    """Something stands in the way of a start; one line that says what and what to do."""


def procfile(path: Path) -> dict[str, list[str]]:
    """The Procfile's commands by name; `python` becomes the Python that runs us."""
    commands = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, colon, command = line.partition(":")
        if colon and not name.startswith("#"):
            argv = shlex.split(command)
            commands[name.strip()] = [sys.executable if argv[0] == "python" else argv[0], *argv[1:]]
    return commands


def usable(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment as every part can read it, whose working directory is another than ours.

    Empty counts as not set, as in the settings.
    """
    given = {name: value for name, value in environ.items() if value}
    files = {
        name: str(Path(value).resolve()) for name, value in given.items() if name.endswith("_FILE")
    }
    return given | files


def is_missing(name: str, given: Mapping[str, str]) -> bool:
    """Whether the environment gives neither NAME nor NAME_FILE."""
    return name not in given and f"{name}_FILE" not in given


def secrets_to_make(given: Mapping[str, str]) -> list[str]:
    """The secrets that nobody gave: the API's, one per courier, one per account that is named."""
    named = (ACCOUNT_NAME.fullmatch(name.removesuffix("_FILE")) for name in given)
    accounts = [name.upper() for name in DRIVERS] + [it["account"] for it in named if it]
    names = ["API_TOKENS", *(f"COURIER_{account}_SECRETS" for account in accounts)]
    return [name for name in dict.fromkeys(names) if is_missing(name, given)]


def placeholders(given: Mapping[str, str]) -> dict[str, str]:
    """Stand-ins for all that we make ourselves, so that the rest is checked before we do."""
    made = dict.fromkeys(secrets_to_make(given), "made-later")
    urls = {"DATABASE_URL": "postgresql:///made-later", "REDIS_URL": "unix:///made-later"}
    return made | {name: url for name, url in urls.items() if is_missing(name, given)}


def check_port(host: str, port: int) -> None:
    """Look whether the web process will be able to listen.

    Raises: CannotRun where it will not.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As gunicorn does: a port that an earlier run has just left is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as wrong:
            if wrong.errno != errno.EADDRINUSE:
                raise CannotRun(f"cannot listen on {host}, port {port}: {wrong}") from None
            raise CannotRun(
                f"port {port} on {host} is taken by another program: stop that one,"
                " or choose another port, for instance with PORT=8001"
            ) from None
