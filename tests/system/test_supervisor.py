"""`ordertrail run`, as a person and as a crash meet it: real processes all the way."""

import fcntl
import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import httpx
import psutil
import psycopg
import pytest

from receiver.db.migrate import migrate
from receiver.errors import CannotRun
from receiver.standalone.datadir import load_or_generate_secrets, lock_data_dir
from tests.servers import running
from tests.service import ROOT, wait_until

pytestmark = pytest.mark.xdist_group("supervisor")

GIVEN = {
    "API_TOKENS": "given-from-outside",
    "COURIER_TIRAMIZOO_MUNICH_DRIVER": "tiramizoo",
    "COURIER_COTTONCAST_SECRETS": "given-too",
}

# Seconds: bounds, not pauses.
START = 60.0
STOP = 40.0

TOKEN = r"^  API token +(.+)$"


Found = TypeVar("Found")


@pytest.fixture(autouse=True)
def hangups() -> Iterator[None]:
    """Let the runs hear of a closed terminal, also where nohup keeps that from the tests."""
    before = signal.signal(signal.SIGHUP, lambda *_: None)
    yield
    signal.signal(signal.SIGHUP, before)


class Run:
    """An `ordertrail run` of our own, and what it says."""

    def __init__(self, directory: Path, environ: Mapping[str, str]) -> None:
        kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        # A group of its own, as a terminal's job has, for a Ctrl-C that reaches no one else.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "receiver.cli.main", "run"],
            cwd=directory,
            env={**kept, "PYTHONPATH": str(ROOT), "WEB_CONCURRENCY": "1", **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.url = f"http://127.0.0.1:{environ['PORT']}"
        self.said = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.said += line

    def says(self, pattern: str, seconds: float = START) -> re.Match[str]:
        """Wait for it to have said so."""

        def look() -> re.Match[str] | None:
            found = re.search(pattern, self.said, re.MULTILINE)
            assert found or self.process.poll() is None
            return found

        found = self.wait_until(look, seconds)
        assert found
        return found

    def wait_until(self, look: Callable[[], Found], seconds: float = START) -> Found:
        try:
            return wait_until(look, seconds)
        except AssertionError:
            raise AssertionError(f"it never came; the run said:\n{self.said}") from None

    def ready(self) -> "Run":
        self.says("Ordertrail is ready")
        return self

    def everything(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def parts(self) -> dict[str, psutil.Process]:
        """The parts by name, those of them that have become what they are to be."""
        marks = {
            "web": "gunicorn.conf.py",
            "worker": "workers.worker",
            "clock": "workers.clock",
            "postgres": "bin/postgres",
            "valkey": "valkey-server",
        }
        found: dict[str, psutil.Process] = {}
        for process in psutil.Process(self.process.pid).children():
            with suppress(psutil.Error):
                line = " ".join(process.cmdline())
                starting = "child_process.py" in line
                found |= {
                    name: process for name, mark in marks.items() if mark in line and not starting
                }
        return found

    def all_parts(self) -> dict[str, psutil.Process]:
        """The parts where all are there, else none."""
        parts = self.parts()
        return parts if len(parts) == 5 else {}

    def ends(self) -> int:
        """Wait for its end; its exit code."""
        code = self.process.wait(STOP)
        self._reader.join(STOP)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.ends()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.ends()
        assert self.process.stdout
        self.process.stdout.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def run(directory: Path, **environ: str) -> Iterator[Run]:
    directory.mkdir(parents=True, exist_ok=True)
    run = Run(directory, {"PORT": str(free_port()), **environ})
    try:
        yield run
    finally:
        run.close()


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run that stays, in a directory with a space, with its DATA_DIR told relatively."""
    with run(tmp_path_factory.mktemp("a run"), DATA_DIR="its data", **GIVEN) as live:
        yield live.ready()


def data_dir(live: Run) -> Path:
    return Path(live.says(r"^  data +(.+)$")[1])


def test_data_dir_is_taken_from_where_it_was_started(live: Run) -> None:
    assert data_dir(live).name == "its data"
    assert data_dir(live).parent.name.startswith("a run")
    assert (data_dir(live) / "postgres" / "PG_VERSION").exists()


def test_every_line_it_prints_to_paste_works(live: Run) -> None:
    lines = [shlex.split(line) for line in re.findall(r"^  (curl .+)$", live.said, re.MULTILINE)]
    posts = [words for words in lines if "--data-binary" in words]
    assert len(posts) == 4
    for words in posts:
        answer = ask(words)
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"status": "ok"}
    (read,) = [words for words in lines if words not in posts]
    live.wait_until(lambda: ask(read).status_code == 200)
    assert ask(read).json()["status"] != "unknown"


def ask(words: list[str]) -> httpx.Response:
    """What curl would do, for a machine that has none."""
    assert words[:2] == ["curl", "-sS"]
    headers, body, url = {}, None, ""
    rest = iter(words[2:])
    for word in rest:
        if word == "-H":
            name, _, value = next(rest).partition(": ")
            headers[name] = value
        elif word == "--data-binary":
            body = next(rest).encode()
        else:
            url = word
    return httpx.request("POST" if body else "GET", url, headers=headers, content=body)


def test_secrets_are_made_for_what_nobody_gave_and_for_nothing_else(live: Run) -> None:
    file = data_dir(live) / "secrets.env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    made = dict(line.split("=") for line in file.read_text().splitlines())
    assert set(made) == {
        "COURIER_TIRAMIZOO_SECRETS",
        "COURIER_TIRAMIZOO_MUNICH_SECRETS",
        "COURIER_SHIPMENTAPI_SECRETS",
    }
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", secret) for secret in made.values())
    assert len(set(made.values())) == len(made)


def test_a_shell_can_use_the_run_with_what_it_leaves_in_run_env(live: Run) -> None:
    script = 'set -a; . "$0/run.env"; exec "$1" -m receiver.cli.main migrate'
    done = subprocess.run(
        ["/bin/sh", "-c", script, str(data_dir(live)), sys.executable],
        env={**GIVEN, "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=START,
    )
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE((data_dir(live) / "run.env").stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["valkey", "clock", "worker", "web", "postgres"])
def test_a_part_that_is_killed_comes_back_and_the_others_stay(live: Run, name: str) -> None:
    before = live.wait_until(live.all_parts)
    children = before[name].children(recursive=True)
    said = len(live.said)
    before[name].kill()
    live.wait_until(lambda: f"ordertrail: {name} ended (SIGKILL)" in live.said[said:])
    after = live.wait_until(live.all_parts)
    assert after[name].pid != before[name].pid
    assert {it: part.pid for it, part in after.items() if it != name} == {
        it: part.pid for it, part in before.items() if it != name
    }
    assert all(map(is_gone, children))
    live.wait_until(lambda: is_ready(live))


def is_ready(live: Run) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{live.url}/readyz").status_code == 200
    return False


def test_another_run_on_the_same_data_waits_and_then_names_the_one_that_runs(live: Run) -> None:
    waits: list[float] = []
    said: list[str] = []
    with (
        pytest.raises(CannotRun) as refused,
        lock_data_dir(data_dir(live), "http://there", waits.append, said.append),
    ):
        pass
    holder = f"its data is in use by pid {live.process.pid} at {live.url}"
    assert holder in str(refused.value)
    assert "stop it first" in str(refused.value)
    assert holder in said[0]
    assert 29 < sum(waits) < 31


def test_a_taken_port_is_told_before_anything_starts(live: Run, tmp_path: Path) -> None:
    port = live.url.rpartition(":")[2]
    with run(tmp_path, PORT=port) as second:
        assert second.ends() == 1
    assert f"port {port} on 127.0.0.1 is used by another program" in second.said
    assert not (tmp_path / ".data" / "postgres").exists()


def test_all_that_is_wrong_with_the_settings_is_told_at_once(tmp_path: Path) -> None:
    wrong = {"PORT": "many", "MAX_BODY_BYTES": "-1", "COURIER_TIRAMIZOO_CONFIRM": "perhaps"}
    with run(tmp_path, **wrong) as refused:
        assert refused.ends() == 2
    assert all(name in refused.said for name in wrong)
    assert "SECRETS" not in refused.said
    assert list(tmp_path.iterdir()) == []


def test_it_stops_cleanly_and_starts_again_also_after_kill_9(tmp_path: Path) -> None:
    environ = {"PORT": str(free_port()), "DATA_DIR": str(tmp_path / "data")}
    with run(tmp_path, **environ) as first:
        everything = first.ready().everything()
        token = first.says(TOKEN)[1]
        first.process.terminate()
        # Each next one is started while the one before still stops: it waits for that.
        with run(tmp_path, **environ) as second:
            assert first.ends() == 0
            assert all(map(is_gone, everything))
            assert "Traceback" not in first.said
            everything = second.ready().everything()
            assert second.says(TOKEN)[1] == token
            second.process.kill()
            with run(tmp_path, **environ) as third:
                third.ready()
                assert all(map(is_gone, everything))
                assert third.says(TOKEN)[1] == token
                everything = third.everything()
                os.killpg(third.process.pid, signal.SIGINT)
                assert third.ends() == 0
                assert third.said.splitlines()[-1] == "ordertrail: stopped"
    assert all(map(is_gone, everything))


def test_a_stop_during_the_start_leaves_nothing(tmp_path: Path) -> None:
    with run(tmp_path) as early:
        early.wait_until(lambda: "postgres" in early.parts())
        everything = early.everything()
        early.process.send_signal(signal.SIGHUP)
        assert early.ends() == 0
    assert "is ready" not in early.said
    assert all(map(is_gone, everything))


@pytest.fixture
def given_servers(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Servers that somebody else runs, the one told by its URL and the other by a file."""
    with running(tmp_path / "servers") as servers:
        servers.postgres.create_database("given")
        (tmp_path / "redis_url").write_text(servers.valkey.url())
        (tmp_path / "host").write_text("127.0.0.1")
        yield {
            "DATABASE_URL": servers.postgres.url("given"),
            "REDIS_URL_FILE": "redis_url",
            "HOST_FILE": str(tmp_path / "host"),
        }


def test_servers_that_are_given_are_used_and_none_started(
    tmp_path: Path, given_servers: dict[str, str]
) -> None:
    with run(tmp_path, **given_servers) as outside:
        assert set(outside.ready().parts()) == {"web", "worker", "clock"}
        assert given_servers["DATABASE_URL"] not in outside.said
    names = {file.name for file in (tmp_path / ".data").iterdir()}
    assert names == {"metrics", "run.env", "run.lock", "secrets.env"}


def test_no_request_is_answered_before_the_release_has_ended(
    tmp_path: Path, given_servers: dict[str, str]
) -> None:
    url = given_servers["DATABASE_URL"]
    migrate(url)
    with psycopg.connect(url) as slow, run(tmp_path, **given_servers) as outside:
        slow.execute("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
        outside.says("migration_retried")
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{outside.url}/livez", timeout=3)
        slow.rollback()
        outside.ready()


def test_a_release_that_fails_is_the_end(tmp_path: Path, servers: dict[str, str]) -> None:
    given = {"DATABASE_URL": servers["postgres"].replace("%7B%7D", "none_of_this_name")}
    with run(tmp_path, **given) as failed:
        assert failed.ends() == 1
    assert "the release failed, see above: ordertrail migrate" in failed.said


def never(_: float) -> None:
    """A pause that takes no time."""


def test_data_dir_stays_held_until_the_last_part_of_a_killed_run_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = os.open(tmp_path / "run.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(part, fcntl.LOCK_EX)
    said: list[str] = []
    with (
        pytest.raises(CannotRun, match="processes that it has started"),
        lock_data_dir(tmp_path, "http://here", never, said.append),
    ):
        pass
    assert len(said) == 1

    def end_it(_: float) -> None:
        fcntl.flock(part, fcntl.LOCK_UN)

    with lock_data_dir(tmp_path, "http://here", end_it, said.append):
        assert (tmp_path / "run.lock").read_text() == f"pid {os.getpid()} at http://here"
    os.close(part)


def test_secrets_are_kept_and_only_new_ones_are_made(tmp_path: Path) -> None:
    first = load_or_generate_secrets(tmp_path, ["ONE"])
    both = load_or_generate_secrets(tmp_path, ["ONE", "TWO"])
    assert both["ONE"] == first["ONE"]
    (tmp_path / "secrets.env").write_text("# by hand\n\nONE=old,new\n")
    changed = load_or_generate_secrets(tmp_path, ["ONE", "TWO"])
    assert changed["ONE"] == "old,new"
    assert changed["TWO"] != both["TWO"]
    assert load_or_generate_secrets(tmp_path, ["TWO", "ONE"]) == changed
    assert [file.name for file in tmp_path.iterdir()] == ["secrets.env"]


def test_secrets_that_cannot_be_read_are_not_made_anew(tmp_path: Path) -> None:
    (tmp_path / "secrets.env").write_text("ONE\n")
    with pytest.raises(CannotRun, match="line 1: must be NAME=value"):
        load_or_generate_secrets(tmp_path, ["ONE"])
    assert (tmp_path / "secrets.env").read_text() == "ONE\n"
    with run(tmp_path, DATA_DIR=".") as refused:
        assert refused.ends() == 1
    assert refused.said.splitlines()[-1].endswith("line 1: must be NAME=value")


def test_a_data_directory_that_cannot_be_made_is_told_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with run(tmp_path, DATA_DIR="file") as refused:
        assert refused.ends() == 1
    told = f"ordertrail: DATA_DIR {tmp_path / 'file'} cannot be made: File exists"
    assert refused.said.splitlines() == [told]
