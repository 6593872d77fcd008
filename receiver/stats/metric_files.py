"""The files in which web processes count for Prometheus: one of each kind for each process.

A process that ends leaves its files behind, since its counts must stay. They are added to one file
of each kind, or every scrape would read those of all processes since gunicorn's start.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prometheus_client import multiprocess
from prometheus_client.mmap_dict import MmapedDict

# The kinds whose values add up. The gauges of a process end with it.
KINDS = ("counter", "histogram")


@contextmanager
def lock_files(directory: Path, exclusive: bool = False) -> Iterator[None]:
    """Hold the lock of the files: while some are added to others, a scrape would count twice.

    Raises: OSError, most likely because the directory is gone.
    """
    with (directory / "lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield


def merge_files_of(pid: int, directory: str) -> None:
    """Add the counts of a process that has ended to those of the others that have."""
    files = Path(directory)
    # Without it nothing is counted, which must not end gunicorn's master.
    if not files.is_dir():
        return
    with lock_files(files, exclusive=True):
        multiprocess.mark_process_dead(pid, directory)  # type: ignore[no-untyped-call]
        for kind in KINDS:
            ended = files / f"{kind}_{pid}.db"
            if ended.exists():
                _add_counts(str(ended), str(files / f"{kind}_ended.db"))
                ended.unlink()


def _add_counts(source: str, target: str) -> None:
    merged: Any = MmapedDict(target)  # type: ignore[no-untyped-call]
    for key, value, timestamp, _ in MmapedDict.read_all_values_from_file(source):  # type: ignore[no-untyped-call]
        merged.write_value(key, merged.read_value(key)[0] + value, timestamp)
    merged.close()
