"""Pictures code by code: the stepper over a cached decoder, with guidance and rectangles to complete.

Shapes: S slots, R = S or 2 S rows of the decoder (guidance needs an unconditional twin for every slot), L text
positions, N = h w picture positions, K codes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pinxit.errors import UsageError
from pinxit.functional.sampling import guide, sample, uniforms

UNKNOWN = -1  # stands for a code that is not known (yet)


class Decoder(Protocol):
    """What the stepper needs: rows that stand at positions of their own and never see each other."""

    slots: int  # R
    text_tokens: int  # L
    grid: int  # h = w
    codes: int  # K
    device: torch.device

    def prefill(self, slots: Sequence[int], text_BL: Tensor) -> Tensor:
        """Start rows on texts; logits [B, K] of the first code."""
        ...

    def step(self, tokens_S: Tensor, positions_S: Tensor) -> Tensor:
        """Feed every row the code at its position; logits [R, K] of the next code."""
        ...


@dataclass(frozen=True)
class TokenRequest:
    """One picture to draw. (text, seed, candidate) and the settings name it for ever."""

    text: Tensor  # int64 [L], pads 0
    seed: int = 0
    candidate: int = 0
    temperature: float = 1.0  # 0 takes the likeliest code every time
    top_k: int = 0  # draw from the k likeliest codes; 0 is all
    top_p: float = 1.0  # draw from the likeliest codes that add up to p; 1 is all
    guidance: float = 1.0  # classifier-free guidance; 1 is none
    known: Tensor | None = None  # int64 [h, w]: codes that are given, UNKNOWN (-1) where one is to be drawn


@dataclass(frozen=True)
class TokenResult:
    """A finished picture."""

    codes: Tensor  # int64 [h, w]
    log_likelihood: float  # nats, of the known codes behind the first drawn one: how well the hole's filling leads on


class TokenStepper:
    """Draws `slots` pictures at once. With `guided`, half of the decoder's rows run on the empty text."""

    def __init__(self, decoder: Decoder, guided: bool = True) -> None:
        if guided and decoder.slots % 2:
            raise UsageError(f"guidance pairs the decoder's rows: slots must be even, not {decoder.slots}.")
        self.decoder, self.guided = decoder, guided
        self.slots = decoder.slots // 2 if guided else decoder.slots
        self.length = decoder.grid**2
        S, device = self.slots, decoder.device
        self.requests: list[TokenRequest | None] = [None] * S
        self.drawn = [0] * S  # codes drawn so far
        self.finished: list[tuple[int, TokenResult]] = []
        with torch.inference_mode():
            self.logits = torch.zeros(decoder.slots, decoder.codes, device=device)
            self.uniform = torch.zeros(S, self.length, device=device)
            self.known = torch.full((S, self.length), UNKNOWN, device=device)
            self.codes = torch.full((S, self.length), UNKNOWN, device=device)
            self.position = torch.zeros(S, 1, dtype=torch.long, device=device)
            self.behind = torch.full((S,), self.length, device=device)  # known codes from here on are scored
            self.score = torch.zeros(S, device=device)
            self.settings = torch.ones(4, S, device=device)  # temperature, top-k, top-p, guidance

    @property
    def free(self) -> int:
        """How many requests can be admitted now."""
        return self.requests.count(None)

    @torch.inference_mode()
    def admit(self, request: TokenRequest) -> int:
        """Start a picture. Raises UsageError for a request of the wrong shape or range; needs a free slot."""
        self._check(request)
        slot, device = self.requests.index(None), self.decoder.device
        text = request.text.to(device)[None]
        self.logits[slot] = self.decoder.prefill([slot], text)[0]
        if self.guided:
            self.logits[self.slots + slot] = self.decoder.prefill([self.slots + slot], torch.zeros_like(text))[0]
        self.uniform[slot] = uniforms(request.seed, request.candidate, self.length).to(device)
        known = torch.full((self.length,), UNKNOWN) if request.known is None else request.known.flatten()
        self.known[slot] = known.to(device)
        self.behind[slot] = int((known == UNKNOWN).int().argmax()) if (known == UNKNOWN).any() else self.length
        self.codes[slot], self.position[slot], self.score[slot] = UNKNOWN, 0, 0
        numbers = (request.temperature, request.top_k or self.decoder.codes, request.top_p, request.guidance)
        self.settings[:, slot] = torch.tensor(numbers, device=device)
        self.requests[slot], self.drawn[slot] = request, 0
        return slot

    @torch.inference_mode()
    def step(self) -> None:
        """Draw the next code of every occupied slot, and feed it where another follows."""
        asked = [request for request in self.requests if request is not None]
        code_S = self._draw(asked)
        if any(request.known is not None for request in asked):
            code_S = self._heed_known(code_S)
        self.codes.scatter_(1, self.position, code_S[:, None])
        for slot in self._working():
            self.drawn[slot] += 1
            if self.drawn[slot] == self.length:
                self.finished.append((slot, self._result(slot)))
        if self._working():
            self._feed(code_S)
        self.position = (self.position + 1).clamp_(max=self.length - 1)

    def collect(self) -> list[tuple[int, TokenResult]]:
        """What has been finished since the last call, with its slot, which is free from now on."""
        finished, self.finished = self.finished, []
        for slot, _ in finished:
            self.cancel(slot)
        return finished

    def cancel(self, slot: int) -> None:
        """Free a slot; what it drew is lost."""
        self.requests[slot], self.drawn[slot] = None, 0
        self.finished = [(other, result) for other, result in self.finished if other != slot]

    def progress(self, slot: int) -> float:
        """How far an occupied slot has come, 0 to 1."""
        return self.drawn[slot] / self.length

    def partial(self, slot: int) -> Tensor:
        """The codes of an occupied slot so far, int64 [h, w], UNKNOWN where none has been drawn: for previews."""
        return self.codes[slot].view(self.decoder.grid, -1).clone()

    def _working(self) -> list[int]:
        """The occupied slots that still have codes to draw."""
        return [s for s, request in enumerate(self.requests) if request is not None and self.drawn[s] < self.length]

    def _draw(self, asked: list[TokenRequest]) -> Tensor:
        temperature, top_k, top_p, guidance = self.settings
        logits = self.logits[: self.slots]
        if self.guided:
            logits = guide(logits, self.logits[self.slots :], guidance)
        return sample(
            logits,
            self.uniform.gather(1, self.position)[:, 0],
            temperature,
            top_k.long() if any(request.top_k for request in asked) else None,
            top_p if any(request.top_p < 1 for request in asked) else None,
            greedy=any(request.temperature == 0 for request in asked),
        )

    def _heed_known(self, code_S: Tensor) -> Tensor:
        """Given codes instead of drawn ones.

        Their log-likelihood, under the text and unguided, counts from the first drawn code on.
        """
        known_S1 = self.known.gather(1, self.position)
        log_p = self.logits[: self.slots].log_softmax(1).gather(1, known_S1.clamp(min=0))[:, 0]
        known_S = known_S1[:, 0]
        self.score += torch.where((known_S != UNKNOWN) & (self.position[:, 0] > self.behind), log_p, 0)
        return torch.where(known_S == UNKNOWN, code_S, known_S)

    def _feed(self, code_S: Tensor) -> None:
        place_S = self.position[:, 0].clamp(max=self.length - 2)  # the last code is never fed
        if self.guided:
            code_S, place_S = torch.cat([code_S, code_S]), torch.cat([place_S, place_S])
        self.logits = self.decoder.step(code_S, place_S)

    def _result(self, slot: int) -> TokenResult:
        return TokenResult(self.partial(slot), float(self.score[slot]))

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
        if request.guidance != 1 and not self.guided:
            raise UsageError(f"guidance {request.guidance} needs a guided stepper.")
