"""Processes that are restarted when they end, and the signals that request a stop."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType

from receiver.standalone import child_process

# Seconds until an ended process is restarted, and how long it must run for the backoff to reset.
BACKOFF_FIRST = 0.5
BACKOFF_LAST = 10.0
STEADY = 30.0


class StopRequested(Exception):
    """Ctrl-C or a signal requested the end."""


@dataclass
class SupervisedProcess:
    """A process that is started again whenever it ends."""

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    stop_signal: signal.Signals = signal.SIGTERM
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    due_at: float = 0.0
    backoff: float = BACKOFF_FIRST

    def supervise(self, now: float, report: Callable[[str], None]) -> None:
        """Start it if it is due; if it has ended, report that and schedule the next start.

        now: monotonic, in seconds.
        """
        if self.process is None:
            if now < self.due_at:
                return
            self.started_at = now
            try:
                self.process = self.start()
                return
            except OSError as error:
                outcome = f"could not be started: {error}"
        else:
            code = self.process.poll()
            if code is None:
                return
            outcome = f"ended ({_describe_exit(code)})"
            # Before the restart: the workers of a dead gunicorn still hold its port.
            child_process.end_session(self.process.pid)
            self.process = None
        if now - self.started_at > STEADY:
            self.backoff = BACKOFF_FIRST
        report(f"{self.name} {outcome}; restarting in {self.backoff:g} s")
        self.due_at = now + self.backoff
        self.backoff = min(2 * self.backoff, BACKOFF_LAST)


class StopSignals:
    """Handles SIGINT, SIGTERM and SIGHUP as stop requests."""

    def __init__(self) -> None:
        self.stop_requested = False
        signal.signal(signal.SIGINT, self._request_stop)
        signal.signal(signal.SIGTERM, self._request_stop)
        # Under nohup SIGHUP is ignored, and that has to stay so.
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._request_stop)

    def _request_stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stop_requested = True

    def sleep(self, seconds: float) -> None:
        """Sleep for a fraction of a second. Raises: StopRequested."""
        if not self.stop_requested:
            time.sleep(seconds)
        if self.stop_requested:
            raise StopRequested


def stop_processes(supervised: Sequence[SupervisedProcess], seconds: float) -> None:
    """Stop processes together; kill those that still run after so many seconds."""
    running = [part.process for part in supervised if part.process is not None]
    for part in supervised:
        if part.process is not None and part.process.poll() is None:
            part.process.send_signal(part.stop_signal)
    deadline = time.monotonic() + seconds
    while any(process.poll() is None for process in running) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in running:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        child_process.end_session(process.pid)


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
