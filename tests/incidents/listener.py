"""A monitor that alerts are pushed to and heartbeats are sent to: a real HTTP server."""

import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PUSH_PATH, HEARTBEAT_PATH = "/pushes", "/heartbeat"


def alert_key(condition: str, account: str | None) -> str:
    """The name of an alert: `no_workers`, or `word_unmapped/shipmentapi`."""
    return f"{condition}/{account}" if account else condition


@dataclass(frozen=True, slots=True)
class PushSeen:
    """A push as json:// brings it.

    at: by time.monotonic(). key: as alert_key has it. state: `alerting`, or `ok` at the end.
    """

    at: float
    key: str
    state: str
    text: str


class Listener:
    """Accepts pushes and heartbeats, or answers 500 to them while `refuses` is set."""

    def __init__(self) -> None:
        self.pushes: list[PushSeen] = []
        self.heartbeats: list[float] = []
        self.refused = 0
        self.refuses = False
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if listener.refuses:
                    listener.refused += 1
                else:
                    listener.note_push(json.loads(body))
                self._answer()

            def do_GET(self) -> None:
                if not listener.refuses:
                    listener.heartbeats.append(time.monotonic())
                self._answer()

            def _answer(self) -> None:
                self.send_response(500 if listener.refuses else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def environ(self) -> dict[str, str]:
        """The settings that make a service push here."""
        address = f"127.0.0.1:{self._server.server_port}"
        return {
            "ALERT_URLS": f"json://{address}{PUSH_PATH}",
            "HEARTBEAT_URL": f"http://{address}{HEARTBEAT_PATH}",
        }

    def note_push(self, push: dict[str, str]) -> None:
        # ordertrail/<installation>/<condition>/<account>
        _, condition, account = push["alert_uid"].rsplit("/", 2)
        key, text = alert_key(condition, account), f"{push['title']}\n{push['message']}"
        self.pushes.append(PushSeen(time.monotonic(), key, push["state"], text))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
