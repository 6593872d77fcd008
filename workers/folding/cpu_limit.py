"""Limits the CPU time that a process may spend on a batch or on one message."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class CpuLimitExceeded(Exception):
    """Decoding and folding took more CPU time than any honest message needs."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"it took more than {seconds:g} seconds of CPU time")


@contextmanager
def limit_cpu(seconds: float) -> Iterator[None]:
    """Raise CpuLimitExceeded once this process has spent so many seconds of CPU time in the block.

    CPU time, because neither a slow machine nor a wait for PostgreSQL is a message's fault. If even
    the exception does not end the work (a C library that never returns), the kernel ends the
    process after twice that time. It works in the main thread only, where Python handles signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def give_up(*_: Any) -> None:
        raise CpuLimitExceeded(seconds)

    previous = signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    signal.setitimer(signal.ITIMER_PROF, 2 * seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGVTALRM, previous)
