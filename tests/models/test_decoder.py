"""The cached decoder equals the whole-stream model, and a slot's numbers never depend on its company."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from pinxit.functional.masks import Attention, Kind
from pinxit.models import decoder as module
from pinxit.models.cache import AddressBook
from pinxit.models.decoder import CachedDecoder
from pinxit.models.linear import absorb, prepare
from pinxit.models.transformer import TokenTransformer, TransformerConfig

SMALL: dict[str, Any] = {
    "text_vocab": 40, "text_tokens": 6, "image_codes": 70, "grid": 6, "dim": 64, "depth": 5, "heads": 4, "kernel": 3
}  # fmt: skip
both_kinds = pytest.mark.parametrize("kind", get_args(Attention))
both_types = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
N = 36


def stirred(**changes: Any) -> TokenTransformer:
    """A model whose every parameter matters: gains and biases are no longer at their initial values."""
    model, generator = TokenTransformer(TransformerConfig(**(SMALL | changes))), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


def sequences(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    text = torch.randint(0, 40, (count, 6), generator=generator)
    return text, torch.randint(0, 70, (count, N), generator=generator)


def replay(decoder: CachedDecoder, slots: list[int], text: Tensor, codes: Tensor, starts: list[int]) -> Tensor:
    """Logits [B, N, K] of given pictures: picture b goes into slots[b] and begins at step starts[b]."""
    out = torch.zeros(len(slots), N, decoder.codes, device=decoder.device)
    tokens, positions = torch.zeros(2, decoder.slots, dtype=torch.long, device=decoder.device)
    for time in range(max(starts) + N):
        for b, slot in enumerate(slots):
            p = time - starts[b]
            if p == 0:
                out[b, 0] = decoder.prefill([slot], text[b : b + 1])[0]
            if 0 <= p < N - 1:
                tokens[slot], positions[slot] = codes[b, p], p
        logits = decoder.step(tokens, positions)
        for b, slot in enumerate(slots):
            if 0 <= time - starts[b] < N - 1:
                out[b, time - starts[b] + 1] = logits[slot]
    return out


@both_kinds
@pytest.mark.parametrize(
    "changes",
    [{}, {"start_of_image": True}, {"tied": True}, {"kernel": 11}, {"depth": 1}],
    ids=["plain", "start", "tied", "wide", "one-layer"],
)
@torch.no_grad()
def test_cached_logits_equal_full_mask_logits(kind: str, changes: dict[str, Any]) -> None:
    """Slots begin at different times, so they stand at different positions at every step."""
    model, (text, codes) = stirred(attention=kind, **changes), sequences(3)
    _, expected = model(text, codes)
    got = replay(CachedDecoder(model, 4, torch.float32), [2, 0, 3], text, codes, [0, 3, 17])
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@both_kinds
@pytest.mark.parametrize("cache_dtype", [None, torch.bfloat16], ids=["fp32-cache", "bf16-cache"])
@torch.no_grad()
def test_bfloat16_comes_close(kind: str, cache_dtype: torch.dtype | None) -> None:
    model, (text, codes) = stirred(attention=kind), sequences(2)
    _, expected = model(text, codes)
    decoder = CachedDecoder(model, 2, torch.bfloat16, cache_dtype=cache_dtype)
    got = replay(decoder, [0, 1], text, codes, [0, 1])
    assert (got - expected).abs().mean() < 0.02 * expected.std()


@both_kinds
@both_types
def test_a_slot_is_the_same_bits_in_any_company(kind: str, dtype: torch.dtype) -> None:
    """Alone, in a crowd, in another slot, at another time, and in a slot that held another picture before."""
    model, (text, codes) = stirred(attention=kind), sequences(5)
    decoder = CachedDecoder(model, 5, dtype)
    crowd = replay(decoder, [0, 1, 2, 3, 4], text, codes, [0, 0, 0, 0, 0])
    moved = replay(decoder, [3, 0, 4, 1, 2], text, codes, [7, 2, 0, 0, 11])
    assert torch.equal(crowd, moved)
    alone = replay(CachedDecoder(model, 5, dtype), [4], text[:1], codes[:1], [0])
    assert torch.equal(alone[0], crowd[0])


@both_kinds
@both_types
def test_fewer_slots_and_fewer_places_are_the_same_bits(kind: str, dtype: torch.dtype) -> None:
    """What `widths` and `ordered` promise, on pictures and not on random rows; a machine beside holds others."""
    model, (text, codes) = stirred(attention=kind), sequences(8)
    decoder = CachedDecoder(model, 8, dtype)
    beside = decoder.beside()
    assert beside.layers is decoder.layers and decoder.widths((2, 4))[-1] == 8
    full = replay(decoder, [0, 1, 2], text[:3], codes[:3], [0, 3, 9])
    replay(beside, [2, 1, 0], text[3:6], codes[3:6], [0, 0, 0])
    again = {width: narrow(beside, width, text[:3], codes[:3]) for width in decoder.widths((2, 4)) if width >= 3}
    assert all(torch.equal(logits, full) for logits in again.values())
    for book in decoder.books.values():
        book.ordered = False  # all places are read
    assert torch.equal(replay(decoder, [0, 1, 2], text[:3], codes[:3], [0, 3, 9]), full)


def test_a_cache_of_all_places_is_as_long_as_the_furthest_slot_needs() -> None:
    """Only in raster order and in float32, whose sums do not change with the zeros at the end."""
    config = TransformerConfig(**SMALL)
    prefix, size = config.prefix, config.prefix + N

    def ends(kind: Kind, dtype: torch.dtype) -> list[int]:
        book = AddressBook(kind, config, 2, torch.device("cpu"), dtype)
        return [book.end(furthest) - book.size + size for furthest in (0, 31 - prefix, 32 - prefix, N - 1)]

    assert ends("dense", torch.float32) == [32, 32, size, size]
    assert ends("dense", torch.bfloat16) == ends("row", torch.float32) == [size] * 4


@both_kinds
@pytest.mark.parametrize("form", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("beside", [False, True])
def test_a_step_in_one_call_is_the_step_of_python(kind: str, form: str, beside: bool) -> None:
    """Bit for bit, in what it says and in what it keeps, at any width, place and fill of the cache."""
    dtype = torch.float32 if form == "fp32" else torch.bfloat16
    first = CachedDecoder(stirred(attention=kind), 4, dtype, int8=form == "int8")
    decoder, draws = first.beside() if beside else first, torch.Generator().manual_seed(2)
    assert decoder.run != decoder._run
    with torch.inference_mode():
        for width, last in ((4, 0), (2, 3), (1, 11), (4, 34), (3, 20), (4, 0)):
            tokens = torch.randint(70, (width,), generator=draws)
            places = torch.randint(last + 1, (width,), generator=draws)
            for cache in decoder.caches:
                cache.flat.normal_(generator=draws)
                cache.store_rows.normal_(generator=draws)
            decoder.step(tokens, places)  # makes room
            parts = [part for cache in decoder.caches for part in cache.parts]
            before, ways = [part.clone() for part in parts], []
            for step in (decoder._run, decoder.step):
                for part, was in zip(parts, before, strict=True):
                    part.copy_(was)
                said = step(tokens, (places + 1).clamp(max=34)).clone()
                ways.append([said, *(part.clone() for part in parts)])
            assert all(torch.equal(one, other) for one, other in zip(*ways, strict=True))
            assert not any(torch.equal(*pair) for pair in zip(ways[1][1:3], before[:2], strict=True))


@pytest.mark.parametrize("traced", [True, False], ids=["traced", "PYTORCH_JIT=0"])
def test_machines_beside_each_other_do_not_mix(monkeypatch: pytest.MonkeyPatch, traced: bool) -> None:
    """Two threads at once, over one recording: as alone."""
    if not traced:
        monkeypatch.setattr(torch.jit, "trace", lambda function, *_, **__: function)
    model, (text, codes) = stirred(attention="paper"), sequences(4)
    first = CachedDecoder(model, 2, torch.float32)
    alone = [replay(first, [0, 1], text[at : at + 2], codes[at : at + 2], [0, 0]) for at in (0, 2)]
    with ThreadPoolExecutor(2) as threads:
        both = threads.map(
            lambda decoder, at: replay(decoder, [0, 1], text[at : at + 2], codes[at : at + 2], [0, 0]),
            (first, first.beside()), (0, 2),
        )  # fmt: skip
    assert all(torch.equal(one, other) for one, other in zip(alone, both, strict=True))


def narrow(decoder: CachedDecoder, width: int, text: Tensor, codes: Tensor) -> Tensor:
    """`replay` in the first slots, of which `width` take part; the third begins late."""

    class Narrow:
        slots, codes, device, prefill, step = width, decoder.codes, decoder.device, decoder.prefill, decoder.step

    return replay(Narrow(), [0, 1, 2], text, codes, [0, 3, 9])  # type: ignore[arg-type]


def test_a_width_that_changes_bits_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = CachedDecoder(stirred(), 8, torch.bfloat16)
    usual, step = decoder.widths((2, 4)), decoder.step
    monkeypatch.setattr(decoder, "step", lambda tokens, places: step(tokens, places) + (len(tokens) == 4) * 1e-3)
    assert set(decoder.widths((2, 4))) == set(usual) - {4}


def test_a_slot_forgets_what_was_not_a_number() -> None:
    model, (text, codes) = stirred(), sequences(2)
    decoder = CachedDecoder(model, 2, torch.float32)
    expected = replay(decoder, [0], text[:1], codes[:1], [0])
    with torch.inference_mode():
        for cache in decoder.caches:
            cache.cache.fill_(torch.nan)
            cache.store_rows.fill_(torch.nan)
    assert torch.equal(replay(decoder, [0], text[:1], codes[:1], [0]), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@both_kinds
@torch.no_grad()
def test_a_gpu_decodes_the_same(kind: str) -> None:
    """The recorded step equals the whole-stream model of the CPU, and slots stay independent there too."""
    model, (text, codes) = stirred(attention=kind), sequences(3)
    _, expected = model(text, codes)
    model = model.cuda()

    def on_gpu(slots: list[int], rows: slice, starts: list[int], dtype: torch.dtype) -> Tensor:
        return replay(CachedDecoder(model, 3, dtype), slots, text[rows].cuda(), codes[rows].cuda(), starts).cpu()

    got = on_gpu([2, 0, 1], slice(0, 3), [0, 3, 17], torch.float32)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    crowd, alone = (
        on_gpu([0, 1, 2], slice(0, 3), [0, 0, 0], torch.bfloat16),
        on_gpu([2], slice(0, 1), [4], torch.bfloat16),
    )
    assert torch.equal(crowd[0], alone[0])


def test_prefixes_are_forgotten_but_never_mixed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 2)
    decoder, (text, _) = CachedDecoder(stirred(), 2, torch.float32), sequences(4)
    first = decoder.prefill([0] * 4, text)
    assert len(decoder.prefixes) == 2
    again = torch.cat([decoder.prefill([1], row[None]) for row in text[[2, 3, 0, 1]]])
    assert torch.equal(again, first[[2, 3, 0, 1]])
    assert not torch.equal(first[0], first[1])


def test_training_on_does_not_show() -> None:
    model, (text, _) = stirred(), sequences(1)
    decoder = CachedDecoder(model, 1, torch.float32)
    before = decoder.prefill([0], text)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    decoder.prefixes.clear()
    assert torch.equal(decoder.prefill([0], text), before)


def test_bytes_per_step_are_those_of_the_weights() -> None:
    model = stirred()
    weights = 12 * 64 * 64 * 5 + 70 * 64
    assert CachedDecoder(model, 1, torch.bfloat16).bytes_per_step == 2 * weights
    assert CachedDecoder(model, 1, torch.float32).bytes_per_step == 4 * weights


@torch.no_grad()
def test_int8_weights_come_close_and_halve_the_bytes() -> None:
    model, (text, codes) = stirred(), sequences(2)
    _, expected = model(text, codes)
    decoder = CachedDecoder(model, 2, torch.bfloat16, int8=True)
    got = replay(decoder, [0, 1], text, codes, [0, 0])
    assert (got - expected).abs().mean() < 0.05 * expected.std()
    assert decoder.bytes_per_step == 12 * 64 * 64 * 5 + 2 * 70 * 64


@both_types
@pytest.mark.parametrize("gelu", [False, True])
@torch.no_grad()
def test_prepared_layers_equal_the_plain_one(gelu: bool, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight, bias, add = (torch.randn(*shape, generator=generator) for shape in ((5, 48), (96, 48), (96,), (5, 96)))
    expected = torch.nn.functional.linear(x, weight, bias)
    expected = torch.nn.functional.gelu(expected) if gelu else expected + add
    got = prepare(weight, bias, dtype, gelu=gelu)(x.to(dtype), None if gelu else add.to(dtype))
    tolerance = 1e-5 if dtype == torch.float32 else 0.02
    torch.testing.assert_close(got.float(), expected, rtol=tolerance, atol=5 * tolerance)


@torch.no_grad()
def test_absorbed_norm() -> None:
    generator = torch.Generator().manual_seed(0)
    norm, linear = torch.nn.LayerNorm(16), torch.nn.Linear(16, 8)
    norm.weight.copy_(torch.randn(16, generator=generator))
    norm.bias.copy_(torch.randn(16, generator=generator))
    x = torch.randn(3, 16, generator=generator)
    got = torch.nn.functional.linear(
        torch.nn.functional.layer_norm(x, (16,)), *absorb(norm, linear.weight, linear.bias)
    )
    torch.testing.assert_close(got, linear(norm(x)))


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_int8_products_take_the_type_that_is_fast_on_a_cpu(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    taken: list[torch.dtype] = []
    product = torch._weight_int8pack_mm

    def noting(x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        taken.append(x.dtype)
        return product(x, *rest)

    monkeypatch.setattr(torch, "_weight_int8pack_mm", noting)
    layer = prepare(torch.randn(64, 96), torch.zeros(64), dtype, int8=True)
    assert layer(torch.randn(5, 96, dtype=dtype)).dtype == dtype and taken == [torch.bfloat16]


@torch.no_grad()
def test_int8_rows_have_scales_of_their_own() -> None:
    """A row a million times fainter than another comes out as exact as that one."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 96, generator=generator) * torch.logspace(-3, 3, 64)[:, None]
    x = torch.randn(5, 96, generator=generator).bfloat16()
    found, expected = prepare(weight, torch.zeros(64), torch.bfloat16, int8=True)(x).float(), x.float() @ weight.T
    assert ((found - expected).norm(dim=0) < 0.05 * expected.norm(dim=0)).all()
