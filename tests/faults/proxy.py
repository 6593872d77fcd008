"""What lies between the service and its servers: a wire that can be cut, slowed, or go mute."""

import asyncio
import socket
import threading
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

CHUNK = 65_536


class Proxy:
    """A TCP port of 127.0.0.1 that leads to a unix socket; runs in a thread of its own."""

    def __init__(self, upstream: Path) -> None:
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._clients: set[asyncio.StreamWriter] = set()
        self._mute: set[asyncio.StreamWriter] = set()
        self._is_mute = False
        # Seconds that each piece takes on its way to the server, and back.
        self._delay_to = self._delay_back = 0.0
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Reset every connection there is; new ones are welcome."""
        self._call(self._cut())

    def mute(self, is_mute: bool) -> None:
        """Swallow whatever comes. What was connected meanwhile stays so for good."""
        self._call(self._set_mute(is_mute))

    def slow(self, seconds: float, back: bool = True) -> None:
        """Let each piece take so long, either way or only on its way to the server."""
        self._delay_to = seconds
        self._delay_back = seconds if back else 0.0

    def lead_to(self, upstream: Path) -> None:
        """From now on connections lead to another socket."""
        self._upstream = upstream
        self.cut()

    def close(self) -> None:
        self._call(self._cut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _call(self, step: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(step, self._loop).result(10)

    async def _cut(self) -> None:
        for client in self._clients:
            client.transport.abort()

    async def _set_mute(self, is_mute: bool) -> None:
        self._is_mute = is_mute
        if is_mute:
            self._mute |= self._clients

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, sock=self._listening)
        )
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self._clients.add(client)
        if self._is_mute:
            self._mute.add(client)
        server = None
        try:
            answers, server = await asyncio.open_unix_connection(self._upstream)
            pumps = [
                asyncio.create_task(self._pump(reader, server, client)),
                asyncio.create_task(self._pump(answers, client, client)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
        except OSError:
            pass  # the server is away, and so are we
        finally:
            self._clients.discard(client)
            self._mute.discard(client)
            client.transport.abort()
            if server is not None:
                server.transport.abort()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while data := await source.read(CHUNK):
                if client in self._mute:
                    continue
                delay = self._delay_back if sink is client else self._delay_to
                if delay:
                    await asyncio.sleep(delay)
                sink.write(data)
                await sink.drain()
