"""Tokens per second of the cached decoder, beside transformers' Llama of the same shape, in one run.

    python benchmarks/autoregress.py --dim 512 --depth 8 --heads 8 --text-tokens 64 --image-tokens 256 --batch 1 \
        --dtype bfloat16

Both draw the picture's tokens after the text at temperature 1, from random weights, prefill included: ours through the
worker that paints, the peer through `generate` with its dynamic cache. Llama's MLP has three matrices instead of two,
so its inner width is 8/3 of the width: as many parameters. Rounds alternate; medians count. `roofline_share` is
what a step cannot do without over the time that it took: reading all weights and the caches once, as fast as a sum
reads a block of as many bytes in the same round, since what memory can deliver changes with the machine's other work.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Callable, Sequence

import torch

from common import alternating, matrix_rate, median_ratio
from pinxit.models.decoder import CachedDecoder
from pinxit.models.transformer import TokenTransformer, TransformerConfig
from pinxit.pipelines.run import run
from pinxit.pipelines.token_tile import TokenRequest
from pinxit.pipelines.tokens import TokenWorker


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"dim": 512, "depth": 8, "heads": 8, "text-tokens": 64, "image-tokens": 256}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--codes", type=int, default=8192, help="vocabulary of both models' output")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--attention", default="paper", choices=["paper", "dense"])
    parser.add_argument("--int8", action="store_true", help="our weights as int8")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args(words)


def ours(
    args: argparse.Namespace, dtype: torch.dtype, device: torch.device
) -> tuple[Callable[[], object], CachedDecoder]:
    """Painting `batch` pictures, and the decoder that does it."""
    grid = math.isqrt(args.image_tokens)
    if grid * grid != args.image_tokens:
        raise SystemExit(f"--image-tokens must be a square number, not {args.image_tokens}")
    config = TransformerConfig(
        args.codes, args.text_tokens, args.codes, grid, args.dim, args.depth, args.heads, args.attention
    )
    decoder = CachedDecoder(TokenTransformer(config).to(device), args.batch, dtype, args.int8)
    worker, generator = TokenWorker(decoder), torch.Generator().manual_seed(0)

    def paint() -> None:
        texts = torch.randint(1, args.codes, (args.batch, args.text_tokens), generator=generator)
        run(worker, [TokenRequest(text, candidate=number) for number, text in enumerate(texts)])

    return paint, decoder


def peer(args: argparse.Namespace, dtype: torch.dtype, device: torch.device) -> Callable[[], object]:
    """transformers' Llama drawing as many tokens after as long a text."""
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=args.codes,
        hidden_size=args.dim,
        intermediate_size=round(args.dim * 8 / 3 / 16) * 16,
        num_hidden_layers=args.depth,
        num_attention_heads=args.heads,
        max_position_embeddings=args.text_tokens + args.image_tokens,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    model = LlamaForCausalLM(config).to(device, dtype).eval()
    how = GenerationConfig(
        do_sample=True, top_k=0, max_new_tokens=args.image_tokens, min_new_tokens=args.image_tokens, pad_token_id=0
    )
    generator = torch.Generator().manual_seed(0)

    def generate() -> None:
        texts = torch.randint(1, args.codes, (args.batch, args.text_tokens), generator=generator).to(device)
        out = model.generate(texts, attention_mask=torch.ones_like(texts), generation_config=how)
        assert out.shape[1] == args.text_tokens + args.image_tokens

    return generate


def reading(size: int, times: int, device: torch.device) -> Callable[[], object]:
    """Sums over a block of `size` bytes, one after the other."""
    block = torch.ones(size // 4, device=device)

    def read() -> None:
        for _ in range(times):
            block.sum()

    return read


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print a small table, then one line of JSON."""
    args = arguments(words)
    dtype, device = getattr(torch, args.dtype), torch.device(args.device)
    torch.manual_seed(0)
    paint, decoder = ours(args, dtype, device)
    generate = peer(args, dtype, device)
    read_bytes = decoder.bytes_per_step + sum(cache.cache.nbytes for cache in decoder.caches)
    read, rate = reading(read_bytes, args.image_tokens, device), matrix_rate(device, dtype, args.rounds)
    our_times, peer_times, read_times = alternating([paint, generate, read], device, args.rounds)
    drawn = args.batch * args.image_tokens
    step = statistics.median(our_times) / args.image_tokens
    result = {
        "ours_tokens_per_s": round(drawn / statistics.median(our_times), 1),
        "peer_tokens_per_s": round(drawn / statistics.median(peer_times), 1),
        "ratio": round(median_ratio(peer_times, our_times), 2),
        "roofline_share": round(median_ratio(read_times, our_times), 3),
        "ours_ms_per_step": round(step * 1e3, 3),
        "peer_ms_per_step": round(statistics.median(peer_times) / args.image_tokens * 1e3, 3),
        "weight_bytes_per_step": decoder.bytes_per_step,
        "bytes_per_step": read_bytes,
        "read_bandwidth_gb_s": round(read_bytes * args.image_tokens / statistics.median(read_times) / 1e9, 1),
        "matrix_rate_gflop_s": round(rate / 1e9),
        "threads": torch.get_num_threads(),
    }
    print(
        f"{args.depth} layers of {args.dim}, batch {args.batch}, {args.dtype} on {device}, {args.attention} attention"
    )
    for name, value in result.items():
        print(f"  {name:24}{value:>14}")
    print(json.dumps(vars(args) | result))


if __name__ == "__main__":
    main()
