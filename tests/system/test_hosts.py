"""A host at a time dies or is cut off, and nothing is lost or done twice; the short form.

`make hosts` goes through all of them and prints a table (tests/hosts/).
"""

import os
import subprocess
import sys

import pytest

from tests import nginx, pgbouncer
from tests.hosts.network import why_not
from tests.service import ROOT

pytestmark = [pytest.mark.xdist_group("hosts"), pytest.mark.timeout(400)]


def test_a_host_at_a_time_dies_or_is_cut_off_and_nothing_is_lost() -> None:
    """A process of its own, for it goes where there are networks of its own."""
    if why := why_not():
        assert "CI" not in os.environ, why
        pytest.skip(why)
    nginx.require()
    pgbouncer.require()
    # Far more patience than it takes, for a machine that does other things besides.
    told = ["--brief", "--rate=15", "--patience=120"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.hosts", *told],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stdout.count("| 0 | 0 | 0 |") == 3
