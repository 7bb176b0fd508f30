"""Fast decoding of the token transformer: one new token for every slot per step, with a key-value cache.

Every slot decodes a sequence of its own, at a position of its own, and no operation mixes slots: a slot's results are
bit for bit the same whatever the others hold, and whether R of them take part or another number that `widths` returns.
Shapes: S slots of which the first R take part in a step, L text positions, P prefix positions, N picture tokens, K
codes, D width, H heads.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pinxit.functional.masks import Kind
from pinxit.models.cache import AddressBook, Addresses, LayerCache
from pinxit.models.dtypes import fastest_dtype
from pinxit.models.gpt import GPTBlock
from pinxit.models.graph_capture import CudaGraphFunction, TracedFunction
from pinxit.models.linear import InferenceLinear, absorb, prepare
from pinxit.models.transformer import TokenTransformer

REMEMBERED = 4  # prefixes kept: candidates of one prompt share theirs, and all guided ones share the empty text's


@dataclass(frozen=True)
class Prefix:
    """A prefilled text: every layer's keys and values [2, H, P, D / H], and the first code's logits [K]."""

    keys_values: list[Tensor]
    logits: Tensor


class Layer:
    """One block with weights prepared for inference."""

    def __init__(self, block: GPTBlock, dtype: torch.dtype, int8: bool) -> None:
        self.heads, self.shape = block.heads, (block.out.in_features,)
        self.qkv = prepare(*absorb(block.norm1, block.qkv.weight, block.qkv.bias), dtype, int8=int8)
        self.out = prepare(block.out.weight, block.out.bias, dtype, int8=int8)
        self.up = prepare(*absorb(block.norm2, block.up.weight, block.up.bias), dtype, gelu=True, int8=int8)
        self.down = prepare(block.down.weight, block.down.bias, dtype, int8=int8)
        self.products = (self.qkv, self.out, self.up, self.down)

    def step(self, x_RD: Tensor, cache: LayerCache, at: Addresses) -> Tensor:
        """One token of every slot that takes part, [R, D] -> [R, D]."""
        y_RD = cache.attend(self.qkv(F.layer_norm(x_RD, self.shape)), at)
        return self._finish(x_RD, y_RD)

    def prefix(self, x_PD: Tensor, kept: torch.dtype) -> tuple[Tensor, Tensor]:
        """One whole prefix, [P, D] -> [P, D], and its keys and values [2, H, P, D / H] in the cache's type."""
        P, D = x_PD.shape
        qkv = self.qkv(F.layer_norm(x_PD, self.shape)).to(kept)
        q, k, v = qkv.view(P, 3, self.heads, -1).permute(1, 2, 0, 3).contiguous()
        y = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)
        y_PD = y[0].transpose(0, 1).reshape(P, D).to(x_PD.dtype)
        return self._finish(x_PD, y_PD), torch.stack([k, v])

    def _finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = self.out(mixed, add=x)
        return self.down(self.up(F.layer_norm(x, self.shape)), add=x)


