"""What both embedded servers have in common: prepared once, started as often as needed."""

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
    """One server: `prepare` its data once, `start` it as often as needed."""

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]

    def __init__(
        self, home: Home, settings: Mapping[str, str] = NOTHING, keep: tuple[int, ...] = ()
    ) -> None:
        """settings: the server's own, over ours; keep: file descriptors its processes inherit."""
        self.home = home
        self.settings = settings
        self.keep = keep
        self.data = home.data_dir / self.name
        self.log = home.data_dir / f"{self.name}.log"

    def prepare(self) -> None:
        """Make what the first start needs, once; may be called again and again."""
        self.home.own(self.data)
        self.home.open_way_to(self.binary())

    @abstractmethod
    def binary(self) -> Path:
        """The server's program."""

    @abstractmethod
    def command(self) -> list[str]:
        """The arguments of the server in the foreground."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it takes connections now."""

    def start(self) -> subprocess.Popen[bytes]:
        """Start the server, which dies with us; it is ready when it `answers`."""
        return self._run(self.command(), self.data)

    def wait_ready(
        self,
        process: subprocess.Popen[bytes],
        timeout: float = 60,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Block until the server answers. pause: waits so many seconds; may raise to give up.

        Raises: EmbeddedError where it ends, or is not there after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while not self.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise EmbeddedError(f"{self.name} does not start: {self._last_words()}")
            pause(0.02)

    def stop(self, process: subprocess.Popen[bytes], timeout: float = 30) -> None:
        """Stop a started server cleanly, or else by force."""
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
            return child_process.start(
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

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").split("\n") if self.log.exists() else []
        told = [line for line in lines if line.strip()]
        return f"{told[-1].strip()} (more in {self.log})" if told else f"see {self.log}"


def clean_environment() -> dict[str, str]:
    """Ours without secrets, locale, and the PG* names that an operator's shell may set."""
    kept = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")
    return {**{name: os.environ[name] for name in kept if name in os.environ}, "LC_ALL": "C"}


def packaged(distribution: str, ending: str) -> Path:
    """The file of an installed wheel that ends so; the wheel itself is never imported."""
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if str(file).endswith(ending):
            return Path(str(file.locate()))
    raise EmbeddedError(f"{distribution} is not installed: pip install 'ordertrail[embedded]'")
