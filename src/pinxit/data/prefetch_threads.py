"""Work started ahead of its need, in daemon threads, which do not keep the process alive at its end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import Lock, Thread


class PrefetchThreads:
    """Up to `threads` threads, which exist while there is work. Exceptions raised by the work are dropped."""

    def __init__(self, threads: int = 2) -> None:
        self._threads, self._running = threads, 0
        self._waiting: deque[tuple[str, Callable[[str], object]]] = deque()
        self._known: set[str] = set()  # names of work that is queued or running
        self._lock = Lock()

    def begin(self, name: str, work: Callable[[str], object]) -> None:
        """Queue `work(name)`, unless work of that name is queued or running."""
        with self._lock:
            if name in self._known:
                return
            self._known.add(name)
            self._waiting.append((name, work))
            if self._running == self._threads:
                return
            self._running += 1
        Thread(target=self._work, name="ahead", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._running -= 1
                    return
                name, work = self._waiting.popleft()
            with suppress(Exception):
                work(name)
            with self._lock:
                self._known.discard(name)
