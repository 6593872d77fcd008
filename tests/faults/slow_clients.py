"""Clients that send a byte a second, hundreds of them, and what honest callers notice of it."""

import asyncio
import itertools
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.bodies import cottoncast_signature, cottoncast_status, raw
from tests.service import Web, head

HOOK = "/webhooks/cottoncast/orders"
BYTE_EVERY = 1.0


@dataclass
class SlowClients:
    """Half of them never end their head, the other half a body that was promised.

    Whoever is sent away comes again. held: the seconds that each connection was kept.
    """

    port: int
    count: int
    held: list[float] = field(default_factory=list)
    connected: int = 0

    @contextmanager
    def dripping(self) -> Iterator[None]:
        """They are all there inside."""
        stop = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(self._drip_all(stop)))
        thread.start()
        try:
            while self.connected < self.count * 0.95:
                time.sleep(0.05)
            yield
        finally:
            stop.set()
            thread.join()

    async def _drip_all(self, stop: threading.Event) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self.count):
                group.create_task(self._drip(number, stop))

    async def _drip(self, number: int, stop: threading.Event) -> None:
        body = b"{" + b" " * 1_000 + b"}"
        sent = head(HOOK, f"X: {'y' * 500}")
        if number % 2:
            lines = (f"{name}: {value}" for name, value in cottoncast_signature(body).items())
            sent = head(HOOK, *lines, f"Content-Length: {len(body)}")
        while not stop.is_set():
            # Not all at the same moment.
            await asyncio.sleep(BYTE_EVERY * number / self.count)
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                self.connected += 1
                began = time.monotonic()
                if number % 2:
                    writer.write(sent)
                    rest = body
                else:
                    rest = sent
                with suppress(OSError):
                    await _drip_bytes(reader, writer, rest, stop)
                self.held.append(time.monotonic() - began)
                self.connected -= 1
                writer.transport.abort()


async def _drip_bytes(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rest: bytes, stop: threading.Event
) -> None:
    """Send a byte a second until there is an answer, an end, or no more to send."""
    answered = asyncio.create_task(reader.read(1))
    for byte in rest:
        writer.write(bytes([byte]))
        await writer.drain()
        done, _ = await asyncio.wait([answered], timeout=BYTE_EVERY)
        if done or stop.is_set():
            break
    answered.cancel()


def honest_seconds(web: Web, numbers: Iterator[int], seconds: float) -> list[float]:
    """How long each of an honest caller's posts took; it calls for so long, 50 times a second."""
    took, ends_at = [], time.monotonic() + seconds
    with web.keeping_alive() as connection:
        while time.monotonic() < ends_at:
            number = next(numbers)
            body = raw(cottoncast_status("E", order_id=f"S{number}", ref=number))
            began = time.monotonic()
            connection.request("POST", HOOK, body, cottoncast_signature(body))
            answer = connection.getresponse()
            answer.read()
            took.append(time.monotonic() - began)
            assert answer.status == 200
            time.sleep(max(0.02 - took[-1], 0))
    return took


def p99(took: list[float]) -> float:
    return statistics.quantiles(took, n=100)[98]


def compare(web: Web, count: int, rounds: int, seconds: float) -> tuple[float, float, SlowClients]:
    """p99 of honest callers without slow clients and with them, measured by turns."""
    numbers = itertools.count()
    honest_seconds(web, numbers, 2)
    without: list[float] = []
    beside: list[float] = []
    slow = SlowClients(web.port, count)
    for _ in range(rounds):
        without += honest_seconds(web, numbers, seconds)
        with slow.dripping():
            beside += honest_seconds(web, numbers, seconds)
    return p99(without), p99(beside), slow
