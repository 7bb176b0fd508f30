"""The names of a CLIP's weights at OpenAI (and in open_clip) and in Hugging Face's transformers.

`openai_names` and `hf_names` translate one of our names; readers and writers translate all names of a model, so that
they use every key exactly once, or report which one they could not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pinxit.weights.renaming import Names, by_rules

if TYPE_CHECKING:
    from torch import Tensor

_OPENAI = (  # ours -> OpenAI's, in this order
    (r"^visual\.patches\.", "visual.conv1."),
    (r"^visual\.class_token$", "visual.class_embedding"),
    (r"^(visual\.|text\.)positions$", r"\1positional_embedding"),
    (r"^text\.tokens\.", "text.token_embedding."),
    (r"^text\.proj$", "text_projection"),
    (r"^(visual|text)\.blocks\.(\d+)\.fc\.", r"\1.transformer.resblocks.\2.mlp.c_fc."),
    (r"^(visual|text)\.blocks\.(\d+)\.proj\.", r"\1.transformer.resblocks.\2.mlp.c_proj."),
    (r"^(visual|text)\.blocks\.(\d+)\.attn\.qkv\.", r"\1.transformer.resblocks.\2.attn.in_proj_"),
    (r"^(visual|text)\.blocks\.(\d+)\.attn\.out\.", r"\1.transformer.resblocks.\2.attn.out_proj."),
    (r"^(visual|text)\.blocks\.", r"\1.transformer.resblocks."),
    (r"^text\.", ""),
)
_HF = (  # ours -> transformers'
    (r"^visual\.patches\.weight$", "vision_model.embeddings.patch_embedding.weight"),
    (r"^visual\.class_token$", "vision_model.embeddings.class_embedding"),
    (r"^visual\.positions$", "vision_model.embeddings.position_embedding.weight"),
    (r"^visual\.ln_pre\.", "vision_model.pre_layrnorm."),  # sic
    (r"^visual\.ln_post\.", "vision_model.post_layernorm."),
    (r"^text\.tokens\.weight$", "text_model.embeddings.token_embedding.weight"),
    (r"^text\.positions$", "text_model.embeddings.position_embedding.weight"),
    (r"^text\.ln_final\.", "text_model.final_layer_norm."),
    (r"^visual\.blocks\.", "vision_model.encoder.layers."),
    (r"^text\.blocks\.", "text_model.encoder.layers."),
    (r"\.ln_1\.", ".layer_norm1."),
    (r"\.ln_2\.", ".layer_norm2."),
    (r"(layers\.\d+)\.fc\.", r"\1.mlp.fc1."),
    (r"(layers\.\d+)\.proj\.", r"\1.mlp.fc2."),
    (r"\.attn\.out\.", ".self_attn.out_proj."),
)


def openai_names(ours: str) -> Names:
    """OpenAI's name of our tensor `ours`; the layers of a ModifiedResNet are called the same."""
    return Names((by_rules(ours, _OPENAI),))


def hf_names(ours: str) -> Names:
    """transformers' names of our tensor `ours`: q, k and v are separate tensors there, projections are transposed."""
    if ours in ("visual.proj", "text.proj"):
        return Names((f"{ours.split('.')[0]}_projection.weight",), transposed=True)
    if (packed := re.search(r"\.attn\.qkv\.", ours)) is not None:
        where = by_rules(ours[: packed.start()] + ".", _HF)
        return Names(tuple(f"{where}self_attn.{which}_proj.{ours[packed.end() :]}" for which in "qkv"))
    return Names((by_rules(ours, _HF),))


def alone(tensors: Mapping[str, Tensor], tower: str) -> dict[str, Tensor]:
    """The tensors of a tower ("text" or "vision") that was saved alone, named as in a whole CLIP.

    transformers 5 omits the tower's prefix in such files.
    """
    if any(name.startswith(f"{tower}_model.") for name in tensors):
        return dict(tensors)
    shared = ("text_projection", "visual_projection")
    return {name if name.startswith(shared) else f"{tower}_model.{name}": it for name, it in tensors.items()}
