"""Pictures and texts through ViT-B/32: ours beside transformers, open_clip and OpenVINO, in turns in one run.

`python benchmarks/clip.py --batch 32 --dtype bfloat16`. Weights are random and the same for all, outputs are compared.
The last line is JSON: pictures and texts a second of every contender, `ratio` and `text_ratio` (the faster of our
engines over the fastest peer), and the second table: decoding and resizing JPEG photographs.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import peers
from common import alternating
from pinxit.data.decode import decode
from pinxit.data.transforms import square_crop
from pinxit.models.clip import CLIP, CLIPConfig
from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.recipes.clip.engine import core, load_openvino
from pinxit.weights.clip_export import save_transformers_clip

PRECISIONS: dict[str, Any] = {"float32": "fp32", "bfloat16": "bf16"}
PHOTO = (640, 480)  # pixels, of the second table
PHOTOS = 64
EOT = 49407
OURS = ("ours, torch", "ours, openvino")
Contender = tuple[Callable[[], Any], Callable[[], Any]]
"""What encodes one batch of pictures, and one of texts."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--dtype", choices=list(PRECISIONS), default="bfloat16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="a tiny model, to see that the benchmark runs")
    asked = parser.parse_args(arguments)
    torch.manual_seed(0)
    config = CLIPConfig()
    if asked.small:
        config = CLIPConfig(
            64,
            type(config.vision)(width=64, layers=1, heads=1),
            type(config.text)(vocab=EOT + 1, width=64, layers=1, heads=1),
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told = measure(CLIP(config).eval().requires_grad_(False), asked.batch, asked.dtype, asked.rounds)
    told |= {"preprocess": preprocessing(2 if asked.small else PHOTOS, asked.rounds)}
    print(json.dumps({"batch": asked.batch, "dtype": asked.dtype, **told}))


def measure(model: CLIP, batch: int, dtype: str, rounds: int) -> dict[str, Any]:
    """Rates of every contender, in turns, and how far its outputs lie from ours in float32."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.zeros(batch, model.config.text.tokens, dtype=torch.int64)
    ids[:, :20] = torch.randint(1, 49000, (batch, 20), generator=generator)
    ids[:, 20] = EOT
    x = torch.rand(batch, 3, model.config.vision.size, model.config.vision.size, generator=generator)
    with torch.inference_mode():
        exact = model.encode_image(x), model.encode_text(ids)
        contenders = dict(_contenders(model, x, ids, dtype))
        taken = [alternating([one[side] for one in contenders.values()], x.device, rounds) for side in (0, 1)]
        apart = {
            name: max(_distance(encode(), expected) for encode, expected in zip(pair, exact, strict=True))
            for name, pair in contenders.items()
        }
    told: dict[str, Any] = {"pictures_per_s": {}, "texts_per_s": {}, "largest_difference": apart}
    print(f"{'':<22}{'pictures/s':>12}{'texts/s':>10}{'difference':>12}")
    for place, name in enumerate(contenders):
        rates = [batch / statistics.median(taken[side][place]) for side in (0, 1)]
        told["pictures_per_s"][name], told["texts_per_s"][name] = rates
        print(f"{name:<22}{rates[0]:>12.1f}{rates[1]:>10.1f}{apart[name]:>12.1e}")
    for key, table in (("ratio", "pictures_per_s"), ("text_ratio", "texts_per_s")):
        peer = max(rate for name, rate in told[table].items() if name not in OURS)
        told[key] = max(told[table][name] for name in OURS if name in told[table]) / peer
    return told


def _contenders(model: CLIP, x: Tensor, ids: Tensor, dtype: str) -> Any:
    """Everybody who can be had here: (name, how it encodes the pictures and the texts)."""
    for name in OURS:
        try:
            yield name, _ours(model, x, ids, dtype, name.rpartition(" ")[2])
        except Exception as error:
            print(f"{name}: left out ({error})")
    with tempfile.TemporaryDirectory() as folder:
        save_transformers_clip(model, Path(folder))
        peer = _transformers(Path(folder), x, ids, dtype)
        yield "transformers", peer[0]
        yield "transformers, OpenVINO", _openvino(peer[1], x, ids, dtype)
    try:
        yield "open_clip", _open_clip(model, x, ids, dtype)
    except ImportError as error:
        print(f"open_clip: left out ({error})")


def _ours(model: CLIP, x: Tensor, ids: Tensor, dtype: str, engine: Any) -> Contender:
    encoder = ClipEncoder(model, lambda texts, cut: ids.numpy(), "random", "cpu", len(x), engine, PRECISIONS[dtype])
    return lambda: encoder.fitted(x), lambda: encoder.tokens(ids)


def _transformers(folder: Path, x: Tensor, ids: Tensor, dtype: str) -> tuple[Contender, nn.Module]:
    from transformers import CLIPModel

    peer = CLIPModel.from_pretrained(folder).eval().requires_grad_(False)
    exact = CLIPModel.from_pretrained(folder).eval().requires_grad_(False)
    peer = peer.to(getattr(torch, dtype))
    shown = _shown(x).to(peer.dtype)
    mask = torch.ones_like(ids)

    def pictures() -> Tensor:
        return nn.functional.normalize(peer.get_image_features(pixel_values=shown).pooler_output, dim=-1)

    def texts() -> Tensor:
        found = peer.get_text_features(input_ids=ids, attention_mask=mask).pooler_output
        return nn.functional.normalize(found, dim=-1)

    return (pictures, texts), exact


def _openvino(peer: Any, x: Tensor, ids: Tensor, dtype: str) -> Contender:
    """What a user gets who converts transformers' model without us."""
    openvino = load_openvino()

    class Tower(nn.Module):
        def __init__(self, pictures: bool) -> None:
            super().__init__()
            self.peer, self.pictures = peer, pictures

        def forward(self, rows: Tensor) -> Any:
            if self.pictures:
                return peer.get_image_features(pixel_values=rows).pooler_output
            return peer.get_text_features(input_ids=rows).pooler_output

    hint = {"float32": "f32", "bfloat16": "bf16"}[dtype]
    threads = torch.get_num_threads()

    def build(pictures: bool, rows: Tensor) -> Callable[[], Any]:
        shape = [openvino.PartialShape(list(rows.shape))]
        converted = openvino.convert_model(Tower(pictures), example_input=rows, input=shape)
        options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        run, array = core().compile_model(converted, "CPU", options), rows.numpy()

        def encode() -> Any:
            found = run([array])[0]
            return found / np.linalg.norm(found, axis=-1, keepdims=True)

        return encode

    return build(True, _shown(x)), build(False, ids)


def _open_clip(model: CLIP, x: Tensor, ids: Tensor, dtype: str) -> Contender:
    from pinxit.weights.clip_names import openai_names

    module = peers.open_clip()
    vision, text = model.config.vision, model.config.text
    shapes: dict[str, dict[str, Any]] = {
        "vision_cfg": {"image_size": vision.size, "patch_size": vision.patch, "width": vision.width},
        "text_cfg": {"context_length": text.tokens, "vocab_size": text.vocab, "width": text.width},
    }
    shapes["vision_cfg"] |= {"layers": vision.layers, "head_width": 64}
    shapes["text_cfg"] |= {"layers": text.layers, "heads": text.heads}
    peer = module.CLIP(embed_dim=model.config.embed, quick_gelu=True, **shapes).eval().requires_grad_(False)
    peer.load_state_dict({openai_names(name).parts[0]: tensor for name, tensor in model.state_dict().items()})
    kind = getattr(torch, dtype)
    if dtype == "bfloat16":
        module.model.convert_weights_to_lp(peer, kind)
    shown = _shown(x).to(kind)
    return lambda: peer.encode_image(shown, normalize=True), lambda: peer.encode_text(ids, normalize=True)


def _shown(x: Tensor) -> Tensor:
    """Pictures in [0, 1] as the peers want them: our model does this inside."""
    config = CLIPConfig()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (config.mean, config.std))
    return (x - mean) / std