class CachedDecoder:
    """Decodes `slots` sequences at once; gives the logits of `TokenTransformer.forward` at a fraction of the work.

    Weights are copied and prepared at construction: later changes of `model` have no effect. `dtype` is that of matrix
    products (None: the device's fastest) and `cache_dtype` that of keys and values (None: float32 on a CPU, whose
    float32 attention is faster and more exact, else `dtype`). `int8` keeps the weights as int8 (one scale per output),
    half the bytes to read per step.
    """

    def __init__(
        self,
        model: TokenTransformer,
        slots: int,
        dtype: torch.dtype | None = None,
        int8: bool = False,
        cache_dtype: torch.dtype | None = None,
    ) -> None:
        config, self.device = model.config, model.embed.image.device
        self.config, self.slots, self.codes, self.grid = config, slots, config.image_codes, config.grid
        self.text_tokens = config.text_tokens
        self.dtype = dtype or fastest_dtype(self.device)
        self.kept = cache_dtype or (torch.float32 if self.device.type == "cpu" else self.dtype)
        with torch.inference_mode():
            self.embed = deepcopy(model.embed).requires_grad_(False)
            self.places = self.embed.image_places()
            self.kinds = config.kinds
            self.books = {kind: AddressBook(kind, config, slots, self.device, self.kept) for kind in set(self.kinds)}
            self.layers = [Layer(block, self.dtype, int8) for block in model.blocks]  # type: ignore[arg-type]
            self.head = prepare(*absorb(model.norm, model.image_rows(), None), self.dtype)
        self.run: Callable[[Tensor, Tensor], Tensor] = self._run
        self.prefixes: OrderedDict[bytes, Prefix] = OrderedDict()
        self.prefilling = threading.Lock()
        self._allocate()
        for kind, cache in dict(zip(self.kinds, self.caches, strict=True)).items():
            self.books[kind].ordered &= ends_do_not_show(cache, self.books[kind])

    def beside(self) -> CachedDecoder:
        """Another decoder of as many slots, with caches of its own and the same weights."""
        other = copy(self)
        other._allocate()
        return other

    @torch.inference_mode()
    def _allocate(self) -> None:
        self.caches = [
            LayerCache(self.books[kind], self.config, self.slots, self.device, self.kept) for kind in self.kinds
        ]
        self.spare = torch.empty_like(max((cache.flat for cache in self.caches), key=len))
        self.run = self._recorded()

    def _recorded(self) -> Callable[[Tensor, Tensor], Tensor]:
        if self.device.type == "cuda":
            return CudaGraphFunction(self._run)
        if self.device.type != "cpu":
            return self._run
        if isinstance(self.run, TracedFunction):
            return self.run.beside(self._run, self._held)
        return TracedFunction(self._run, self._held, *torch.zeros(2, self.slots, dtype=torch.long))

    def _products(self) -> list[InferenceLinear]:
        return [*(product for layer in self.layers for product in layer.products), self.head]

    def _held(self) -> list[Tensor]:
        """What a trace must not take for constants: packed weights and caches."""
        return [
            *(product.weight for product in self._products()),
            *(part for cache in self.caches for part in cache.parts),
        ]

    @torch.inference_mode()
    def widths(self, candidates: Sequence[int]) -> tuple[int, ...]:
        """The numbers R of slots, of `candidates`, whose logits are bit for bit those of a step of all S slots; and S.

        Found by trying them on random caches. A GPU's step is recorded for S alone.
        """
        if self.device.type == "cuda":
            return (self.slots,)
        draws, last = torch.Generator().manual_seed(0), self.grid**2 - 2
        for cache in self.caches:
            cache.cache.normal_(generator=draws)
        tokens_2S = torch.randint(self.codes, (2, self.slots), generator=draws)
        positions_2S = torch.randint(last + 1, (2, self.slots), generator=draws)
        positions_2S[:, 0] = last  # so that caches are equally long for every R

        def logits_of(R: int) -> Tensor:
            both = zip(tokens_2S[:, :R], positions_2S[:, :R], strict=True)
            return torch.stack([self.step(tokens, places) for tokens, places in both])

        logits_of(self.slots)  # fills both positions: the later one may be fed first, before the earlier one's key
        full = logits_of(self.slots)
        fewer = (R for R in sorted(candidates) if self.slots > R)
        return (*(R for R in fewer if torch.equal(logits_of(R), full[:, :R])), self.slots)

    @property
    def bytes_per_step(self) -> int:
        """Bytes of weights that one step reads."""
        return sum(product.bytes for product in self._products())

    @torch.inference_mode()
    def prefill(self, slots: Sequence[int], text_BL: Tensor) -> Tensor:
        """Start slot `slots[b]` on text b (int64 [B, L], pads 0); returns the first code's logits, float32 [B, K]."""
        logits = []
        for slot, text_L in zip(slots, text_BL, strict=True):
            prefix = self._prefix(text_L)
            for cache, keys_values in zip(self.caches, prefix.keys_values, strict=True):
                cache.load(slot, keys_values)
            logits.append(prefix.logits)
        return torch.stack(logits)

    @torch.inference_mode()
    def step(self, tokens_R: Tensor, positions_R: Tensor) -> Tensor:
        """Feed the first R slots their codes `tokens_R`, which stand at picture positions `positions_R` < N - 1.

        Both int64 [R]. Returns the logits of each slot's next code, float32 [R, K]. Unoccupied slots are fed anything
        in range; a slot's positions must be fed in order, 0 first, and may be fed again. A slot that takes no part, or
        goes back to an earlier position, may lose the keys of later ones. The result is the caller's to overwrite, but
        only until the next call, which may reuse it.
        """
        if any(book.ordered for book in self.books.values()):
            furthest = int(positions_R.max())
            for kind, cache in zip(self.kinds, self.caches, strict=True):
                self.spare = cache.fit(self.books[kind].end(furthest), self.spare)
        return self.run(tokens_R, positions_R)

    def _run(self, tokens_R: Tensor, positions_R: Tensor) -> Tensor:
        x_RD = (F.embedding(tokens_R, self.embed.image) + F.embedding(positions_R, self.places)).to(self.dtype)
        places = {kind: cache.cache.shape[3] for kind, cache in zip(self.kinds, self.caches, strict=True)}
        at: dict[Kind, Addresses] = {kind: book.at(positions_R, places[kind]) for kind, book in self.books.items()}
        for kind, layer, cache in zip(self.kinds, self.layers, self.caches, strict=True):
            x_RD = layer.step(x_RD, cache, at[kind])
        return self._logits(x_RD)

    def _logits(self, x_SD: Tensor) -> Tensor:
        return self.head(F.layer_norm(x_SD, x_SD.shape[-1:])).float()

    def _prefix(self, text_L: Tensor) -> Prefix:
        """One text at a time, so that its bits do not depend on how many arrive with it."""
        key = text_L.cpu().numpy().tobytes()
        with self.prefilling:  # decoders that share weights share their prefixes too
            if key not in self.prefixes:
                x_PD, kept = self.embed.prefix(text_L[None].to(self.device))[0].to(self.dtype), []
                for layer in self.layers:
                    x_PD, keys_values = layer.prefix(x_PD, self.kept)
                    kept.append(keys_values)
                self.prefixes[key] = Prefix(kept, self._logits(x_PD[-1:])[0])
                if len(self.prefixes) > REMEMBERED:
                    self.prefixes.popitem(last=False)
            self.prefixes.move_to_end(key)
            return self.prefixes[key]


@torch.inference_mode()
def ends_do_not_show(cache: LayerCache, book: AddressBook) -> bool:
    """Whether attention over a shortened cache equals, bit for bit, attention over all of it with the rest masked.

    Tried on random numbers, because it depends on the order in which the CPU's kernels sum.
    """
    if not book.ordered:
        return False
    draws, first, same = torch.Generator().manual_seed(0), book.size - len(book.write), True
    cache.cache.normal_(generator=draws)
    query = torch.randn(cache.slots, cache.heads, cache.cache.shape[-1], generator=draws)
    bias = {end: book.bias[max(0, end - first - 1)].expand(cache.slots * cache.heads, 1, -1) for end in book.ends}
    whole, spare = {end: cache.mix(query, bias[end]) for end in book.ends}, torch.empty_like(cache.flat)
    for end in reversed(book.ends):
        spare = cache.fit(end, spare)
        same &= torch.equal(cache.mix(query, bias[end][..., :end]), whole[end])
    cache.fit(book.size, spare)
    return same
