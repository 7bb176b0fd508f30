"""Saving while training goes on: a copy of the state is written by another thread, one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch

from pinxit.errors import PinxitError

if TYPE_CHECKING:
    from pinxit.training.saving import Saving
    from pinxit.training.state import State


class Writer:
    """Writes states into a folder, `behind` the training or at once.

    Behind it a GPU does not wait for the disk, and memory holds a second copy of the state; what a thread could not
    write is raised by the next call. A CPU has nothing to do meanwhile that the copy would not take from it. Where
    ranks write a state together all of them make the same calls.
    """

    def __init__(self, folder: Path, behind: bool) -> None:
        self.folder, self.behind = folder, behind
        self._pool = ThreadPoolExecutor(1, "state") if behind else None
        self._going: tuple[Saving, Future[None]] | None = None

    @classmethod
    def on(cls, folder: Path, device: torch.device) -> Writer:
        """As suits a device."""
        return cls(folder, behind=device.type == "cuda")

    def save(self, state: State, plan: Mapping[str, Any]) -> None:
        """Write `state` as it is now. Raises what `State.save` does, now or at the next call."""
        self.finish()
        if self._pool is None:
            state.save(self.folder, plan)
        else:
            saving = state.prepared(self.folder, plan, copies=True)
            self._going = saving, self._pool.submit(saving.write)

    def look(self) -> None:
        """Let what all have written count: it need not wait for the next save. Raises what `finish` does."""
        if self._going is not None and not self._going[0].ranks.agreed(not self._going[1].done()):
            self.finish()

    def finish(self) -> None:
        """Wait for what is being written. Raises PinxitError where that was impossible."""
        going, self._going = self._going, None
        if going is None:
            return
        error = None
        try:
            going[1].result()
        except PinxitError as found:
            error = found
        going[0].finish(error)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True)
        if kind is None:
            self.finish()
