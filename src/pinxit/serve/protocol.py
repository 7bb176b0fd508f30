"""Connections: so many and no more, and none that says nothing while it is its turn."""

from __future__ import annotations

import asyncio
import json

from uvicorn.protocols.http.h11_impl import H11Protocol

from pinxit.serve.errors import body

SILENT_SECONDS = 30.0  # that a client may take between two parts of a request
TOLD = json.dumps(
    body("there are as many connections as this server holds: try again in 2 s.", "server_error")
).encode()
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 2\r\nretry-after-ms: 2000\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(TOLD), TOLD)
)


def limited(most: int, silent_seconds: float = SILENT_SECONDS) -> type[H11Protocol]:
    """The protocol of a server that holds `most` connections."""

    class Limited(H11Protocol):
        waiting: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            if len(self.connections) >= most:
                transport.write(FULL)
                transport.close()
                self.transport = transport
                return
            super().connection_made(transport)
            self._await_more()

        def connection_lost(self, exc: Exception | None) -> None:
            self._await_no_more()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.flow is None:  # it was turned away
                return
            super().data_received(data)
            if self.cycle is None or (self.cycle.more_body and not self.cycle.response_complete):
                self._await_more()
            else:
                self._await_no_more()

        def _await_more(self) -> None:
            self._await_no_more()
            self.waiting = self.loop.call_later(silent_seconds, self._silent)

        def _await_no_more(self) -> None:
            if self.waiting is not None:
                self.waiting.cancel()
                self.waiting = None

        def _silent(self) -> None:
            if self.flow.read_paused:  # it is we who do not listen
                self._await_more()
            else:
                self.transport.close()

    return Limited
