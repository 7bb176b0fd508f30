"""Autoregressive sampling as a worker: pictures code by code, with guidance, and codes that are known beforehand.

Every lane has a tile (`pipelines.token_tile`) with rows of its own; all tiles read the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from threading import Lock

import torch
from torch import Tensor

from pinxit.errors import UsageError
from pinxit.pipelines.token_tile import UNKNOWN, Decoder, DecodingState, Tile, TokenRequest, TokenResult
from pinxit.pipelines.work import WorkItem
from pinxit.pipelines.worker import ParallelExecutor, SerialExecutor

CODES = 4  # drawn in one call, so that tiles seldom wait for each other and the engine's overhead is small
WIDTHS = (1, 2, 4, 8, 12, 16, 24)  # numbers of rows to decode instead of a full tile's, where results stay the same


def rows_of(lanes: ParallelExecutor) -> int:
    """Rows of a tile: 32 (16 guided pictures) shared among the lanes, but at least 16, as every tile reads all weights.

    docs/log.md has the measurements.
    """
    return max(16, 32 // lanes.count)


class TokenWorker:
    """Draws in as many tiles as there are lanes. An item's value is a `TokenRequest`, its result a `TokenResult`."""

    def __init__(self, decoder: Decoder, lanes: ParallelExecutor | None = None, codes: int = CODES) -> None:
        self.decoder, self.lanes = decoder, lanes or SerialExecutor()
        (widths,) = self.lanes.run([partial(decoder.widths, WIDTHS)])
        decoders = [decoder, *(decoder.beside() for _ in range(self.lanes.count - 1))]
        drawing = Lock()
        self.tiles = [Tile(one, widths, drawing, codes) for one in decoders]
        self.width = decoder.slots * self.lanes.count

    def rows(self, item: WorkItem) -> int:
        """Two where it is guided."""
        request: TokenRequest = item.value
        return request.rows if item.state is None else len(item.state.rows)

    def fits(self, item: WorkItem) -> bool:
        """Whether some tile has rows for it."""
        return max(len(tile.free) for tile in self.tiles) >= self.rows(item)

    def tile(self, items: Sequence[WorkItem]) -> list[WorkItem]:
        """All items that have begun, and as many more, in order, as there are rows for."""
        free, chosen = [len(tile.free) for tile in self.tiles], []
        for item in items:
            emptiest = free.index(max(free))
            if item.state is None:
                free[emptiest] -= self.rows(item)
                if free[emptiest] < 0:  # neither it nor any after it, until there are rows for it
                    free = [0]
                    continue
            chosen.append(item)
        return chosen

    def begin(self, item: WorkItem) -> DecodingState:
        """Take rows of the emptiest tile. Raises UsageError for a request of the wrong shape or range."""
        self._check(item.value)
        tile = max(self.tiles, key=lambda tile: len(tile.free))
        rows = tuple(tile.free[: self.rows(item)])
        tile.free = tile.free[len(rows) :]
        return DecodingState(item.value, tile, rows)

    def step(self, states: Sequence[DecodingState]) -> None:
        """Draw the next few codes of each, the tiles in parallel."""
        shares = [[state for state in states if state.tile is tile] for tile in self.tiles]
        self.lanes.run([partial(share[0].tile.step, share) for share in shares if share])

    def done(self, state: DecodingState) -> bool:
        """Whether all codes are drawn."""
        return state.drawn == state.tile.length

    def result(self, state: DecodingState) -> TokenResult:
        """The codes. Raises ArithmeticError where the transformer's logits were not finite."""
        if not state.tile.sound[state.rows[0]]:
            raise ArithmeticError("the transformer gave numbers that are not finite")
        return TokenResult(self.preview(state), float(state.tile.score[state.rows[0]]))

    def end(self, state: DecodingState) -> None:
        """Free its rows and discard what they drew."""
        state.tile.leave(state.rows)

    def progress(self, state: DecodingState) -> float:
        """The share of codes that are drawn."""
        return state.drawn / state.tile.length

    def preview(self, state: DecodingState) -> Tensor:
        """The codes so far, int64 [h, w], UNKNOWN where none has been drawn."""
        codes = state.tile.codes[state.rows[0]] if state.begun else torch.full((state.tile.length,), UNKNOWN)
        return codes.view(self.decoder.grid, -1).clone()

    def _check(self, request: TokenRequest) -> None:
        grid, K, L = self.decoder.grid, self.decoder.codes, self.decoder.text_tokens
        if request.text.shape != (L,):
            raise UsageError(f"the text must be {L} token ids, not of shape {tuple(request.text.shape)}.")
        if request.known is not None and (
            request.known.shape != (grid, grid) or request.known.max() >= K or request.known.min() < UNKNOWN
        ):
            raise UsageError(f"known codes must be {grid} x {grid} numbers below {K}, or -1 where one is to be drawn.")
        for name, value in (("temperature", request.temperature), ("guidance", request.guidance)):
            if not 0 <= value < math.inf:
                raise UsageError(f"{name} must be at least 0 and finite, not {value}.")
        if request.top_k < 0 or not 0 < request.top_p <= 1:
            raise UsageError("top-k must not be negative, and top-p must be above 0 and at most 1.")
