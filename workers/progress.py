"""Show a supervisor that the main loop of a process goes on, so that it can restart one that hangs.

The loop itself reports: a thread of its own would report on where the loop hangs. systemd listens
on a socket (WatchdogSec=); whoever else asks, reads the age of a file by `ordertrail alive`.
"""

import fcntl
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import structlog

from receiver.logs import exception_fields

log = structlog.get_logger(__name__)

# A process that has reported nothing for longer hangs. A job is stopped after 180 seconds
# (receiver/queue/doorbell.py), and the loop reports before and after it.
MAX_SILENT_SECONDS = 240
# To systemd: it is ready, which counts once, and goes on.
_MESSAGE = b"READY=1\nWATCHDOG=1"
# `ordertrail alive` holds the lock of a file without a process for a moment.
_ATTEMPTS, _PAUSE_SECONDS = 10, 0.1


class PathInUse(Exception):
    """Another process reports its progress in this file."""


class ProgressReporter:
    """Reports the progress of this process; without a file and a socket, to nobody.

    path: the file whose modification time is the latest report. It is locked while the process
    lives. notify_socket: systemd's NOTIFY_SOCKET.

    Raises: OSError, PathInUse.
    """

    def __init__(self, path: Path | None, notify_socket: str | None) -> None:
        self._file = _open_locked(path) if path else None
        self._socket = _connect(notify_socket) if notify_socket else None
        self._failing = False

    def report(self) -> None:
        """Report that the loop goes on. It never waits; a failure is logged when it begins."""
        try:
            if self._file is not None:
                os.utime(self._file.fileno())
            if self._socket is not None:
                self._socket.send(_MESSAGE)
        except OSError as error:
            if not self._failing:
                log.warning("progress_not_reported", **exception_fields(error))
            self._failing = True
        else:
            self._failing = False


@dataclass(frozen=True, slots=True)
class Progress:
    """A running process, and how many seconds ago it last reported."""

    pid: int
    age: float

    @property
    def hangs(self) -> bool:
        """Whether it has reported nothing for too long."""
        return self.age > MAX_SILENT_SECONDS


def read_progress(path: Path) -> Progress | None:
    """Return the progress of the process that reports in a file; None if none runs.

    Raises: OSError but FileNotFoundError.
    """
    try:
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                modified_at = os.fstat(file.fileno()).st_mtime
                return Progress(int(file.read()), time.time() - modified_at)
    except FileNotFoundError:
        pass
    return None


def _open_locked(path: Path) -> IO[str]:
    file = path.open("a")
    for attempt in range(_ATTEMPTS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if attempt == _ATTEMPTS - 1:
                file.close()
                raise PathInUse(
                    f"PROGRESS_PATH: another process reports in {path}; each needs its own file"
                ) from None
            time.sleep(_PAUSE_SECONDS)
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _connect(address: str) -> socket.socket:
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    connected.setblocking(False)
    # An @ stands for the zero byte that an abstract address begins with.
    connected.connect("\0" + address[1:] if address.startswith("@") else address)
    return connected
