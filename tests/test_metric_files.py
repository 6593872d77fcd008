"""What a process that has ended counted stays in the sums, and its files do not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, multiprocess
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from receiver.stats.metric_files import merge_files_of

Count = Callable[[str, int, float], None]


@pytest.fixture
def count(tmp_path: Path) -> Count:
    def count(kind: str, pid: int, value: float) -> None:
        """Count as a process of this number does."""
        sample = {"counter": "seen_total", "histogram": "took_bucket"}.get(kind, "waiting")
        name = {"counter": "seen", "histogram": "took"}.get(kind, "waiting")
        labels = {"le": "1.0"} if kind == "histogram" else {"account": "a"}
        file: Any = MmapedDict(str(tmp_path / f"{kind}_{pid}.db"))  # type: ignore[no-untyped-call]
        file.write_value(mmap_key(name, sample, [*labels], [*labels.values()], "Help."), value, 0)
        file.close()

    return count


def read_samples(directory: str) -> dict[str, float]:
    collector: Any = multiprocess.MultiProcessCollector(CollectorRegistry(), directory)  # type: ignore[no-untyped-call]
    return {sample.name: sample.value for one in collector.collect() for sample in one.samples}


def test_counts_of_ended_processes_stay_and_their_files_go(tmp_path: Path, count: Count) -> None:
    for pid in (11, 12, 13):
        count("counter", pid, pid)
        count("histogram", pid, 2)
        count("gauge_livesum", pid, 1)
    merge_files_of(11, str(tmp_path))
    merge_files_of(12, str(tmp_path))
    # A process without counts, and a number that comes again.
    merge_files_of(14, str(tmp_path))
    count("counter", 11, 1)
    merge_files_of(11, str(tmp_path))
    assert read_samples(str(tmp_path)) == {
        "seen_total": 37,
        "took_bucket": 6,
        "took_count": 6,
        "waiting": 1,
    }
    kept = {path.name for path in tmp_path.glob("*.db")}
    assert kept == {
        *("counter_ended.db", "histogram_ended.db"),
        *("counter_13.db", "histogram_13.db", "gauge_livesum_13.db"),
    }


def test_a_directory_that_is_gone_stops_no_master(tmp_path: Path) -> None:
    tmp_path.rmdir()
    merge_files_of(11, str(tmp_path))
