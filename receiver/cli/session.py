"""What commands share: settings, the database, wake-ups, and finding what a person named."""

import os
import pwd
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click
from redis import Redis, RedisError
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from receiver.audit import Actor, act_as
from receiver.changes import feed
from receiver.cli.output import print_note
from receiver.db import engine as db
from receiver.db.models import Order
from receiver.db.revision import OUTDATED_SCHEMA
from receiver.errors import OrdertrailError, UnknownAccount, UnknownOrder
from receiver.orders.find import find_order
from receiver.queue.doorbell import Bells, ring_doorbell
from receiver.queue.redis_client import connect_redis
from receiver.settings import BadSettings, Settings


def load_settings() -> Settings:
    """Read the settings; end the program with exit code 2 where they have faults."""
    try:
        return Settings.from_env(read_environment())
    except BadSettings as error:
        click.echo(str(error), err=True)
        if not _names_database(os.environ) and not _run_file(os.environ).is_file():
            click.echo(
                f"No service of `make run` was found ({_run_file(os.environ)} does not exist): set"
                " DATA_DIR to its directory, or the settings of your service.",
                err=True,
            )
        sys.exit(2)


def read_environment() -> dict[str, str]:
    """Return the environment; without a DATABASE_URL, also what `ordertrail run` runs with."""
    environ = dict(os.environ)
    if _names_database(environ):
        return environ
    try:
        words = shlex.split(_run_file(environ).read_text(encoding="utf-8"), comments=True)
    except OSError:
        return environ
    return dict(word.partition("=")[::2] for word in words) | environ


def _names_database(environ: Mapping[str, str]) -> bool:
    return bool({"DATABASE_URL", "DATABASE_URL_FILE"} & environ.keys())


def _run_file(environ: Mapping[str, str]) -> Path:
    """Return where `ordertrail run` leaves the settings that it runs with."""
    return Path(environ.get("DATA_DIR") or ".data") / "run.env"


@contextmanager
def open_database(settings: Settings) -> Iterator[sessionmaker[Session]]:
    """Connect to the database; yield the factory of sessions.

    What the command does stands in the audit log with the user of the operating system.
    """
    act_as(Actor(f"command line ({_user_name()})"))
    engine = db.create_engine_for(settings.database_url, pool_size=1)
    try:
        yield db.session_factory(engine)
    finally:
        engine.dispose()


def _user_name() -> str:
    """Return the name of the user who runs the command; its number where it has no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def make_bells(settings: Settings) -> Bells:
    """Make bells that connect when they are rung; where Redis cannot be reached, a note says so."""

    def ring(bell: Callable[[Redis], object]) -> None:
        try:
            with connect_redis(settings.redis_url) as redis:
                bell(redis)
        except (RedisError, OSError):
            print_note("ordertrail: stored. Redis cannot be reached: takes effect once it is back")

    return Bells(partial(ring, ring_doorbell), partial(ring, feed.announce_changes))


def require_account(settings: Settings, account: str | None) -> None:
    """Check that an account is configured; None stands for all accounts.

    Raises: UnknownAccount.
    """
    if account is not None and account not in settings.accounts:
        known = ", ".join(sorted(settings.accounts)) or "none (set COURIER_<ACCOUNT>_SECRETS)"
        raise UnknownAccount(f"account {account!r} is not configured; configured accounts: {known}")


@contextmanager
def open_order(account: str, order_id: str) -> Iterator[tuple[Session, Order]]:
    """Open a transaction and find the order that a person named.

    Raises: UnknownOrder, AmbiguousIdentifier, UnknownAccount.
    """
    with (
        open_database(load_settings()) as sessions,
        explain_unknown_order(sessions, account, order_id),
        sessions.begin() as session,
    ):
        yield session, find_order(session, account, order_id)


@contextmanager
def explain_unknown_order(
    sessions: sessionmaker[Session], account: str, order_id: str
) -> Iterator[None]:
    """Add to an UnknownOrder what the person may have meant.

    Raises: UnknownAccount where the account is unknown, too.
    """
    try:
        yield
    except UnknownOrder as error:
        require_account(load_settings(), account)
        with sessions() as session:
            is_reference = select(Order.id).where(Order.reference == order_id).limit(1)
            if session.scalar(is_reference) is None:
                raise
        command = f"ordertrail orders --reference {shlex.quote(order_id)}"
        raise UnknownOrder(f"{error}, but it is the shop's reference: {command}") from None


def describe_failure(error: Exception) -> str | None:
    """Describe a failure in one line; None for a bug, which needs its traceback."""
    if isinstance(error, OrdertrailError):
        return str(error)
    if not isinstance(error, DBAPIError):
        return None
    if getattr(error.orig, "sqlstate", None) in OUTDATED_SCHEMA:
        return "the database schema is not up to date: run `ordertrail migrate`"
    return f"PostgreSQL cannot be used: {' '.join(str(error.orig).split())}"
