"""DATA_DIR of `ordertrail run`: locked by one run at a time, with the generated secrets."""

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

# How long a second run waits, in seconds: for a run that may soon be stopped, and for one that is
# stopping, whose web process may use all of its graceful timeout.
WAIT_FOR_RUNNING = 10.0
WAIT_FOR_STOPPING = 30.0
RETRY_SECONDS = 0.1


class DataDirError(Exception):
    """DATA_DIR is not usable; one line that says why and what to do."""


@dataclass(frozen=True)
class DataDirLock:
    """The locks on DATA_DIR: `run` is the supervisor's own, `parts` is inherited by all processes.

    So the directory stays locked until the last process of a killed run has ended, and two servers
    never write the same data.
    """

    run: int
    parts: int

    def announce_stop(self) -> None:
        """Let a run that waits know that this one is stopping."""
        fcntl.flock(self.run, fcntl.LOCK_UN)


@contextmanager
def lock_data_dir(
    data_dir: Path, url: str, sleep: Callable[[float], None], report: Callable[[str], None]
) -> Iterator[DataDirLock]:
    """Lock the directory; wait for an earlier run to end.

    sleep: may raise to give up.
    Raises: DataDirError, which names the run that has the lock.
    """
    run, parts = _open(data_dir / "run.lock"), _open(data_dir / "parts.lock")
    try:
        waited, reported = 0.0, ""
        while locked := _try_lock(data_dir, run, parts):
            problem, wait_seconds = locked
            if waited >= wait_seconds:
                raise DataDirError(f"{problem}: stop it first, or choose another DATA_DIR")
            if problem != reported:
                report(f"{problem}; waiting for it to stop")
                waited, reported = 0.0, problem
            sleep(RETRY_SECONDS)
            waited += RETRY_SECONDS
        os.ftruncate(run, 0)
        os.pwrite(run, f"pid {os.getpid()} at {url}".encode(), 0)
        yield DataDirLock(run, parts)
    finally:
        os.close(run)
        os.close(parts)


def _try_lock(data_dir: Path, run: int, parts: int) -> tuple[str, float] | None:
    """Return who has the lock and how long to wait for it; None where it is ours now."""
    if not _lock(run):
        owner = os.pread(run, 200, 0).decode() or "another run"
        return f"{data_dir} is in use by {owner}", WAIT_FOR_RUNNING
    if not _lock(parts):
        fcntl.flock(run, fcntl.LOCK_UN)
        return f"{data_dir} is in use by processes of an earlier run", WAIT_FOR_STOPPING
    return None


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _lock(opened: int) -> bool:
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def load_or_generate_secrets(data_dir: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the secrets of these names from DATA_DIR; generate and store those that are missing.

    Shape: a file of lines NAME=value, readable by its owner only.
    Raises: DataDirError where the file cannot be read.
    """
    file = data_dir / SECRETS_FILE
    known = _read(file)
    missing = [name for name in names if not known.get(name)]
    if missing:
        known |= {name: secrets.token_urlsafe(SECRET_BYTES) for name in missing}
        _write(file, known)
    return {name: known[name] for name in names}


def settings_for_commands(given: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of a run that commands in another shell need as well."""
    wanted = ("COURIER_", "API_TOKENS", "POLL_INTERVAL_FACTOR", "HOST", "PORT")
    return {
        name: value
        for name, value in given.items()
        if name.startswith(wanted) and value and "\n" not in value
    }


def write_run_file(data_dir: Path, env: Mapping[str, str]) -> None:
    """Write the settings with which a shell can use this run: `set -a; . .data/run.env`."""
    _write(data_dir / RUN_FILE, {name: shlex.quote(value) for name, value in env.items()})


def _read(file: Path) -> dict[str, str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise DataDirError(f"the secrets in {file} cannot be read: {error}") from None
    file.chmod(0o600)
    known = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise DataDirError(f"{file}, line {number}: must be NAME=value")
        known[name.strip()] = value.strip()
    return known


def _write(file: Path, values: Mapping[str, str]) -> None:
    """Replace a private file atomically: after a crash it is the old one or the new one."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.writelines(f"{name}={value}\n" for name, value in values.items())
        opened.flush()
        os.fsync(opened.fileno())
    Path(temporary).replace(file)
