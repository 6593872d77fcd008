"""Processes that are kept running, and the signals that ask for their end."""

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Self

from receiver.standalone import child_process

# Seconds until a part that ended is started again, and how long it must live to be trusted anew.
BACKOFF_FIRST = 0.5
BACKOFF_LAST = 10.0
STEADY = 30.0


class Stopped(Exception):
    """Somebody asked for the end, by Ctrl-C or a signal."""


@dataclass
class Part:
    """One process that is started again whenever it ends."""

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    stop_signal: signal.Signals = signal.SIGTERM
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    due_at: float = 0.0
    backoff: float = BACKOFF_FIRST

    def tend(self, now: float, say: Callable[[str], None]) -> None:
        """Start it where it is due; where it has ended, say so and make it due. now: monotonic."""
        if self.process is None:
            if now < self.due_at:
                return
            self.started_at = now
            try:
                self.process = self.start()
                return
            except OSError as wrong:
                how = f"could not be started: {wrong}"
        else:
            code = self.process.poll()
            if code is None:
                return
            how = f"ended ({_how(code)})"
            # Before the next one starts: a dead gunicorn's workers still hold its port.
            child_process.end_session(self.process.pid)
            self.process = None
        if now - self.started_at > STEADY:
            self.backoff = BACKOFF_FIRST
        say(f"{self.name} {how}; next try in {self.backoff:g} s")
        self.due_at = now + self.backoff
        self.backoff = min(2 * self.backoff, BACKOFF_LAST)


class Signals:
    """SIGINT, SIGTERM and SIGHUP ask for the end; the end of a child only wakes us."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Self:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, self._ask)
        signal.signal(signal.SIGTERM, self._ask)
        # Under nohup a closed terminal is to be ignored, by us too.
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._ask)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.set_wakeup_fd(-1)
        self._reader.close()
        self._writer.close()

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True

    def sleep(self, seconds: float) -> None:
        """Wait, but no longer than until the next signal."""
        select.select([self._reader], [], [], seconds)
        with suppress(BlockingIOError):
            self._reader.recv(4096)

    def pause(self, seconds: float) -> None:
        """The same.

        Raises: Stopped where the end was asked for.
        """
        if not self.asked:
            self.sleep(seconds)
        if self.asked:
            raise Stopped


class Gate:
    """What processes that start early wait at: a pipe, whose other end closes when it opens."""

    def __init__(self) -> None:
        self.waiting, self._closed_by_us = os.pipe()
        self._is_open = False

    def open(self) -> None:
        """Let everybody through, now and later."""
        if not self._is_open:
            self._is_open = True
            os.close(self._closed_by_us)


def end(parts: Sequence[Part], seconds: float, sleep: Callable[[float], None]) -> None:
    """Stop parts together; what still runs after so many seconds is killed with all it started."""
    running = [part.process for part in parts if part.process is not None]
    for part in parts:
        if part.process is not None and part.process.poll() is None:
            part.process.send_signal(part.stop_signal)
    deadline = time.monotonic() + seconds
    while any(process.poll() is None for process in running) and time.monotonic() < deadline:
        sleep(0.1)
    for process in running:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        child_process.end_session(process.pid)


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
