"""One denoising step of a U-Net: ours beside diffusers' UNet2DConditionModel, in turns in one run.

`python benchmarks/unet.py --batch 1 --dtype bfloat16`. Both networks are DeepFloyd IF's stage I in the same shape, with
the same weights (random), inputs and precision; their outputs are compared. The last line is JSON: seconds a step and
GFLOP/s of every contender (a multiply-add is two operations), `ratio` (ours over the fastest peer) and `share` (of the
rate of a large matrix product in the same rounds).
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from common import alternating
from pinxit.models.unet import UNet, UNetConfig
from pinxit.models.unet_fast import fast_unet
from pinxit.models.unet_shapes import deepfloyd_xl
from pinxit.training.precision import keep_freed_memory
from pinxit.weights.diffusers_unet import diffusers_names

SHAPE = replace(deepfloyd_xl(), channels=(192, 384, 576, 768), context=768, text=768, pool_heads=12)  # 318M parameters
SMALL = replace(SHAPE, channels=(32, 64, 96, 128), context=64, text=48, pool_heads=4, head=16, blocks=(1,) * 4)
TOKENS = 77
SIDE = 2048  # of the matrix product
OURS, PRODUCT = "ours", "matrix product"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="the faster peer compiled too, which takes minutes")
    parser.add_argument("--small", action="store_true", help="a tiny network, to see that the benchmark runs")
    asked = parser.parse_args(arguments)
    torch.manual_seed(0)
    keep_freed_memory()
    with torch.inference_mode():
        told = measure(asked)
    print(json.dumps({"batch": asked.batch, "dtype": asked.dtype, **told}))


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """Seconds and rates of every contender, in turns, and how far its answer lies from ours in float32."""
    config, dtype, device = SMALL if asked.small else SHAPE, getattr(torch, asked.dtype), torch.device(asked.device)
    net = random_unet(config).to(device)
    told = given(config, asked.batch, 16 if asked.small else 64, device)
    exact = _our_step(net, told)
    contenders = _contenders(net, told, dtype, asked.compile)
    work = dict.fromkeys(contenders, _flops(lambda: _peer_step(diffusers_unet(net), told)))
    side = 256 if asked.small else SIDE
    work |= {OURS: _flops(lambda: _our_step(net, told)), PRODUCT: 2 * side**3}
    apart = {name: float((step().float() - exact).abs().max()) for name, step in contenders.items()}
    square = torch.ones(side, side, device=device, dtype=dtype)
    contenders[PRODUCT] = lambda: square @ square
    taken = dict(zip(contenders, alternating(list(contenders.values()), device, asked.rounds), strict=True))
    seconds = {name: statistics.median(times) for name, times in taken.items()}
    rates = {name: work[name] / seconds[name] / 1e9 for name in contenders}
    for name in contenders:
        print(f"{name:<26}{seconds[name]:>9.3f} s{rates[name]:>9.0f} GFLOP/s")
    product = rates.pop(PRODUCT)
    peers = {name: rate for name, rate in rates.items() if name != OURS}
    return {
        "threads": torch.get_num_threads(),
        "parameters": sum(p.numel() for p in net.parameters()),
        "gflop_per_step": round(work[OURS] / 1e9, 1),
        "seconds": {name: round(seconds[name], 4) for name in rates},
        "largest_difference": apart,
        "ours_gflops": round(rates[OURS], 3),
        "peer_gflops": {name: round(rate, 3) for name, rate in peers.items()},
        "ratio": round(rates[OURS] / max(peers.values()), 3),
        "matrix_gflops": round(product, 3),
        "share": round(rates[OURS] / product, 3),
    }


def random_unet(config: UNetConfig) -> UNet:
    """A network in which nothing is zero any more."""
    net = UNet(config).eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter.add_(0.02 * torch.randn_like(parameter))
    return net


def given(config: UNetConfig, batch: int, side: int, device: torch.device) -> dict[str, Tensor]:
    """Noisy pictures, their times and their texts."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"x": (batch, 3, side, side), "sequence": (batch, TOKENS, config.text)}
    told = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return {name: value.to(device) for name, value in (told | {"time": torch.linspace(10, 990, batch)}).items()}


def diffusers_unet(net: UNet) -> Any:
    """The peer of the same shape with our weights."""
    import diffusers

    config = net.config
    down, up = (
        [f"SimpleCrossAttn{way}Block2D" if attends else f"Resnet{way}sampleBlock2D" for attends in config.attention]
        for way in ("Down", "Up")
    )
    peer = diffusers.UNet2DConditionModel(
        in_channels=config.inputs,
        out_channels=config.outputs,
        block_out_channels=config.channels,
        layers_per_block=config.blocks,
        down_block_types=tuple(down),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=tuple(reversed(up)),
        cross_attention_dim=config.context,
        encoder_hid_dim=config.text,
        addition_embed_type="text",
        addition_embed_type_num_heads=config.pool_heads,
        attention_head_dim=config.head,
        act_fn=config.activation,
        cross_attention_norm="group_norm",
        resnet_time_scale_shift="scale_shift",
    )
    state: dict[str, Tensor] = {}
    for ours, tensor in net.state_dict().items():
        names = diffusers_names(ours, config)
        state |= dict(zip(names, tensor.chunk(len(names)), strict=True))
    peer.load_state_dict(state)
    return peer.eval().requires_grad_(False).to(net.norm.weight.device)


def _contenders(
    net: UNet, told: dict[str, Tensor], dtype: torch.dtype, compiled: bool
) -> dict[str, Callable[[], Tensor]]:
    """Everybody: what makes one step over the batch."""
    fast = fast_unet(net, dtype)
    found: dict[str, Callable[[], Tensor]] = {OURS: lambda: _our_step(fast, told)}
    cast = {name: value if name == "time" else value.to(dtype) for name, value in told.items()}
    found["diffusers"] = partial(_peer_step, diffusers_unet(net).to(dtype), cast)
    last = diffusers_unet(net).to(dtype).to(memory_format=torch.channels_last)
    found["diffusers, channels last"] = partial(_peer_step, last, cast)
    if compiled:
        found["diffusers, compiled"] = partial(_peer_step, torch.compile(last), cast)
    return found


def _our_step(net: UNet, told: dict[str, Tensor]) -> Tensor:
    answer: Tensor = net(told["x"], told["time"], {"sequence": told["sequence"]})
    return answer


def _peer_step(peer: Any, told: dict[str, Tensor]) -> Tensor:
    answer: Tensor = peer(told["x"], told["time"], told["sequence"]).sample
    return answer


def _flops(step: Callable[[], object]) -> int:
    """Operations of one step, attention counted as the products it is."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        step()
    return int(counter.get_total_flops())


if __name__ == "__main__":
    main()
