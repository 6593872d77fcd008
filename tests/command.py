"""Typing `ordertrail`: in this process for most tests, as a real process where that matters."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from click.testing import CliRunner, Result
from flask.testing import FlaskClient

from receiver.cli.main import main
from tests.service import ROOT
from tests.shop import get

# Markup of rich, a line's end, a screen cleared, a title set, C1, a turned line, an emoji's name.
HOSTILE = "[red]R[/red] [link=https://x]l[/link]\n\x1b[2J\x1b]0;t\x07\x9b31m\u202e:smile: \x7f"
HARMLESS = "[red]R[/red] [link=https://x]l[/link]??[2J?]0;t??31m?:smile: ?"


def run_command(environ: Mapping[str, str], *arguments: str, **changed: str) -> Result:
    """What a command did. changed: further environment."""
    runner = CliRunner(env={**environ, **changed})
    return runner.invoke(main, list(arguments), catch_exceptions=False)


def command_json(environ: Mapping[str, str], *arguments: str) -> Any:
    """The JSON that a command wrote, which ended well."""
    done = run_command(environ, *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def api_json(shop: FlaskClient, path: str) -> dict[str, Any]:
    """What the API answers under /v1, asked for with a query string."""
    bare, _, query = path.partition("?")
    return get(shop, bare, **dict(parse_qsl(query)))


def process(
    environ: Mapping[str, str], *arguments: str, stdin: bool = False
) -> "subprocess.Popen[str]":
    """The command as a process of its own; stdin: which is then told something."""
    return subprocess.Popen(
        [sys.executable, "-m", "receiver.cli.main", *arguments],
        env={"PATH": os.environ["PATH"], **environ},
        cwd=ROOT,
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
