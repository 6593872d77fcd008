"""The shop gets each change, in order, whatever it and our processes do; the short form.

`make pushes` does so for a minute (tests/pushing/).
"""

from pathlib import Path

import pytest

from tests.pushing.trial import run_trial

pytestmark = [pytest.mark.xdist_group("push"), pytest.mark.timeout(400)]

SECONDS = 12.0


def test_the_shop_gets_each_change_in_order_while_it_fails_and_processes_die(
    tmp_path: Path,
) -> None:
    report = run_trial(tmp_path, SECONDS, calm_seconds=1)
    print(report)  # noqa: T201 (seen with -s)
    assert report.is_right, report
    assert set(report.results) == {"204", "302", "500", "hung"}
