"""The names of the weights of Karlo's networks in Hugging Face's diffusers.

Karlo (Kakao Brain's open unCLIP) is a `PriorTransformer`, a decoder in two parts, `UNet2DConditionModel` and
`UnCLIPTextProjModel`, and two `UNet2DModel` for super-resolution.
"""

from __future__ import annotations

from collections.abc import Iterable

from pinxit.models.unet_config import UNetConfig
from pinxit.weights.diffusers_unet import diffusers_names
from pinxit.weights.renaming import by_rules

NOTHING = "learned_classifier_free_guidance_embeddings"  # replaces a missing picture embedding
MEAN, SPREAD = "clip_mean", "clip_std"  # of the picture embeddings that the prior was trained on
_PRIOR = (  # ours -> diffusers', in this order
    (r"^embed_time\.0\.", "time_embedding.linear_1."),
    (r"^embed_time\.2\.", "time_embedding.linear_2."),
    (r"^embed_noisy\.", "proj_in."),
    (r"^embed_caption\.pooled\.", "embedding_proj."),
    (r"^embed_caption\.text\.", "encoder_hidden_states_proj."),
    (r"^embed_query$", "prd_embedding"),
    (r"^trunk\.positions$", "positional_embedding"),
    (r"^trunk\.norm\.", "norm_out."),
    (r"^out\.", "proj_to_clip_embeddings."),
    (r"^trunk\.blocks\.(\d+)\.", r"transformer_blocks.\1."),
    (r"\.ln_1\.", ".norm1."),
    (r"\.ln_2\.", ".norm3."),
    (r"\.attn\.out\.", ".attn1.to_out.0."),
    (r"(_blocks\.\d+)\.fc\.", r"\1.ff.net.0.proj."),
    (r"(_blocks\.\d+)\.proj\.", r"\1.ff.net.2."),
)
PROJECTION = {  # ours -> diffusers' `text_proj`
    "conditioning.context": "encoder_hidden_states_proj",
    "conditioning.context_norm": "text_encoder_hidden_states_norm",
    "conditioning.caption": "embedding_proj",
    "conditioning.image.embed": "clip_image_embeddings_project_to_time_embeddings",
    "conditioning.image.tokens": "clip_extra_context_tokens_proj",
}


def prior_names(ours: str) -> tuple[str, ...]:
    """The names of our prior's tensor in a `PriorTransformer`."""
    name = by_rules(ours, _PRIOR)
    before, packed, leaf = name.rpartition(".attn.qkv.")
    return tuple(f"{before}.attn1.to_{part}.{leaf}" for part in "qkv") if packed else (name,)


Places = dict[str, tuple[str, ...]]


def decoder_names(config: UNetConfig, ours: Iterable[str]) -> tuple[Places, Places]:
    """The names of our decoder's tensors, of those in its U-Net and those in `text_proj`."""
    unet: Places = {}
    projection: Places = {}
    for name in ours:
        module, _, leaf = name.rpartition(".")
        if module in PROJECTION:
            projection[name] = (f"{PROJECTION[module]}.{leaf}",)
        else:
            unet[name] = diffusers_names(name, config)
    return unet, projection
