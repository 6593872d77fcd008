"""`ordertrail`: what people type."""

import os
import sys

import click

from receiver import logs
from receiver.settings import BadSettings, Settings


@click.group()
@click.version_option(package_name="ordertrail")
def main() -> None:
    """Ordertrail keeps what couriers tell about orders and answers where each order stands."""


@main.command()
def migrate() -> None:
    """Bring the database's tables up to date (the Procfile's `release`)."""
    from receiver.db import migrate as bring_up_to_date

    logs.configure("release")
    bring_up_to_date(_settings().database_url)


@main.command()
def run() -> None:
    """Run everything on this machine, with a PostgreSQL and a Valkey of its own."""
    from receiver import supervisor

    sys.exit(supervisor.run(os.environ))


def _settings() -> Settings:
    try:
        return Settings.from_env(os.environ)
    except BadSettings as bad:
        click.echo(str(bad), err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