def _distance(found: Any, expected: Tensor) -> float:
    return float((torch.as_tensor(found).float() - expected).abs().max())


def preprocessing(photos: int, rounds: int) -> dict[str, float]:
    """`photos` a second from JPEG bytes to a square of 224 pixels: ours and transformers' processor, one thread."""
    from transformers import CLIPImageProcessor

    rng = np.random.default_rng(0)
    rough = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8).astype(np.uint8))
    buffer = io.BytesIO()
    rough.resize(PHOTO, Image.Resampling.BICUBIC).save(buffer, format="jpeg", quality=90)
    data, processor = buffer.getvalue(), CLIPImageProcessor()

    def ours() -> None:
        for _ in range(photos):
            square_crop(decode(data, "photo", least=224), 224, "bicubic")

    def theirs() -> None:
        for _ in range(photos):
            processor(Image.open(io.BytesIO(data)).convert("RGB"))

    taken = alternating([ours, theirs], torch.device("cpu"), rounds)
    rates = [photos / statistics.median(times) for times in taken]
    print(f"decode and resize {PHOTO[0]} x {PHOTO[1]}: ours {rates[0]:.0f} pictures/s, transformers {rates[1]:.0f}")
    return {"ours": rates[0], "transformers": rates[1]}


if __name__ == "__main__":
    main()
