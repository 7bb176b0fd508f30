"""Ask the packages themselves; see `tests.weights.answers`."""

from __future__ import annotations

import importlib
import json
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import peers
from tests.weights.answers import CODES, EMBED, FOLDER, HID, INIT, TOWERS, pictures, token_ids, weights


def rows(found: Tensor) -> Any:
    def rounded(values: Any) -> Any:
        return [rounded(one) for one in values] if isinstance(values, list) else float(f"{values:.6g}")

    return rounded(found.tolist())


def given(model: nn.Module) -> dict[str, list[int]]:
    """The shapes of `model`'s weights, after it has been given those of their names."""
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    model.load_state_dict(weights(shapes))
    return shapes


@torch.no_grad()
def open_clip() -> dict[str, Any]:
    found: dict[str, Any] = {"open_clip_torch": version("open_clip_torch")}
    for tower, (vision, text) in TOWERS.items():
        for quick in (False, True):
            model = peers.open_clip().CLIP(EMBED, dict(vision), dict(text), quick_gelu=quick).eval()
            found[f"{tower} {'quickgelu' if quick else 'gelu'}"] = {
                "shapes": given(model),
                "pictures": rows(model.encode_image(pictures(3, vision["image_size"]), normalize=True)),
                "texts": rows(model.encode_text(token_ids(), normalize=True)),
            }
    return found


@torch.no_grad()
def dall_e() -> dict[str, Any]:
    package = importlib.import_module("dall_e")
    encoder = package.Encoder(n_hid=HID, vocab_size=CODES)
    decoder = package.Decoder(n_hid=HID, n_init=INIT, vocab_size=CODES)
    shapes = {"encoder": given(encoder), "decoder": given(decoder)}
    logits = encoder(package.map_pixels(pictures(3, 32)))
    codes = logits.argmax(1)
    moments = decoder(F.one_hot(codes, CODES).permute(0, 3, 1, 2).float())
    painted = package.unmap_pixels(torch.sigmoid(moments[:, :3]))
    return {
        "DALL-E": version("DALL-E"),
        "shapes": shapes,
        "logits": rows(logits[:, ::32]),
        "codes": codes.tolist(),
        "painted": rows(painted[:, :, ::5, ::5]),
    }


for name, answers in (("open_clip", open_clip()), ("dall_e", dall_e())):
    (FOLDER / f"{name}.json").write_text(json.dumps(answers) + "\n")
