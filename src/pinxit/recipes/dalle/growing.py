"""Growing a checkpoint's models: other text tokens, longer captions, more layers, a wider embedding.

What old and new model share is copied: rows of text tokens by the token's spelling, positions and layers by their
number. A new layer starts as the identity (its outputs are zero-initialised), so that the grown model draws what the
old one drew.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pinxit.training.initial import own_rows

if TYPE_CHECKING:
    from pinxit.text.tokenizers import Tokenizer

TOKEN_ROWS = {  # a module's tensors with a row for every text token
    "transformer": ("embed.text", "text_head"),
    "clip": ("text.tokens.weight",),
}
PLACES = ("positions", "positional_embedding")  # of a picture's tower: a row for each place of a map
_LAYER = re.compile(r"(?P<stack>.*blocks)\.(?P<number>\d+)\.(?P<rest>.*)")
_OUTPUTS = tuple(f"{layer}.{kind}" for layer in ("out", "down", "proj") for kind in ("weight", "bias"))


@dataclass(frozen=True, slots=True)
class Tokens:
    """A tokenizer and how many rows the models keep for its tokens."""

    tokenizer: Tokenizer
    vocab: int


class GrownWeights(Mapping[str, Tensor]):
    """Weights for `module` (called `name` in its recipe), grown from the weights `before`, whose tokens are `old`.

    Each is made when it is asked for, so that only one is in memory beside the model; on ranks that keep only their
    own rows of it, only those rows are right. `partly`: names of those that are drawn anew, in whole or in part.
    """

    def __init__(self, name: str, module: nn.Module, before: Mapping[str, Tensor], old: Tokens, new: Tokens) -> None:
        self.fresh, self.before, self.old, self.new = module.state_dict(), before, old, new
        self.of_tokens = TOKEN_ROWS.get(name, ())
        self.rows = _shared_rows(old.tokenizer, new.tokenizer)
        strange = not new.tokenizer.rows().keys() <= old.tokenizer.rows().keys()
        self.partly = newly_initialised(name, self.fresh, before, new.vocab - old.vocab, strange)

    def __getitem__(self, key: str) -> Tensor:
        value = own_rows(self.fresh[key])
        if key not in self.before:
            return torch.zeros_like(value) if _is_new_output(key, self.before) else value
        if key in self.of_tokens:
            return _tokens(value, self.before[key], self.rows, self.new.vocab, self.old.vocab)
        return _common(key, value, self.before[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self.fresh)

    def __len__(self) -> int:
        return len(self.fresh)


def newly_initialised(
    name: str, fresh: Mapping[str, Tensor], before: Mapping[str, Tensor], more: int, strange: bool
) -> frozenset[str]:
    """The names of the weights `fresh` of the module `name` that `before` lacks, or has only a part of.

    `more`: rows for text tokens more than before; `strange`: some tokens are others.
    """

    def whole(key: str, value: Tensor) -> bool:
        if key not in before:
            return False
        rows, *others = zip(value.shape, before[key].shape, strict=True) if value.ndim else [(0, 0)]
        if key in TOKEN_ROWS.get(name, ()):
            pads = len(value) - more <= len(before[key])
            return not strange and pads and all(now <= then for now, then in others)
        return all(now <= then for now, then in (rows, *others))

    return frozenset(key for key, value in fresh.items() if not whole(key, value))


def _shared_rows(old: Tokenizer, new: Tokenizer) -> Tensor:
    """Pairs (new id, old id) of the tokens that both have, int64 [pairs, 2]."""
    known = old.rows()
    return torch.tensor([(row, known[token]) for token, row in new.rows().items() if token in known])


def _tokens(value: Tensor, before: Tensor, rows: Tensor, new: int, old: int) -> Tensor:
    """Rows of tokens copied by their spelling, and the rows behind them, which are pads, by their position.

    Of rows of another width the common part is copied.
    """
    width = min(value.shape[1], before.shape[1])
    value[rows[:, 0], :width] = before[rows[:, 1], :width].to(value.dtype)
    pads = min(len(value) - new, len(before) - old)
    value[new : new + pads, :width] = before[old : old + pads, :width].to(value.dtype)
    return value


def _common(key: str, value: Tensor, before: Tensor) -> Tensor:
    """`_corner` of each of the three matrices that a packed one holds, and of a map of positions by row and column."""
    owner, _, leaf = key.rpartition(".")
    if owner.endswith("qkv"):
        now, then = (one.view(3, len(one) // 3, *one.shape[1:]) for one in (value, before))
        return _corner(now, then).view_as(value)
    if owner.startswith("visual") and leaf in PLACES and len(value) != len(before):
        (first, now), (begun, then) = (_map_of(one) for one in (value, before))
        return torch.cat([_corner(first, begun), _corner(now, then).flatten(0, 1)])
    return _corner(value, before)


def _map_of(places: Tensor) -> tuple[Tensor, Tensor]:
    """What comes before the map (a class token's place, or nothing) and the map [side, side, D] of places [N, D]."""
    side = math.isqrt(len(places))
    first, rest = places[: len(places) - side**2], places[len(places) - side**2 :]
    return first, rest.view(side, side, -1)


def _corner(value: Tensor, before: Tensor) -> Tensor:
    """`before` in the first corner of a tensor that may have grown along any axis."""
    if value.shape == before.shape:
        return before.to(value.dtype)
    common = tuple(slice(0, min(a, b)) for a, b in zip(value.shape, before.shape, strict=True))
    value[common] = before[common].to(value.dtype)
    return value


def _is_new_output(key: str, before: Mapping[str, Tensor]) -> bool:
    """Whether this is an output of a layer that the old model did not have, to be zero-initialised."""
    match = _LAYER.fullmatch(key)
    if match is None or not match["rest"].endswith(_OUTPUTS):
        return False
    return not any(name.startswith(f"{match['stack']}.{match['number']}.") for name in before)
