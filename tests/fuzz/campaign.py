"""Send requests to a web process, and note whatever is not as it should be."""

import http.client
import itertools
import socket
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from tests.service import read_answer

THREADS = 8
# Seconds: no request takes as long, a wait for changes aside.
PATIENCE = 60.0


@dataclass
class Campaign:
    """said: how often each status was answered; 0 stands for a connection that was only closed.

    wrong: requests that were answered 5xx, or not in JSON where they were refused, with the answer.
    """

    said: Counter[int] = field(default_factory=Counter)
    wrong: list[tuple[bytes, str]] = field(default_factory=list)


def send_all(port: int, requests: Sequence[bytes]) -> Campaign:
    """Send the requests, each on a connection of its own that is then said to be at its end."""
    campaign, lock, places = Campaign(), threading.Lock(), itertools.count()

    def run() -> None:
        while (place := next(places)) < len(requests):
            status, fault = _send(port, requests[place])
            with lock:
                campaign.said[status] += 1
                if fault:
                    campaign.wrong.append((requests[place], fault))

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return campaign


def _send(port: int, sent: bytes) -> tuple[int, str]:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        # Refused before the end, it may be closed to us before we have said all.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        try:
            answer = read_answer(connection)
        except TimeoutError:
            return 0, "no answer"
        except (OSError, http.client.HTTPException):
            return 0, ""
    if answer.status_code >= 500:
        return answer.status_code, f"{answer.status_code} {answer.data[:500]!r}"
    kind = answer.headers.get("Content-Type", "")
    is_page = b"/ops" in sent.partition(b"\r\n")[0]
    if answer.status_code >= 400 and answer.data and "json" not in kind and not is_page:
        return answer.status_code, f"{answer.status_code} in {kind}"
    return answer.status_code, ""
