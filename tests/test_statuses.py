"""The statuses of an order."""

from receiver import statuses
from receiver.statuses import find_status


def test_each_status_is_open_or_terminal() -> None:
    assert sorted(statuses.OPEN_STATUSES + statuses.TERMINAL_STATUSES) == sorted(
        statuses.VOCABULARY
    )


def test_a_status_of_another_release_is_of_the_unknown_group() -> None:
    status = find_status("held_at_customs")
    assert (status.name, status.group, status.terminal) == ("held_at_customs", "unknown", False)
    assert status.rank < min(find_status(name).rank for name in statuses.OPEN_STATUSES[:-1])
