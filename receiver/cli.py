"""`ordertrail`: what people type. Exit codes: 0 done, 1 not found or different, 2 wrong usage."""

import importlib
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from receiver import conflicts, db, logs
from receiver.errors import OrdertrailError
from receiver.explain import explain, page, table
from receiver.registry import find, in_conflict
from receiver.settings import BadSettings, Settings

# Commands of the workers' half, by dotted name: the receiver imports nothing of it.
ELSEWHERE = {"rebuild": "workers.rebuild_command.rebuild"}


class Commands(click.Group):
    """The commands of this file, and those that stand elsewhere."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        module, _, name = ELSEWHERE[cmd_name].rpartition(".")
        command = getattr(importlib.import_module(module), name)
        return command if isinstance(command, click.Command) else None


def settings() -> Settings:
    """The environment's settings; faults end the program with the whole report.

    Beside a `make run` they need not be set: what it runs with stands in DATA_DIR.
    """
    environ = dict(os.environ)
    if not {"DATABASE_URL", "DATABASE_URL_FILE"} & environ.keys():
        environ = of_run(Path(environ.get("DATA_DIR") or ".data")) | environ
    try:
        return Settings.from_env(environ)
    except BadSettings as bad:
        click.echo(str(bad), err=True)
        sys.exit(2)


def of_run(data_dir: Path) -> dict[str, str]:
    """What `ordertrail run` on this directory runs with; nothing where there is none."""
    try:
        lines = (data_dir / "run.env").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    words = (shlex.split(line, comments=True) for line in lines)
    return dict(pair for word in words if word for pair in [word[0].partition("=")[::2]])


@contextmanager
def database() -> Iterator[Session]:
    """A transaction; what goes wrong with it is told in one line."""
    engine = db.connect(settings().database_url, pool_size=1)
    try:
        with db.sessions(engine).begin() as session:
            yield session
    except OrdertrailError as error:
        click.echo(f"ordertrail: {error}", err=True)
        sys.exit(1)
    except OperationalError as error:
        click.echo(f"ordertrail: PostgreSQL cannot be used: {error.orig}", err=True)
        sys.exit(1)
    finally:
        engine.dispose()


@click.group(cls=Commands)
@click.version_option(package_name="ordertrail")
def main() -> None:
    """Ordertrail keeps what couriers tell about orders and answers where each order stands."""


@main.command()
def migrate() -> None:
    """Bring the database's tables up to date (the Procfile's `release`)."""
    logs.configure("release")
    db.migrate(settings().database_url)


@main.command()
def run() -> None:
    """Run everything on this machine, with a PostgreSQL and a Valkey of its own."""
    from receiver.standalone import supervisor

    sys.exit(supervisor.run(os.environ))


@main.command("explain")
@click.argument("account")
@click.argument("order_id")
def explain_order(account: str, order_id: str) -> None:
    """Tell why an order stands where it stands.

    ORDER_ID is the courier's id or any other identifier that the courier gave the order.
    """
    with database() as session:
        click.echo(page(explain(session, find(session, account, order_id))), nl=False)


@main.group("conflicts", invoke_without_command=True)
@click.option("--account", help="Only this account's.")
@click.option("--most", default=50, show_default=True, help="How many orders to show.")
@click.pass_context
def list_conflicts(ctx: click.Context, account: str | None, most: int) -> None:
    """List open conflicts: facts that do not go together, such as picked up after cancelled."""
    if ctx.invoked_subcommand is not None:
        return
    with database() as session:
        rows = [
            [
                conflict["id"],
                conflict["occurred_at"],
                conflict["kind"],
                order.account,
                order.courier_order_id,
                f"now {order.status}",
            ]
            for order in in_conflict(session, account, most)
            for conflict in order.conflicts
            if conflicts.is_open(conflict)
        ]
    click.echo("\n".join(table(rows)) if rows else "No open conflicts.")


@list_conflicts.command()
@click.argument("account")
@click.argument("order_id")
@click.argument("conflict_id")
@click.option("--by", required=True, help="Who dealt with it.")
@click.option("--note", default="", help="How.")
def close(account: str, order_id: str, conflict_id: str, by: str, note: str) -> None:
    """Say that a conflict was dealt with."""
    with database() as session:
        order = find(session, account, order_id, lock=True)
        conflict = conflicts.close(session, order, conflict_id, by, note, datetime.now(UTC))
    click.echo(f"{conflict['kind']} of {account} {order_id} is closed.")


if __name__ == "__main__":
    main()
