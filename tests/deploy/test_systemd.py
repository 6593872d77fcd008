"""The systemd units: verified and rated by systemd itself, and held against the Procfile."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from receiver.settings import GENERAL
from receiver.standalone.launch import read_procfile
from tests.service import ROOT
from workers.progress import MAX_SILENT_SECONDS

UNITS = ROOT / "deploy" / "systemd"
SERVICES = {
    "release": "ordertrail-release.service",
    "web": "ordertrail-web.service",
    "worker": "ordertrail-worker@.service",
    "clock": "ordertrail-clock.service",
}
VENV = "/opt/ordertrail/venv/bin/"
# systemd's own rating, of 0 to 10, ten times over: under 2 is what it calls OK.
MOST_EXPOSED = 20


@pytest.fixture
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        assert "CI" not in os.environ, "systemd-analyze is missing"
        pytest.skip("needs systemd-analyze (Debian: apt-get install systemd)")
    return found


def lines(unit: str, name: str) -> list[str]:
    text = (UNITS / unit).read_text(encoding="utf-8")
    return re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)


@pytest.mark.parametrize("name", SERVICES)
def test_a_unit_runs_the_procfiles_line(name: str) -> None:
    (told,) = lines(SERVICES[name], "ExecStart")
    program, *arguments = shlex.split(told)
    expected = read_procfile(ROOT / "Procfile")[name]
    expected[0] = "python" if expected[0] == sys.executable else expected[0]
    assert [program.removeprefix(VENV), *arguments] == expected
    assert program.startswith(VENV)


def test_a_stop_waits_for_longer_than_gunicorn_does() -> None:
    (seconds,) = lines(SERVICES["web"], "TimeoutStopSec")
    settings = (ROOT / "deploy" / "gunicorn.conf.py").read_text(encoding="utf-8")
    (graceful,) = re.findall(r"^graceful_timeout = (\d+)$", settings, re.MULTILINE)
    assert int(seconds) > int(graceful)
    (files,) = lines(SERVICES["web"], "LimitNOFILE")
    (connections,) = re.findall(r"^worker_connections = (\d+)$", settings, re.MULTILINE)
    # setrlimit is not among the calls that the unit lets through, so it must have enough.
    assert int(files) >= int(connections) + 500


def test_the_socket_is_where_web_listens_by_itself() -> None:
    defaults = {name: field.load_default for name, field in GENERAL.fields.items()}
    listen = lines("ordertrail-web.socket", "ListenStream")
    assert listen == [f"{defaults['HOST']}:{defaults['PORT']}"]


@pytest.mark.parametrize("name", ["worker", "clock"])
def test_a_worker_or_clock_that_hangs_is_restarted(name: str) -> None:
    assert lines(SERVICES[name], "Type") == ["notify"]
    assert lines(SERVICES[name], "WatchdogSec") == [str(MAX_SILENT_SECONDS)]
    assert lines(SERVICES[name], "Restart") == ["always"]
    # No dump of its memory, which holds bodies.
    assert lines(SERVICES[name], "WatchdogSignal") == ["SIGKILL"]


@pytest.mark.parametrize("name", ["web", "worker", "clock"])
def test_an_upgrade_or_a_failed_release_stops_nothing_and_nothing_waits_for_it(name: str) -> None:
    """A release that is tried again and again holds back whatever is ordered after it."""
    for relation in ("Requires", "BindsTo", "Requisite", "Wants", "After"):
        assert SERVICES["release"] not in " ".join(lines(SERVICES[name], relation)).split()
    # `systemctl start` says whether it was through: it is neither repeated nor left active.
    for setting in ("Restart", "RemainAfterExit"):
        assert lines(SERVICES["release"], setting) == []


def test_the_units_are_valid(analyze: str, tmp_path: Path) -> None:
    """With programs and a directory that are here in place of the installed ones."""
    for unit in UNITS.iterdir():
        text = unit.read_text(encoding="utf-8")
        text = re.sub(rf"{VENV}\w+", "/bin/true", text)
        text = re.sub(r"WorkingDirectory=.*", "WorkingDirectory=/", text)
        (tmp_path / unit.name.replace("@.", "@1.")).write_text(text)
    found = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run(
        [analyze, "verify", "--man=no", *found], capture_output=True, text=True, check=False
    )
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)


@pytest.mark.parametrize("name", SERVICES)
def test_a_unit_may_do_little(analyze: str, name: str) -> None:
    threshold = f"--threshold={MOST_EXPOSED}"
    done = subprocess.run(
        [analyze, "security", "--offline=yes", "--no-pager", threshold, UNITS / SERVICES[name]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-300:]
