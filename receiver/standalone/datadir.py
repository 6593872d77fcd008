"""DATA_DIR of `ordertrail run`: locked by one run at a time, with the generated secrets."""

import fcntl
import os
import secrets
import shlex
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from receiver.errors import CannotRun

SECRETS_FILE = "secrets.env"
RUN_FILE = "run.env"
SECRET_BYTES = 32

# How long a second run waits, in seconds: one that is stopping may use all of its graceful timeout.
WAIT_SECONDS = 30.0
RETRY_SECONDS = 0.1


@contextmanager
def lock_data_dir(
    data_dir: Path, url: str, sleep: Callable[[float], None], report: Callable[[str], None]
) -> Iterator[int]:
    """Lock the directory; wait for an earlier run to end.

    Yields the file descriptor of the lock. All processes of the run inherit it, so that the
    directory stays locked until the last one of a killed run has ended, and two servers never write
    the same data.

    sleep: may raise to give up.
    Raises: CannotRun, which names the run that has the lock.
    """
    lock = os.open(data_dir / "run.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        waited = 0.0
        while not _try_lock(lock):
            owner = os.pread(lock, 200, 0).decode() or "another run"
            problem = f"{data_dir} is in use by {owner}, or by processes that it has started"
            if waited >= WAIT_SECONDS:
                raise CannotRun(f"{problem}: stop it first, or choose another DATA_DIR")
            if not waited:
                report(f"{problem}; waiting for it to stop")
            sleep(RETRY_SECONDS)
            waited += RETRY_SECONDS
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"pid {os.getpid()} at {url}".encode(), 0)
        yield lock
    finally:
        os.close(lock)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def load_or_generate_secrets(data_dir: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the secrets of these names from DATA_DIR; generate and store those that are missing.

    Shape: a file of lines NAME=value, readable by its owner only.
    Raises: CannotRun where the file cannot be read.
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
    wanted = ("COURIER_", "API_TOKENS", "POLL_INTERVAL_FACTOR", "HOST", "PORT", "PUSH_")
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
        raise CannotRun(f"the secrets in {file} cannot be read: {error}") from None
    file.chmod(0o600)
    known = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise CannotRun(f"{file}, line {number}: must be NAME=value")
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
