"""The JSON settings of public CLIP folders: their types, and the values that pinxit supports.

A setting that would change a model's output and that pinxit does not support is refused, never ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NotRequired, TypedDict

from pinxit.errors import CheckpointError
from pinxit.schema import Count, Positive, Several, Whole, shortened

Allowed = Mapping[str, Callable[[Any], bool] | None]
"""Name of a setting -> whether a value is supported; None: any, because it is unused or follows from the weights."""


class OpenClipModel(TypedDict):
    vision_cfg: NotRequired[dict[str, Any]]
    text_cfg: NotRequired[dict[str, Any]]
    quick_gelu: NotRequired[bool]


class OpenClipSettings(TypedDict):
    model_cfg: OpenClipModel
    preprocess_cfg: NotRequired[dict[str, Any]]


class TransformersSettings(TypedDict):
    model_type: NotRequired[str]
    projection_dim: NotRequired[Count]
    vision_config: NotRequired[dict[str, Any] | None]
    text_config: NotRequired[dict[str, Any] | None]
    vision_config_dict: NotRequired[dict[str, Any] | None]
    text_config_dict: NotRequired[dict[str, Any] | None]


class Settings(TypedDict):
    hidden_size: Count
    intermediate_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    hidden_act: str
    layer_norm_eps: Positive


class VisionSettings(Settings):
    image_size: Count
    patch_size: Count


class TextSettings(Settings):
    vocab_size: Count
    max_position_embeddings: Several
    eos_token_id: Whole


_TOWER: dict[str, Any] = {"num_hidden_layers": 12, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
_VISION = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
_TEXT = {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8, "vocab_size": 49408}
DEFAULTS: dict[str, dict[str, Any]] = {
    "vision": _TOWER | _VISION | {"image_size": 224, "patch_size": 32},
    "text": _TOWER | _TEXT | {"max_position_embeddings": 77, "eos_token_id": 49407},
}
"""transformers' defaults, which it leaves out of a config.json."""


def only(*values: Any) -> Callable[[Any], bool]:
    """A check that a value is one of these and of the same type: 1 is not True."""
    return lambda value: any(type(value) is type(one) and value == one for one in values)


def empty(value: Any) -> bool:
    """Whether a setting is off."""
    return value is None or value is False or value == {} or value == 0


OPEN_CLIP_VISION: Allowed = {
    **dict.fromkeys(
        ("image_size", "layers", "width", "patch_size", "head_width", "patch_dropout", "output_tokens"), None
    ),
    **{"mlp_ratio": only(4.0, 4), "pool_type": only("tok"), "pos_embed_type": only("learnable")},
    **dict.fromkeys(("attn_pooler_queries", "attn_pooler_heads", "timm_model_pretrained"), None),
    **dict.fromkeys(("ls_init_value", "attentional_pool", "no_ln_pre", "final_ln_after_pool"), empty),
    **dict.fromkeys(("act_kwargs", "norm_kwargs", "input_patchnorm", "global_average_pool"), empty),
}
OPEN_CLIP_TEXT: Allowed = {
    **dict.fromkeys(("context_length", "vocab_size", "width", "heads", "layers", "output_tokens"), None),
    **dict.fromkeys(("pad_id", "eos_id"), None),
    **{"mlp_ratio": only(4.0, 4), "pool_type": only("argmax", "eos"), "proj_type": only("linear")},
    **dict.fromkeys(("ls_init_value", "embed_cls", "no_causal_mask", "final_ln_after_pool", "proj_bias"), empty),
    **dict.fromkeys(("act_kwargs", "norm_kwargs", "hf_tokenizer_name", "tokenizer_kwargs"), empty),
}


def check_settings(settings: Mapping[str, Any], ours: Allowed, where: str) -> None:
    """Raise CheckpointError for a setting that pinxit does not know or does not support."""
    for name, value in settings.items():
        fits = ours.get(name, empty)
        if fits is not None and not fits(value):
            raise CheckpointError(
                f"{where}: {name} is {shortened(value)}, which pinxit does not follow; its answers would be others."
            )
