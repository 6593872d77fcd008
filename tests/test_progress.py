"""How a worker or clock shows that it goes on, and what `ordertrail alive` makes of it."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.queue.doorbell import DRAIN_SECONDS
from tests.command import run_command
from tests.service import CLOCK, WORKER, free_port, running, wait_until
from workers.alerting import AlertWatch
from workers.progress import (
    MAX_SILENT_SECONDS,
    PathInUse,
    Progress,
    ProgressReporter,
    read_progress,
)

PROCESSES = [pytest.param(WORKER, id="worker"), pytest.param(CLOCK, id="clock")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "progress"


@pytest.fixture
def reporter(path: Path) -> Iterator[ProgressReporter]:
    made = ProgressReporter(path, None)
    made.report()
    yield made
    if made._file is not None:
        made._file.close()


def put_back(path: Path, seconds: float) -> None:
    """Make the latest report so old."""
    at = time.time() - seconds
    os.utime(path, (at, at))


def test_a_job_has_ended_before_its_process_counts_as_hanging() -> None:
    assert MAX_SILENT_SECONDS >= DRAIN_SECONDS + 60


def test_a_report_is_read_with_its_age(reporter: ProgressReporter, path: Path) -> None:
    def found() -> Progress:
        progress = read_progress(path)
        assert progress is not None
        return progress

    assert (found().pid, found().hangs) == (os.getpid(), False)
    put_back(path, 1000)
    assert found().age == pytest.approx(1000, abs=5)
    assert found().hangs
    reporter.report()
    assert not found().hangs


def test_the_file_of_a_process_that_is_gone_counts_for_nothing(path: Path) -> None:
    assert read_progress(path) is None
    path.write_text("1")
    assert read_progress(path) is None


def test_two_processes_cannot_report_in_one_file(reporter: ProgressReporter, path: Path) -> None:
    with pytest.raises(PathInUse, match=str(path)):
        ProgressReporter(path, None)


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_notified(tmp_path: Path, abstract: bool) -> None:
    address = f"@ordertrail-{os.getpid()}" if abstract else str(tmp_path / "n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address.replace("@", "\0"))
        listening.settimeout(5)
        reporter = ProgressReporter(None, address)
        reporter.report()
        assert listening.recv(100).splitlines() == [b"READY=1", b"WATCHDOG=1"]
        assert reporter._socket is not None
        reporter._socket.close()


def test_the_command_tells_who_goes_on_from_who_hangs(
    environ: dict[str, str], reporter: ProgressReporter, path: Path
) -> None:
    there = {"PROGRESS_PATH": str(path)}
    done = run_command(environ, "alive", **there)
    assert (done.exit_code, str(os.getpid()) in done.output) == (0, True)
    put_back(path, 1000)
    done = run_command(environ, "alive", **there)
    assert (done.exit_code, "1000 seconds ago" in done.output) == (1, True)
    absent = run_command(environ, "alive", "--path", f"{path}x")
    assert (absent.exit_code, "no running" in absent.output) == (1, True)
    assert run_command({}, "alive").exit_code == 2


def test_a_watch_whose_check_never_ends_hangs() -> None:
    watch = AlertWatch.__new__(AlertWatch)
    watch._checked_at = time.monotonic()
    assert not watch.hangs()
    watch._checked_at -= 3600
    assert watch.hangs()


@pytest.mark.system
@pytest.mark.parametrize("arguments", PROCESSES)
@pytest.mark.parametrize("redis", ["there", "away"])
def test_an_idle_process_reports_also_where_redis_is_away(
    environ: dict[str, str], path: Path, arguments: tuple[str, ...], redis: str
) -> None:
    env = {**environ, "PROGRESS_PATH": str(path)}
    if redis == "away":
        env["REDIS_URL"] = f"redis://127.0.0.1:{free_port()}/0"
    with running(arguments, env, path.with_name("log")):
        # The first report is made at the start; the others are the loop's.
        for _ in range(2):
            wait_until(lambda: read_progress(path))
            put_back(path, 1000)
            wait_until(lambda: (found := read_progress(path)) and not found.hangs)


@pytest.mark.system
@pytest.mark.parametrize("arguments", PROCESSES)
def test_a_process_that_hangs_is_found_and_killed(
    environ: dict[str, str], path: Path, arguments: tuple[str, ...]
) -> None:
    env = {**environ, "PROGRESS_PATH": str(path)}
    log = path.with_name("log")
    with running(arguments, env, log) as process:
        wait_until(lambda: "_started" in log.read_text() and read_progress(path))
        # Another one with the same file does not start.
        with running(arguments, env, path.with_name("other")) as other:
            assert other.wait(20) == 1
        assert "PROGRESS_PATH" in path.with_name("other").read_text()
        process.send_signal(signal.SIGSTOP)
        assert run_command(env, "alive").exit_code == 0
        put_back(path, 1000)
        done = run_command(env, "alive", "--kill")
        assert done.exit_code == 1
        assert process.wait(5) == -signal.SIGKILL
        assert "no running" in run_command(env, "alive").output
