"""One decoder of a token transformer with R rows of cache; a request takes one row, or two if it is guided.

The second row of a guided request decodes under the empty text. Shapes: B items of a call, N = h w positions, K codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

import torch
from torch import Tensor

from pinxit.functional.sampling import guide, sample, uniforms

UNKNOWN = -1  # in place of a code that is not known (yet)


class Decoder(Protocol):
    """What a tile needs: rows at positions of their own, none of which depends on another."""

    slots: int  # R
    text_tokens: int  # L
    grid: int  # h = w
    codes: int  # K
    device: torch.device

    def beside(self) -> Decoder:
        """Another decoder of as many rows, with the same weights and caches of its own."""
        ...

    def widths(self, candidates: Sequence[int]) -> tuple[int, ...]:
        """The numbers of rows, of `candidates`, whose logits are bit for bit those of a call of all R rows; and R."""
        ...

    def prefill(self, slots: Sequence[int], text_BL: Tensor) -> Tensor:
        """Start rows on texts; logits [B, K] of the first code."""
        ...

    def step(self, tokens_R: Tensor, positions_R: Tensor) -> Tensor:
        """Feed each of the first rows the code at its position; logits [R, K] of the next code."""
        ...


@dataclass(frozen=True)
class TokenRequest:
    """One picture to draw: a function of (text, seed, candidate) and the settings."""

    text: Tensor  # int64 [L], pads 0
    seed: int = 0
    candidate: int = 0
    temperature: float = 1.0  # 0 takes the likeliest code every time
    top_k: int = 0  # draw from the k likeliest codes; 0 is all
    top_p: float = 1.0  # draw from the likeliest codes that add up to p; 1 is all
    guidance: float = 1.0  # classifier-free guidance; 1 is none
    known: Tensor | None = None  # int64 [h, w]: codes that are given, UNKNOWN (-1) where one is to be drawn

    @property
    def rows(self) -> int:
        """Two where it is guided."""
        return 1 if self.guidance == 1 else 2


@dataclass(frozen=True)
class TokenResult:
    """A finished picture."""

    codes: Tensor  # int64 [h, w]
    log_likelihood: float  # nats, of the known codes after the first drawn one: how well they continue what was drawn


@dataclass(eq=False)
class DecodingState:
    """The state of a request: the rows it occupies, and how far it has come."""

    request: TokenRequest
    tile: Tile
    rows: tuple[int, ...]  # the text's first, then the empty text's
    drawn: int = 0  # codes so far
    begun: bool = False  # whether its text has been prefilled


class Tile:
    """A decoder and the state of its rows; rows that take no part in a call are fed again what they were fed last."""

    def __init__(self, decoder: Decoder, widths: Sequence[int], drawing: Lock, codes: int) -> None:
        self.decoder, self.widths, self.length = decoder, widths, decoder.grid**2
        self.drawing, self.codes_a_call = drawing, codes  # a lock that one tile at a time holds, see `step`
        self.free = list(range(decoder.slots))
        R, device = decoder.slots, decoder.device
        with torch.inference_mode():
            self.logits = torch.zeros(R, decoder.codes, device=device)
            self.uniform = torch.zeros(R, self.length, device=device)
            self.known, self.codes = torch.full((2, R, self.length), UNKNOWN, device=device)
            self.fed, self.position = torch.zeros(2, R, dtype=torch.long, device=device)
            self.behind = torch.zeros(R, dtype=torch.long, device=device)  # known codes from here on are scored
            self.score = torch.zeros(R, device=device)
            self.sound = torch.ones(R, dtype=torch.bool, device=device)  # whether all numbers so far were finite
            self.settings = torch.ones(4, R, device=device)  # temperature, top-k, top-p, guidance

    @torch.inference_mode()
    def step(self, states: Sequence[DecodingState]) -> None:
        """Draw the next few codes of each, and feed them to the decoder unless they are the last.

        Drawing is dozens of short operations: tiles that drew at the same time would contend for the GIL at each.
        """
        for state in states:
            if not state.begun:
                self._begin(state)
        for _ in range(self.codes_a_call):
            with self.drawing:
                states = self._draw_next(states)
                width = self._set_positions(states) if states else 0
            if not states:
                return
            self._feed(states, width)

    def _draw_next(self, states: Sequence[DecodingState]) -> list[DecodingState]:
        """Draw a code for each, to be fed to its rows; the states that have more codes to come."""
        row_B = self._index([state.rows[0] for state in states])
        at_B = self._index([state.drawn for state in states])
        code_B = self._draw(states, row_B, at_B)
        if any(state.request.known is not None for state in states):
            code_B = self._replace_known(code_B, row_B, at_B)
        self.codes[row_B, at_B] = code_B
        for state in states:
            state.drawn += 1
        rows = self._index([row for state in states for row in state.rows])
        self.fed[rows] = code_B.repeat_interleave(self._index([len(state.rows) for state in states]))
        return [state for state in states if state.drawn < self.length]

    @torch.inference_mode()
    def leave(self, rows: Sequence[int]) -> None:
        """Free rows, and put them at position 0, so that they do not keep the caches long."""
        self.free = sorted([*self.free, *rows])
        self.fed[list(rows)], self.position[list(rows)] = 0, 0

    def _begin(self, state: DecodingState) -> None:
        request, (row, *twin), device = state.request, state.rows, self.decoder.device
        text = request.text.to(device)[None]
        self.logits[row] = self.decoder.prefill([row], text)[0]
        for other in twin:
            self.logits[other] = self.decoder.prefill([other], torch.zeros_like(text))[0]
        self.uniform[row] = uniforms(request.seed, request.candidate, self.length).to(device)
        known = torch.full((self.length,), UNKNOWN) if request.known is None else request.known.flatten()
        self.known[row] = known.to(device)
        self.behind[row] = int((known == UNKNOWN).int().argmax()) if (known == UNKNOWN).any() else self.length
        self.codes[row], self.score[row], self.sound[row] = UNKNOWN, 0, True
        numbers = (request.temperature, request.top_k or self.decoder.codes, request.top_p, request.guidance)
        self.settings[:, row] = torch.tensor(numbers, device=device)
        rows = list(state.rows)
        self.fed[rows], self.position[rows] = 0, 0
        state.begun = True

    def _draw(self, states: Sequence[DecodingState], row_B: Tensor, at_B: Tensor) -> Tensor:
        requests = [state.request for state in states]
        temperature, top_k, top_p, guidance = self.settings[:, row_B]
        logits = select_rows(self.logits, [state.rows[0] for state in states])
        if any(len(state.rows) > 1 for state in states):
            logits = guide(logits, select_rows(self.logits, [state.rows[-1] for state in states]), guidance)
        sound_B = logits.sum(1).isfinite()
        if sound_B.device.type != "cpu" or not sound_B.all():
            self.sound[row_B] &= sound_B  # read at the end only, as reading it synchronises a GPU
            logits = torch.where(sound_B[:, None], logits, 0)
        return sample(
            logits,
            self.uniform[row_B, at_B],
            temperature,
            top_k.long() if any(request.top_k for request in requests) else None,
            top_p if any(request.top_p < 1 for request in requests) else None,
            greedy=any(request.temperature == 0 for request in requests),
        )

    def _replace_known(self, code_B: Tensor, row_B: Tensor, at_B: Tensor) -> Tensor:
        """Known codes in place of drawn ones.

        From the first drawn code on, their log-likelihoods, under the text and unguided, are added to the score.
        """
        known_B = self.known[row_B, at_B]
        log_p = self.logits[row_B].log_softmax(1).gather(1, known_B.clamp(min=0)[:, None])[:, 0]
        self.score[row_B] += torch.where((known_B != UNKNOWN) & (at_B > self.behind[row_B]), log_p, 0)
        return torch.where(known_B == UNKNOWN, code_B, known_B)

    def _set_positions(self, working: Sequence[DecodingState]) -> int:
        """Set the positions of the codes that are fed next; how many rows the call will have."""
        fed = [(row, state.drawn - 1) for state in working for row in state.rows]
        rows, places = (self._index(numbers) for numbers in zip(*fed, strict=True))
        self.position[rows] = places
        return next(width for width in self.widths if width > max(self._taken()))

    def _feed(self, working: Sequence[DecodingState], width: int) -> None:
        logits = self.decoder.step(self.fed[:width], self.position[:width])
        rows = [row for state in working for row in state.rows]
        if not self._taken() <= set(rows):
            at = self._index(rows)
            self.logits[at] = logits[at]
        elif width == self.decoder.slots:
            self.logits = logits
        else:
            self.logits[:width] = logits  # much faster than row by row

    def _taken(self) -> set[int]:
        return set(range(self.decoder.slots)).difference(self.free)

    def _index(self, numbers: Sequence[int]) -> Tensor:
        return torch.tensor(numbers, device=self.decoder.device)


def select_rows(x: Tensor, rows: Sequence[int]) -> Tensor:
    """Rows of `x`: a view where they are equally spaced, as a full tile's are, else a copy."""
    stride = rows[1] - rows[0] if len(rows) > 1 else 1
    if stride > 0 and list(rows) == list(range(rows[0], rows[0] + stride * len(rows), stride)):
        return x[rows[0] : rows[-1] + 1 : stride]
    return x[torch.tensor(rows, device=x.device)]
