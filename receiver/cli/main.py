"""The root of the `ordertrail` command, which loads a command's module only when it is used."""

import io
import os
import pkgutil
import sys
from importlib.metadata import entry_points
from typing import Any

import click

# Section -> command -> (the module that defines <command>_command, the first sentence of its help).
# The sentences are repeated here so that `ordertrail --help` need not import the commands, which
# takes a second.
CommandTable = dict[str, dict[str, tuple[str, str]]]

COMMANDS: CommandTable = {
    "Orders": {
        "order": ("receiver.cli.orders", "Show the current state of an order."),
        "orders": ("receiver.cli.orders", "List orders, newest first."),
        "events": ("receiver.cli.orders", "Show the timeline of an order."),
        "parcels": ("receiver.cli.orders", "List the parcels of an order."),
        "explain": ("receiver.cli.explain", "Explain why an order has its current status."),
        "conflicts": ("receiver.cli.conflicts", "List open conflicts, or close one."),
        "register": ("receiver.cli.registration", "Register an order."),
        "correct": (
            "receiver.cli.corrections",
            "Correct an order, or stop or resume its tracking.",
        ),
        "delete": (
            "receiver.cli.corrections",
            "Delete an order that was registered by mistake, a test order or a sample.",
        ),
        "refresh": ("receiver.cli.orders", "Poll the courier for an order now."),
        "changes": ("receiver.cli.changes", "Show the change feed, or follow it."),
    },
    "Messages": {
        "messages": ("receiver.cli.messages", "List the messages in the inbox, or show one."),
        "retry": ("receiver.cli.messages", "Process messages again."),
        "discard": ("receiver.cli.messages", "Discard messages that are not needed."),
    },
    "Couriers": {
        "couriers": ("receiver.cli.couriers", "Show the state of each courier account."),
        "drivers": (
            "receiver.cli.couriers",
            "Show which couriers can be connected, and what their accounts need.",
        ),
        "send": ("receiver.cli.sending.command", "Send a webhook as a courier would."),
        "fields": ("receiver.cli.field_maps.command", "Try a field map on a body."),
        "performance": (
            "receiver.cli.performance",
            "Show how fast and how reliably couriers deliver.",
        ),
        "tour": ("receiver.cli.couriers", "Show the latest plan of a tour."),
        "statuses": ("receiver.cli.couriers", "List our statuses and couriers' words for them."),
    },
    "The service": {
        "run": ("receiver.cli.main", "Run the whole service on this machine."),
        "audit": ("receiver.cli.audit", "List what people and clients of the API did."),
        "check": ("receiver.cli.check", "List the alerts that are open now."),
        "migrate": ("receiver.cli.main", "Bring the database schema up to date."),
    },
}

# Other packages add commands by an entry point of this group, whose value is a CommandTable.
ENTRY_POINT_GROUP = "ordertrail.commands"

EXIT_CODES = "Exit codes: 0 success; 1 not found, nothing to do, or failed; 2 wrong usage."


def command_table() -> CommandTable:
    """Return all commands by section: those of this package, then those of other packages."""
    table = {section: dict(commands) for section, commands in COMMANDS.items()}
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        for section, commands in entry_point.load().items():
            table.setdefault(section, {}).update(commands)
    return table


class LazyGroup(click.Group):
    """A group whose commands are imported on use, and which reports a failure in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for commands in command_table().values() for name in commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for commands in command_table().values():
            if cmd_name in commands:
                name = f"{commands[cmd_name][0]}:{cmd_name}_command"
                command: click.Command = pkgutil.resolve_name(name)
                command.epilog = command.epilog or EXIT_CODES
                return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        longest = max(map(len, self.list_commands(ctx)))
        for section, commands in command_table().items():
            with formatter.section(section):
                rows = [(name.ljust(longest), about) for name, (_, about) in commands.items()]
                formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The reader (`| head`) has ended: nothing more may be written, not even at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except Exception as error:
            from receiver.cli.session import describe_failure
            from receiver.errors import InvalidCursor, InvalidPeriod

            message = describe_failure(error)
            if message is None:
                raise
            click.echo(f"ordertrail: {message}", err=True)
            ctx.exit(2 if isinstance(error, InvalidCursor | InvalidPeriod) else 1)


@click.group(cls=LazyGroup, epilog=EXIT_CODES)
@click.version_option(package_name="ordertrail")
def main() -> None:
    """Ordertrail stores couriers' messages and shows the current state of each order.

    On a machine where `make run` is running, the commands use its database. Elsewhere they read the
    same environment variables as the service. Most commands take --json; see
    `ordertrail COMMAND --help`.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Characters that the terminal's encoding does not have are shown as ?.
            stream.reconfigure(errors="replace")
    import structlog

    # What a command does is logged beside its output, which may be JSON.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


@click.command()
@click.option("--to", "revision", default="head", help="A revision; an older one rolls back.")
@click.option(
    "--wait", default=60.0, metavar="SECONDS", help="How long to wait for PostgreSQL. Default: 60."
)
def migrate_command(revision: str, wait: float) -> None:
    """Bring the database schema up to date (`release` in the Procfile).

    To roll back, stop everything, and use the code of the newer version: what it stored in its own
    tables and columns is lost.
    """
    from receiver import logs
    from receiver.cli.session import load_settings
    from receiver.db.migrate import migrate
    from receiver.db.revision import newest_revision

    logs.configure("release")
    migrate(load_settings().database_url, revision, connect_seconds=wait)
    reached = newest_revision() if revision == "head" else revision
    click.echo(f"The database schema is at revision {reached}.")


@click.command()
def run_command() -> None:
    """Run the whole service on this machine, with its own PostgreSQL and Valkey."""
    from receiver.standalone import supervisor

    sys.exit(supervisor.run(os.environ))


if __name__ == "__main__":
    main()
