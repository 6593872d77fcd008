"""Work that a process does in the background, on one daemon thread that is started when needed."""

import threading
from collections.abc import Callable

import structlog

from receiver.logs import failure_fields

log = structlog.get_logger(__name__)


class BackgroundThread:
    """Run a function on a daemon thread each time it is woken, however often it is woken meanwhile.

    The thread starts with the first wake-up and not in __init__, because a thread does not survive
    the fork of a gunicorn worker. It survives every exception: `<name>_failed` is logged when the
    work begins to fail, and `<name>_recovered` when it works again.

    work: may return in how many seconds it is to run again without being woken; None for never.
    delay: seconds between a wake-up and the work, so that more work can gather.
    retry_seconds: when to run again after a failure; None for not before the next wake-up.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], float | None],
        delay: float = 0,
        retry_seconds: float | None = None,
    ) -> None:
        self._name = name
        self._work = work
        self._delay = delay
        self._retry_seconds = retry_seconds
        self._woken = threading.Event()
        self._closed = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Have the work done soon, and return at once."""
        if self._thread is None:
            self._start()
        # Whoever finds it set is served by the work that follows the next clear().
        if not self._woken.is_set():
            self._woken.set()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                thread.start()
                self._thread = thread

    def close(self, timeout: float | None = None) -> bool:
        """Do the work one last time, if the thread was ever started, and end the thread.

        Return whether it has ended; it goes on where the work takes longer than the timeout.
        """
        self._closed.set()
        self._woken.set()
        if self._thread is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        failing, seconds = False, None
        failure_event, recovery_event = f"{self._name}_failed", f"{self._name}_recovered"
        while True:
            self._woken.wait(seconds)
            if self._delay:
                self._closed.wait(self._delay)
            # Cleared before the work: a wake-up during the work is one for the next round.
            self._woken.clear()
            try:
                seconds = self._work()
            except Exception as error:  # noqa: BLE001 (nobody would start the thread again)
                if not failing:
                    log.warning(failure_event, **failure_fields(error))
                failing, seconds = True, self._retry_seconds
            else:
                if failing:
                    log.info(recovery_event)
                failing = False
            if self._closed.is_set():
                return
