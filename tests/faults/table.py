"""The faults, as data: what is done, for how long, and how it is undone."""

import os
import random
import signal
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from signal import SIGCONT, SIGKILL, SIGQUIT, SIGSTOP
from typing import Any

import psutil
import psycopg
from redis import Redis

from tests.faults.stand import DATABASE, Stand

Undo = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """do: makes it happen, and returns what ends it.

    hold: seconds that it lasts. brief: whether the short form goes through it as well.
    """

    name: str
    do: Callable[[Stand], Undo]
    hold: float = 1.0
    brief: bool = True


def _nothing() -> None:
    """The part is started again by whoever tends it."""


def kill(name: str) -> Callable[[Stand], Undo]:
    """Kill -9 of the process that stands for a part."""

    def do(stand: Stand) -> Undo:
        os.kill(stand.pid(name), SIGKILL)
        return _nothing

    return do


def kill_web_worker(stand: Stand) -> Undo:
    """Kill -9 of one of gunicorn's workers."""
    random.choice(stand.children("web")).kill()
    return _nothing


def down(name: str, number: signal.Signals = SIGKILL, then: str = "") -> Callable[[Stand], Undo]:
    """A part ends by a signal and stays away. then: what befalls its data meanwhile."""

    def do(stand: Stand) -> Undo:
        stand.hold_down(name)
        os.kill(stand.pid(name), number)
        if then == "wiped":
            with suppress(psutil.NoSuchProcess):
                psutil.Process(stand.pid(name)).wait(10)
            stand.wipe_valkey()
        return lambda: stand.let_up(name)

    return do


def freeze(name: str) -> Callable[[Stand], Undo]:
    """SIGSTOP to all processes of a part."""

    def do(stand: Stand) -> Undo:
        stand.signal(name, SIGSTOP)
        return lambda: stand.signal(name, SIGCONT)

    return do


def freeze_web_worker(stand: Stand) -> Undo:
    """SIGSTOP to one of gunicorn's workers."""
    frozen = random.choice(stand.children("web"))
    frozen.suspend()

    def undo() -> None:
        with suppress(psutil.NoSuchProcess):
            frozen.resume()

    return undo


def cut(wire: str) -> Callable[[Stand], Undo]:
    """Every connection to a server is reset."""

    def do(stand: Stand) -> Undo:
        getattr(stand, f"to_{wire}").cut()
        return _nothing

    return do


def mute(wire: str) -> Callable[[Stand], Undo]:
    """What is sent to a server vanishes, and what was connected then stays dead for good."""

    def do(stand: Stand) -> Undo:
        proxy = getattr(stand, f"to_{wire}")
        proxy.mute(True)
        return lambda: proxy.mute(False)

    return do


def slow(wire: str, seconds: float) -> Callable[[Stand], Undo]:
    """Each step on the way to a server, and back, takes so long."""

    def do(stand: Stand) -> Undo:
        proxy = getattr(stand, f"to_{wire}")
        proxy.slow(seconds)
        return lambda: proxy.slow(0.0)

    return do


def terminate_sessions(stand: Stand) -> Undo:
    """pg_terminate_backend of every session."""
    with stand.database() as database:
        database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    return _nothing


def kill_clients(stand: Stand) -> Undo:
    """CLIENT KILL of every connection to Valkey."""
    with Redis.from_url(stand.valkey.url()) as redis:
        redis.client_kill_filter(_type="normal", skipme=True)
        redis.client_kill_filter(_type="pubsub")
    return _nothing


def flush_valkey(stand: Stand) -> Undo:
    """FLUSHALL, at work."""
    with Redis.from_url(stand.valkey.url()) as redis:
        redis.flushall()
    return _nothing


def lock_inbox(stand: Stand) -> Undo:
    """Somebody holds the inbox's table, so that nobody reads or writes it."""
    stack = ExitStack()
    database = stack.enter_context(psycopg.connect(stand.postgres.url(DATABASE)))
    database.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
    return stack.close


def take_connections(stand: Stand) -> Undo:
    """PostgreSQL has no connection left, and those that the service had are gone."""
    taken: list[psycopg.Connection[Any]] = []

    def undo() -> None:
        for connection in taken:
            connection.close()

    def take_all() -> None:
        with suppress(psycopg.OperationalError):
            while True:
                own = psycopg.connect(stand.postgres.url(DATABASE), autocommit=True)
                taken.append(own)

    take_all()
    # The service is as quick to come back as we are to take its place: one at a time.
    for _ in range(200):
        theirs = (
            taken[0]
            .execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'ordertrail' LIMIT 1"
            )
            .fetchall()
        )
        if not theirs:
            break
        take_all()
    return undo


def fill_disk(stand: Stand) -> Undo:
    """Not a byte is free where PostgreSQL's data is."""
    ballast = stand.data_dir / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass
    return ballast.unlink


def kill_everything(stand: Stand) -> Undo:
    """Kill -9 of all processes at once."""
    for name in stand.parts:
        stand.signal(name, SIGKILL)
    return _nothing


FAULTS = (
    Fault("web worker killed", kill_web_worker),
    Fault("web master killed", kill("web")),
    Fault("worker killed", kill("worker")),
    Fault("clock killed", kill("clock"), brief=False),
    Fault("PostgreSQL stopped at once", down("postgres", SIGQUIT), 3, brief=False),
    Fault("PostgreSQL killed", down("postgres"), 3),
    Fault("Valkey killed", down("valkey"), 3, brief=False),
    Fault("Valkey killed, data gone", down("valkey", then="wiped"), 3),
    Fault("Valkey flushed", flush_valkey, brief=False),
    Fault("web worker frozen", freeze_web_worker, 4, brief=False),
    Fault("web frozen", freeze("web"), 4, brief=False),
    Fault("worker frozen", freeze("worker"), 4),
    Fault("clock frozen", freeze("clock"), 4, brief=False),
    Fault("PostgreSQL frozen", freeze("postgres"), 8),
    Fault("Valkey frozen", freeze("valkey"), 8),
    Fault("PostgreSQL's connections cut", cut("postgres")),
    Fault("Valkey's connections cut", cut("valkey"), brief=False),
    Fault("PostgreSQL's sessions ended", terminate_sessions, brief=False),
    Fault("Valkey's clients ended", kill_clients, brief=False),
    Fault("wire to PostgreSQL mute", mute("postgres"), 6),
    Fault("wire to Valkey mute", mute("valkey"), 6, brief=False),
    Fault("PostgreSQL slow", slow("postgres", 0.3), 5, brief=False),
    Fault("PostgreSQL very slow", slow("postgres", 3.0), 8, brief=False),
    Fault("Valkey slow", slow("valkey", 0.5), 5, brief=False),
    Fault("inbox locked", lock_inbox, 8, brief=False),
    Fault("PostgreSQL out of connections", take_connections, 4),
    Fault("disk full", fill_disk, 4),
    Fault("everything killed at once", kill_everything),
)
