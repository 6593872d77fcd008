"""What both embedded servers have in common."""

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from receiver.standalone import child_process
from receiver.standalone.embedded.home import EmbeddedError, Home

NOTHING: Mapping[str, str] = MappingProxyType({})


class Server(ABC):
    """An embedded server: call `prepare` before the first start."""

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]

    def __init__(
        self, home: Home, settings: Mapping[str, str] = NOTHING, keep: tuple[int, ...] = ()
    ) -> None:
        """settings: they override our defaults. keep: file descriptors that it inherits."""
        self.home = home
        self.settings = settings
        self.keep = keep
        self.data = home.data_dir / self.name
        self.log = home.data_dir / f"{self.name}.log"

    def prepare(self) -> None:
        """Create what the first start needs; does nothing where it exists."""
        self.home.make_private(self.data)
        self.home.allow_access_to(self.binary())

    @abstractmethod
    def binary(self) -> Path:
        """Return the path of the server's program."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""

    @abstractmethod
    def answers(self) -> bool:
        """Tell whether it accepts connections now."""

    def start(self) -> subprocess.Popen[bytes]:
        """Start the server, which does not outlive us; it is ready when it `answers`."""
        return self._run(self.command(), self.data)

    def wait_ready(
        self,
        process: subprocess.Popen[bytes],
        timeout: float = 60,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Wait until the server answers. pause: sleeps; may raise to give up.

        Raises: EmbeddedError where it ends, or does not answer after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while not self.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise EmbeddedError(f"{self.name} does not start: {self._last_log_line()}")
            pause(0.02)

    def stop(self, process: subprocess.Popen[bytes], timeout: float = 30) -> None:
        """Stop a started server; kill it if it does not end in time."""
        with suppress(ProcessLookupError):
            process.send_signal(self.stop_signal)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        child_process.end_session(process.pid)

    def _run(self, argv: list[str], cwd: Path) -> subprocess.Popen[bytes]:
        log = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            return child_process.start_child(
                argv,
                death_signal=self.stop_signal,
                cwd=str(cwd),
                env=clean_environment(),
                log=log,
                user=self.home.user,
                keep=self.keep,
            )
        finally:
            os.close(log)

    def _last_log_line(self) -> str:
        log = self.log.read_text(errors="replace").rstrip() if self.log.exists() else ""
        last = log.rpartition("\n")[2].strip()
        return f"{last} (more in {self.log})" if last else f"see {self.log}"


def clean_environment() -> dict[str, str]:
    """Return our environment without secrets, locale and the PG* names of an operator's shell."""
    kept = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")
    return {**{name: os.environ[name] for name in kept if name in os.environ}, "LC_ALL": "C"}


def packaged(distribution: str, ending: str) -> Path:
    """Return the file of an installed wheel whose path ends so; the wheel is not imported.

    Raises: EmbeddedError where it is not installed.
    """
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if str(file).endswith(ending):
            return Path(str(file.locate()))
    raise EmbeddedError(f"{distribution} is not installed: pip install 'ordertrail[embedded]'")
