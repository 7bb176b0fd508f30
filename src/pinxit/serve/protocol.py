"""uvicorn's HTTP protocol with a limit on connections, and a timeout for clients that stop sending."""

from __future__ import annotations

import asyncio
import json

from uvicorn.protocols.http.h11_impl import H11Protocol

from pinxit.serve.errors import envelope

SILENT_SECONDS = 30.0  # that may pass between two parts of a request
BODY = json.dumps(envelope("all connections of this server are in use: try again in 2 s.", "server_error")).encode()
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 2\r\nretry-after-ms: 2000\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)
)


def limited_protocol(most: int, silent_seconds: float = SILENT_SECONDS) -> type[H11Protocol]:
    """The protocol of a server that holds at most `most` connections."""

    class Limited(H11Protocol):
        timeout: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            if len(self.connections) >= most:
                transport.write(FULL)
                transport.close()
                self.transport = transport
                return
            super().connection_made(transport)
            self._start_timeout()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timeout()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.flow is None:  # refused in connection_made
                return
            super().data_received(data)

        def handle_events(self) -> None:
            """Called for received data, and after a response for data that the client sent ahead."""
            super().handle_events()
            unfinished = self.cycle is None or self.cycle.more_body or self.cycle.response_complete  # by the client
            if unfinished and self.timeout_keep_alive_task is None:  # uvicorn's own timer, for silence between requests
                self._start_timeout()
            else:
                self._stop_timeout()

        def _start_timeout(self) -> None:
            self._stop_timeout()
            self.timeout = self.loop.call_later(silent_seconds, self._on_timeout)

        def _stop_timeout(self) -> None:
            if self.timeout is not None:
                self.timeout.cancel()
                self.timeout = None

        def _on_timeout(self) -> None:
            if self.flow.read_paused:  # the server has paused reading: not the client's fault
                self._start_timeout()
            else:
                self.transport.close()

    return Limited
