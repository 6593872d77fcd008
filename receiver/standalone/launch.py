"""What `ordertrail run` determines before it starts anything: environment, commands, port."""

import errno
import shlex
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from receiver.errors import CannotRun
from receiver.settings import ACCOUNT_NAME

# The directory of the Procfile and the files that it names: a checkout, or their copies in a wheel.
TREE = Path(__file__).resolve().parents[2]
ROOT = TREE if (TREE / "Procfile").is_file() else Path(__file__).resolve().parent / "installed"

# The couriers that are switched on without any setting. Any other one has an account as soon as a
# setting names it.
COURIERS = ("tiramizoo", "cottoncast", "shipmentapi")

# For required settings whose values are not known yet, to check the other ones.
PLACEHOLDERS = {
    "DATABASE_URL": "postgresql:///",
    "REDIS_URL": "unix:///",
    "API_TOKENS": "placeholder-of-a-token",
}


def read_procfile(path: Path) -> dict[str, list[str]]:
    """Return the Procfile's commands by name; `python` is replaced by the running Python."""
    commands = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, colon, command = line.partition(":")
        if colon and not name.startswith("#"):
            argv = shlex.split(command)
            commands[name.strip()] = [sys.executable if argv[0] == "python" else argv[0], *argv[1:]]
    return commands


def normalize_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without empty values and with absolute paths in *_FILE.

    The processes have another working directory than ours.
    """
    given = {name: value for name, value in environ.items() if value}
    files = {
        name: str(Path(value).resolve()) for name, value in given.items() if name.endswith("_FILE")
    }
    return given | files


def is_missing(name: str, given: Mapping[str, str]) -> bool:
    """Tell whether the environment has neither NAME nor NAME_FILE."""
    return name not in given and f"{name}_FILE" not in given


def missing_secrets(given: Mapping[str, str]) -> list[str]:
    """Return the secrets to generate: the API token, and one for each account."""
    matches = (ACCOUNT_NAME.fullmatch(name.removesuffix("_FILE")) for name in given)
    named = [match["account"] for match in matches if match]
    accounts = [*map(str.upper, COURIERS), *named]
    names = ["API_TOKENS", *(f"COURIER_{account}_SECRETS" for account in accounts)]
    return [name for name in dict.fromkeys(names) if is_missing(name, given)]


def placeholders(given: Mapping[str, str]) -> dict[str, str]:
    """Return placeholders for all that is generated, to check the other settings before that."""
    names = [*missing_secrets(given), *(name for name in PLACEHOLDERS if is_missing(name, given))]
    return {name: PLACEHOLDERS.get(name, "generated-later") for name in names}


def check_port(host: str, port: int) -> None:
    """Check that the web process can listen. Raises: CannotRun."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As gunicorn does: a port that an earlier run has just left is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise CannotRun(f"cannot listen on {host}, port {port}: {error}") from None
            raise CannotRun(
                f"port {port} on {host} is used by another program: stop it,"
                " or choose another port, for instance with PORT=8001"
            ) from None
