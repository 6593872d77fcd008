"""Write the log lines of a process to stdout, without anybody waiting for the reader of stdout.

Whoever logs only queues a line, and a background thread writes it. The queue is bounded: where
nobody reads, further lines are dropped and counted, and `log_lines_dropped` says later how many.
"""

import atexit
import logging
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import structlog

from receiver.background_thread import BackgroundThread

log = structlog.get_logger(__name__)

STDOUT = 1
# Some thirty thousand lines.
MAX_WAITING_BYTES = 8 * 2**20
# At its end a process waits so long for the reader.
CLOSE_SECONDS = 2.0


class LogWriter:
    """The lines that wait to be written, and the thread that writes them.

    Until `start` is called, also in a process that was forked, each line is written at once.
    """

    def __init__(self) -> None:
        self._write_bytes: Callable[[int, bytes], int] = os.write
        self.forget()

    def forget(self) -> None:
        """Forget the lines and the thread: after a fork they are the parent's."""
        self._thread: BackgroundThread | None = None
        self._lines: deque[bytes] = deque()
        # Only who queues adds to the first two, and only the thread to the others.
        self._queued_bytes = self._dropped = 0
        self._written_bytes = self._reported = 0

    def start(
        self, write_bytes: Callable[[int, bytes], int] = os.write, delay: float = 0.0
    ) -> None:
        """Write in the background from now on.

        write_bytes: is called like os.write. delay: seconds that lines wait, so that a busy process
        writes many at a time.
        """
        self._write_bytes = write_bytes
        self._thread = BackgroundThread("log_writing", self._write, delay)
        # Now, because gevent cannot start a thread out of its event loop, which logs errors.
        self._thread.wake()

    def write_line(self, line: bytes) -> None:
        """Write a line, which ends with a line feed, or drop it where too many wait."""
        if self._queued_bytes - self._written_bytes + len(line) > MAX_WAITING_BYTES:
            self._dropped += 1
            return
        self._queued_bytes += len(line)
        self._lines.append(line)
        if self._thread is None:
            self._write()
        else:
            self._thread.wake()

    def close(self) -> None:
        """Write the rest, if somebody reads it soon."""
        if self._thread is not None:
            self._thread.close(CLOSE_SECONDS)

    def _write(self) -> None:
        lines = b"".join(self._lines.popleft() for _ in range(len(self._lines)))
        size = len(lines)
        with suppress(OSError):
            while lines:
                lines = lines[self._write_bytes(STDOUT, lines) :]
        self._written_bytes += size
        if unreported := self._dropped - self._reported:
            self._reported += unreported
            log.warning("log_lines_dropped", lines=unreported)


# A process has one stdout.
WRITER = LogWriter()
os.register_at_fork(after_in_child=WRITER.forget)
atexit.register(WRITER.close)


class StdoutHandler(logging.Handler):
    """A handler that gives each record to WRITER, as the line that its formatter makes of it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record's line."""
        try:
            WRITER.write_line(f"{self.format(record)}\n".encode())
        except Exception:  # noqa: BLE001 (as every handler of the standard library)
            self.handleError(record)
