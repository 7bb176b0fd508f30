"""Saving in the background: another thread writes a copy of the state while training goes on."""

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
    """Writes states into a folder, in the background (`behind` the training) or at once.

    In the background, a GPU does not wait for the disk, at the price of a copy of the state in memory; if the thread
    cannot write, the next call raises. When training on a CPU there is nothing to gain, as the copy takes the time of
    the same cores. If the state is sharded, all ranks must make the same calls.
    """

    def __init__(self, folder: Path, behind: bool) -> None:
        self.folder, self.behind = folder, behind
        self._pool = ThreadPoolExecutor(1, "state") if behind else None
        self._going: tuple[Saving, Future[None]] | None = None

    @classmethod
    def on(cls, folder: Path, device: torch.device) -> Writer:
        """A writer for training on `device`: in the background of a GPU, at once on a CPU."""
        return cls(folder, behind=device.type == "cuda")

    def save(self, state: State, plan: Mapping[str, Any]) -> None:
        """Write `state` as it is now. Raises what `State.save` does, now or at the next call."""
        self.finish()
        if self._pool is None:
            state.save(self.folder, plan)
        else:
            saving = state.prepared(self.folder, plan, copies=True)
            self._going = saving, self._pool.submit(saving.write)

    def finish_if_written(self) -> None:
        """Complete the save if all ranks have written it, without waiting for the next one. Raises as `finish` does."""
        if self._going is not None and not self._going[0].ranks.agreed(not self._going[1].done()):
            self.finish()

    def finish(self) -> None:
        """Wait for the save under way, if there is one. Raises PinxitError if it could not be written."""
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
