"""DATA_DIR of `ordertrail run`: one run at a time holds it, and it keeps the generated secrets."""

import fcntl
import os
import secrets
import shlex
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SECRETS_FILE = "secrets.env"
RUN_FILE = "run.env"
SECRET_BYTES = 32

# How long a second run waits, in seconds: for a run that may be about to be stopped, and for one
# that stops, whose web process may take its whole grace to end.
PATIENCE_RUNNING = 10.0
PATIENCE_STOPPING = 30.0
LOOK_EVERY = 0.1


class DataDirError(Exception):
    """DATA_DIR cannot be used; one line that says why and what to do."""


@dataclass(frozen=True)
class Hold:
    """A hold on DATA_DIR. Two locks: `run` is the supervisor's own; `parts` is inherited.

    So the directory stays held until the last process of a killed run has ended, whoever it was,
    and two servers never write the same data.
    """

    run: int
    parts: int

    def stopping(self) -> None:
        """Tell those who wait that it will not be long."""
        fcntl.flock(self.run, fcntl.LOCK_UN)


@contextmanager
def hold(
    data_dir: Path, url: str, pause: Callable[[float], None], say: Callable[[str], None]
) -> Iterator[Hold]:
    """Hold the directory, waiting for an earlier run to end.

    pause:  waits so many seconds; may raise to give up.
    Raises: DataDirError, naming who holds it, when patience is at its end.
    """
    run, parts = _open(data_dir / "run.lock"), _open(data_dir / "parts.lock")
    try:
        waited, told = 0.0, ""
        while holder := _holder(data_dir, run, parts):
            who, patience = holder
            if waited >= patience:
                raise DataDirError(f"{who}: stop that one first, or choose another DATA_DIR")
            if who != told:
                say(f"{who}; waiting for it to stop")
                waited, told = 0.0, who
            pause(LOOK_EVERY)
            waited += LOOK_EVERY
        os.ftruncate(run, 0)
        os.pwrite(run, f"pid {os.getpid()} at {url}".encode(), 0)
        yield Hold(run, parts)
    finally:
        os.close(run)
        os.close(parts)


def _holder(data_dir: Path, run: int, parts: int) -> tuple[str, float] | None:
    """Who holds the directory and how long to wait for it; None where it is ours now."""
    if not _lock(run):
        who = os.pread(run, 200, 0).decode() or "another run"
        return f"{data_dir} is in use by {who}", PATIENCE_RUNNING
    if not _lock(parts):
        fcntl.flock(run, fcntl.LOCK_UN)
        return f"{data_dir} is in use by what is left of an earlier run", PATIENCE_STOPPING
    return None


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _lock(opened: int) -> bool:
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def keep_secrets(data_dir: Path, names: Iterable[str]) -> dict[str, str]:
    """The values of these names: those kept in DATA_DIR, and new ones for the rest, kept from now.

    Shape:  a file of lines NAME=value, readable by its owner only.
    Raises: DataDirError where the file cannot be read.
    """
    file = data_dir / SECRETS_FILE
    known = _read(file)
    missing = [name for name in names if not known.get(name)]
    if missing:
        known |= {name: secrets.token_urlsafe(SECRET_BYTES) for name in missing}
        _write(file, known)
    return {name: known[name] for name in names}


def what_commands_need(given: Mapping[str, str]) -> dict[str, str]:
    """What was given to a run that a command typed in another shell has to know as well."""
    wanted = ("COURIER_", "API_TOKENS", "POLL_INTERVAL_FACTOR", "HOST", "PORT")
    return {
        name: value
        for name, value in given.items()
        if name.startswith(wanted) and value and "\n" not in value
    }


def tell_run(data_dir: Path, env: Mapping[str, str]) -> None:
    """Leave what a shell needs to use this run's servers: `set -a; . .data/run.env`."""
    _write(data_dir / RUN_FILE, {name: shlex.quote(value) for name, value in env.items()})


def _read(file: Path) -> dict[str, str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as wrong:
        raise DataDirError(f"the secrets in {file} cannot be read: {wrong}") from None
    file.chmod(0o600)
    known = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise DataDirError(f"{file}, line {number}: should be NAME=value")
        known[name.strip()] = value.strip()
    return known


def _write(file: Path, values: Mapping[str, str]) -> None:
    """Replace a private file in one step: a crash leaves the old one or the new one."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.writelines(f"{name}={value}\n" for name, value in values.items())
        opened.flush()
        os.fsync(opened.fileno())
    Path(temporary).replace(file)
