"""`ordertrail alive`."""

import os
import signal
import sys
from pathlib import Path

import click

from workers.progress import MAX_SILENT_SECONDS, read_progress

EXIT_CODES = "Exit codes: 0 it makes progress; 1 it does not, or does not run; 2 wrong usage."


@click.command(epilog=EXIT_CODES)
@click.option(
    "--path",
    envvar="PROGRESS_PATH",
    type=click.Path(path_type=Path),
    required=True,
    help="The file in which the process reports. Default: PROGRESS_PATH.",
)
@click.option("--kill", is_flag=True, help="Kill a process that hangs, so that it is restarted.")
def alive_command(path: Path, kill: bool) -> None:
    """Say whether a worker or clock makes progress, for probes that run a command.

    Its main loop reports every few seconds. Without a report for four minutes it hangs. Docker
    restarts only what ends, so its health checks need --kill.
    """
    progress = read_progress(path)
    if progress is None:
        click.echo(f"no running worker or clock reports its progress in {path}")
        sys.exit(1)
    ago = f"process {progress.pid} made progress {max(0, round(progress.age))} seconds ago"
    if not progress.hangs:
        click.echo(ago)
        return
    click.echo(f"{ago}, more than {MAX_SILENT_SECONDS}: it hangs")
    if kill:
        os.kill(progress.pid, signal.SIGKILL)
        click.echo(f"killed process {progress.pid}")
    sys.exit(1)
