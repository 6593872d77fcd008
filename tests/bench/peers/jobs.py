"""The job of the peers."""


def nothing(*_: object) -> None:
    """An empty job."""
