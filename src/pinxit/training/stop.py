"""When to stop early: on a signal, or at a wall-time limit shared by all stages of an invocation."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Checked between steps. The first SIGINT or SIGTERM inside `listening()` sets it; a second SIGINT interrupts."""

    def __init__(self, minutes: float | None = None) -> None:
        self.deadline = None if minutes is None else time.monotonic() + 60 * minutes
        self.signalled = False

    def late(self) -> bool:
        """Whether the time is up."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def due(self) -> bool:
        """Whether to save and exit after the current step."""
        return self.signalled or self.late()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Turn signals into `signalled` inside the block (in the main thread; elsewhere signals cannot be caught)."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.signalled and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signalled = True
