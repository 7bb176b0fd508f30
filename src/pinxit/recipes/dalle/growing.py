"""Growing a checkpoint's models: other text tokens, longer captions, more layers, a wider embedding.

What old and new model share is copied: rows of text tokens by the token's spelling, positions and layers by their
number. A new layer starts as the identity (its outputs are zero-initialised), so that the grown model draws what the
old one drew.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from pinxit.text.tokenizers import Tokenizer

State = dict[str, Tensor]
TOKEN_ROWS = {  # a module's tensors with a row for every text token
    "transformer": ("embed.text", "text_head"),
    "clip": ("text.tokens.weight",),
}
_LAYER = re.compile(r"(?P<stack>.*blocks)\.(?P<number>\d+)\.(?P<rest>.*)")
_OUTPUTS = tuple(f"{layer}.{kind}" for layer in ("out", "down", "proj") for kind in ("weight", "bias"))


@dataclass(frozen=True, slots=True)
class Tokens:
    """A tokenizer and how many rows the models keep for its tokens."""

    tokenizer: Tokenizer
    vocab: int


def grown(name: str, module: nn.Module, before: Mapping[str, Tensor], old: Tokens, new: Tokens) -> State:
    """Weights for `module` (called `name` in its recipe), grown from the weights `before`, whose tokens are `old`."""
    fresh = {key: value.detach().clone() for key, value in module.state_dict().items()}
    rows = _shared_rows(old.tokenizer, new.tokenizer)
    state: State = {}
    for key, value in fresh.items():
        if key not in before:
            state[key] = torch.zeros_like(value) if _is_new_output(key, before) else value
        elif key in TOKEN_ROWS.get(name, ()):
            state[key] = _tokens(value, before[key], rows, new.vocab, old.vocab)
        else:
            state[key] = _corner(value, before[key])
    return state


def _shared_rows(old: Tokenizer, new: Tokenizer) -> Tensor:
    """Pairs (new id, old id) of the tokens that both have, int64 [pairs, 2]."""
    known = old.rows()
    return torch.tensor([(row, known[token]) for token, row in new.rows().items() if token in known])


def _tokens(value: Tensor, before: Tensor, rows: Tensor, new: int, old: int) -> Tensor:
    """Rows of tokens copied by their spelling, and the rows behind them, which are pads, by their position."""
    value = value.clone()
    value[rows[:, 0]] = before[rows[:, 1]].to(value.dtype)
    pads = min(len(value) - new, len(before) - old)
    value[new : new + pads] = before[old : old + pads].to(value.dtype)
    return value


def _corner(value: Tensor, before: Tensor) -> Tensor:
    """`before` in the first corner of a tensor that may have grown along any axis."""
    if value.shape == before.shape:
        return before.to(value.dtype)
    value = value.clone()
    common = tuple(slice(0, min(a, b)) for a, b in zip(value.shape, before.shape, strict=True))
    value[common] = before[common].to(value.dtype)
    return value


def _is_new_output(key: str, before: Mapping[str, Tensor]) -> bool:
    """Whether this is an output of a layer that the old model did not have, to be zero-initialised."""
    match = _LAYER.fullmatch(key)
    if match is None or not match["rest"].endswith(_OUTPUTS):
        return False
    return not any(name.startswith(f"{match['stack']}.{match['number']}.") for name in before)
