"""Nobody who logs waits for the reader of stdout; what is dropped meanwhile is counted."""

import logging
import threading
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from receiver import log_writer
from receiver.log_writer import LogWriter
from tests.service import wait_until


class Pipe:
    """A stdout whose reader hangs until `read` is set."""

    def __init__(self) -> None:
        self.read = threading.Event()
        self.written = b""

    def write(self, _stdout: int, lines: bytes) -> int:
        self.read.wait(5)
        # A pipe may take a part only.
        self.written += lines[:7]
        return min(7, len(lines))


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.read.set()


def test_lines_that_nobody_reads_are_dropped_and_their_number_is_logged(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LogWriter()
    monkeypatch.setattr(log_writer, "WRITER", writer)
    monkeypatch.setattr(log_writer, "MAX_WAITING_BYTES", 1000)
    writer.start(pipe.write)
    handler = log_writer.StdoutHandler()
    with capture_logs() as logged:
        for number in range(150):
            handler.emit(logging.makeLogRecord({"msg": f"line {number:04}"}))
        assert pipe.written == b""
        pipe.read.set()
        wait_until(lambda: logged)
    handler.emit(logging.makeLogRecord({"msg": "later"}))
    writer.close()
    lines = pipe.written.decode().splitlines()
    assert lines == [f"line {number:04}" for number in range(100)] + ["later"]
    assert [(line["event"], line["lines"]) for line in logged] == [("log_lines_dropped", 50)]
