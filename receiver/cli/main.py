"""`ordertrail`: what people type. The commands stand elsewhere and are loaded when asked for.

Exit codes: 0 done, 1 not found or nothing to do, 2 wrong usage.
"""

import importlib
import io
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    # SQLAlchemy, marshmallow and the drivers take half a second that --help does not need.
    from sqlalchemy.orm import Session, sessionmaker

    from receiver.settings import Settings

# By what they are about: the name, the command by its dotted name, and its first sentence, which
# stands here so that --help loads none of them. workers: the receiver imports nothing of that half.
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Orders": {
        "order": ("receiver.cli.order.order", "Show one order as we know it now."),
        "orders": ("receiver.cli.orders.orders", "List orders, the newest first."),
        "events": ("receiver.cli.order.events", "Show an order's timeline."),
        "explain": (
            "receiver.cli.conflicts.explain_order",
            "Tell why an order stands where it stands.",
        ),
        "conflicts": (
            "receiver.cli.conflicts.list_conflicts",
            "List open conflicts, or close one.",
        ),
        "register": ("receiver.cli.register.register", "Put an order on record."),
        "refresh": ("receiver.cli.register.refresh", "Ask the courier about an order now."),
        "changes": (
            "receiver.cli.changes.changes",
            "Show what changed in which order, or follow it.",
        ),
    },
    "Messages": {
        "messages": ("receiver.cli.messages.messages", "List the inbox, or show a message."),
        "retry": ("receiver.cli.retry.retry", "Send messages back to the workers."),
        "discard": (
            "receiver.cli.retry.discard",
            "Say that a message needs nothing more.",
        ),
    },
    "Couriers": {
        "couriers": ("receiver.cli.couriers.couriers", "Show how each account fares."),
        "send": ("receiver.cli.send.send", "Post a message as a courier would."),
        "poll": ("workers.cli.poll.poll", "Ask the couriers about all open orders now."),
        "tour": ("receiver.cli.couriers.tour", "Show a tour plan as last heard."),
        "statuses": (
            "receiver.cli.couriers.statuses",
            "Show our statuses and the couriers' words for them.",
        ),
    },
    "The service": {
        "run": ("receiver.cli.main.run", "Run everything on this machine."),
        "doctor": (
            "workers.cli.doctor.command.doctor",
            "Look at an installation and say what to mend.",
        ),
        "check": (
            "receiver.cli.check.check",
            "Say what is wrong now, a line for each condition.",
        ),
        "migrate": ("receiver.cli.main.migrate", "Bring the database's tables up to date."),
        "rebuild": (
            "workers.cli.rebuild.rebuild",
            "Fold orders anew from the messages that are kept.",
        ),
    },
}

EXIT_CODES = "Exit codes: 0 done; 1 not found, nothing to do, or it failed; 2 wrong usage."


class Commands(click.Group):
    """The commands by their dotted names; what goes wrong in one is told in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for commands in COMMANDS.values() for name in commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        told = [commands[cmd_name] for commands in COMMANDS.values() if cmd_name in commands]
        if not told:
            return None
        module, _, name = told[0][0].rpartition(".")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)  # noqa: S101
        command.epilog = command.epilog or EXIT_CODES
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        longest = max(map(len, self.list_commands(ctx)))
        for section, commands in COMMANDS.items():
            with formatter.section(section):
                rows = [(name.ljust(longest), line) for name, (_, line) in commands.items()]
                formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # `| head` has what it wanted. Nothing is left to be written, not even at the exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except Exception as error:
            told = in_one_line(error)
            if told is None:
                raise
            click.echo(f"ordertrail: {told}", err=True)
            ctx.exit(2 if is_wrong_usage(error) else 1)


def in_one_line(error: Exception) -> str | None:
    """What a person needs to know of a failure; None where it is a fault of ours."""
    from sqlalchemy.exc import DBAPIError

    from receiver.errors import OrdertrailError

    if isinstance(error, OrdertrailError):
        return str(error)
    if not isinstance(error, DBAPIError):
        return None
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate in {"42P01", "42703"}:
        return "the database's tables are not up to date: run `ordertrail migrate`"
    return f"PostgreSQL cannot be used: {' '.join(str(error.orig).split())}"


def is_wrong_usage(error: Exception) -> bool:
    from receiver.errors import InvalidCursor

    return isinstance(error, InvalidCursor)


def settings() -> "Settings":
    """The environment's settings; faults end the program with the whole report.

    Beside a `make run` they need not be set: what it runs with stands in DATA_DIR.
    """
    from receiver.settings import BadSettings, Settings

    try:
        return Settings.from_env(environment())
    except BadSettings as bad:
        click.echo(str(bad), err=True)
        sys.exit(2)


def environment() -> dict[str, str]:
    """The environment, beside a `make run` with what that runs with."""
    environ = dict(os.environ)
    if {"DATABASE_URL", "DATABASE_URL_FILE"} & environ.keys():
        return environ
    return of_run(Path(environ.get("DATA_DIR") or ".data")) | environ


def of_run(data_dir: Path) -> dict[str, str]:
    """What `ordertrail run` on this directory runs with; nothing where there is none."""
    try:
        lines = (data_dir / "run.env").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    words = (shlex.split(line, comments=True) for line in lines)
    return dict(pair for word in words if word for pair in [word[0].partition("=")[::2]])


@contextmanager
def opened(settings: "Settings") -> "Iterator[sessionmaker[Session]]":
    """What opens sessions on the database, for as long as a command lasts."""
    from receiver.db import engine as db

    engine = db.create_engine_for(settings.database_url, pool_size=1)
    try:
        yield db.session_factory(engine)
    finally:
        engine.dispose()


@contextmanager
def database() -> "Iterator[Session]":
    """A transaction."""
    with opened(settings()) as sessions, sessions.begin() as session:
        yield session


@click.group(cls=Commands, epilog=EXIT_CODES)
@click.version_option(package_name="ordertrail")
def main() -> None:
    """Ordertrail keeps what couriers tell about orders and answers where each order stands.

    Beside a `make run` the commands find its database by themselves; elsewhere they read the same
    environment as the service. `ordertrail COMMAND --help` tells more; most take --json.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a letter shows a ? for it.
            stream.reconfigure(errors="replace")


@click.command()
def migrate() -> None:
    """Bring the database's tables up to date (the Procfile's `release`)."""
    from receiver import logs
    from receiver.db import migrate as migrating

    logs.configure("release")
    migrating.migrate(settings().database_url)


@click.command()
def run() -> None:
    """Run everything on this machine, with a PostgreSQL and a Valkey of its own."""
    from receiver.standalone import supervisor

    sys.exit(supervisor.run(os.environ))


if __name__ == "__main__":
    main()
