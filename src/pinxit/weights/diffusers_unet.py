"""The names of a U-Net's weights and settings in Hugging Face's diffusers, as far as all its U-Nets share them.

`diffusers_names` translates one of our names; `deepfloyd_names` and `karlo_settings` read a config.json with the
helpers here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pinxit.errors import CheckpointError, UsageError
from pinxit.models.unet_config import UNetConfig
from pinxit.weights.renaming import by_rules

_RULES = (  # ours -> diffusers', in this order
    (r"^conditioning\.time\.", "time_embedding."),
    (r"^conditioning\.augmentation\.", "class_embedding."),
    (r"^conditioning\.context\.", "encoder_hid_proj."),
    (r"^conditioning\.pooled\.", "add_embedding."),
    (r"\.pool\.position$", ".pool.positional_embedding"),
    (r"\.pool\.(q|k|v)(uery|ey|alue)\.", r".pool.\1_proj."),
    (r"_embedding\.first\.", "_embedding.linear_1."),
    (r"_embedding\.second\.", "_embedding.linear_2."),
    (r"^stem\.", "conv_in."),
    (r"^norm\.", "conv_norm_out."),
    (r"^out\.", "conv_out."),
    (r"^body\.middle\.(\d+)\.res\.", r"mid_block.resnets.\1."),
    (r"^body\.middle\.(\d+)\.attention\.", r"mid_block.attentions.\1."),
    (r"^body\.(down|up)\.(\d+)\.blocks\.(\d+)\.res\.", r"\1_blocks.\2.resnets.\3."),
    (r"^body\.(down|up)\.(\d+)\.blocks\.(\d+)\.attention\.", r"\1_blocks.\2.attentions.\3."),
    (r"^body\.(down|up)\.(\d+)\.resample\.", r"\1_blocks.\2.\1samplers.0."),
    (r"(resnets\.\d+|samplers\.0)\.lead\.", r"\1.time_emb_proj."),
    (r"(resnets\.\d+|samplers\.0)\.shortcut\.", r"\1.conv_shortcut."),
    (r"(attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(attentions\.\d+)\.text_norm\.", r"\1.norm_cross."),
    (r"(attentions\.\d+)\.out\.", r"\1.to_out.0."),
)
_PACKED = {"qkv": ("to_q", "to_k", "to_v"), "text_kv": ("add_k_proj", "add_v_proj")}


def diffusers_names(ours: str, config: UNetConfig) -> tuple[str, ...]:
    """diffusers' names of our tensor: of all of it, or of equal parts that are stacked along the first axis."""
    name = by_rules(ours, _RULES)
    packed, leaf = name.split(".")[-2:]
    if packed not in _PACKED:
        return (name,)
    parts = _PACKED[packed] if packed == "text_kv" or config.self_attention else ("to_q",)
    return tuple(f"{name.removesuffix(f'{packed}.{leaf}')}{part}.{leaf}" for part in parts)


DOWN = {"ResnetDownsampleBlock2D": False, "SimpleCrossAttnDownBlock2D": True}  # name -> whether it attends
UP = {"ResnetUpsampleBlock2D": False, "SimpleCrossAttnUpBlock2D": True}
Fixed = Mapping[str, tuple[Any, ...]]
"""Field of a config.json -> diffusers' default, then the values that networks of a family may have."""


def check_fixed(described: Mapping[str, Any], fixed: Fixed, family: str, where: str) -> None:
    """Raise CheckpointError naming the first field with a value that networks of `family` do not have."""
    for name, (default, *known) in fixed.items():
        if (value := described.get(name, default)) not in known:
            wanted = " or ".join(map(str, known))
            raise CheckpointError(f"{where}: {name} is {value}; {family}'s networks have {wanted}.")


@contextmanager
def reading(where: Path) -> Iterator[None]:
    """Raise CheckpointError naming the config.json `where` for what its settings cannot be."""
    try:
        yield
    except UsageError as error:
        raise CheckpointError(f"{where}: {error}") from error
    except (TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise CheckpointError(f"{where} has a setting of a kind that it cannot be ({error}).") from error


def with_defaults(described: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a config.json, with diffusers' defaults where it has none."""
    return {name: described.get(name, default) for name, default in defaults.items()}


def channels_of(described: Mapping[str, Any], where: str) -> tuple[int, ...]:
    """The width of every level. Raises CheckpointError when they are not a list."""
    widths = described.get("block_out_channels", ())
    if not isinstance(widths, list | tuple):
        raise CheckpointError(f"{where}: block_out_channels is {widths}; it must be a list of widths.")
    return tuple(widths)


def one_of(settings: Mapping[str, Any], name: str, known: Mapping[Any, Any], where: str) -> Any:
    """Our value for a setting, by the table `known`. Raises CheckpointError for a value that is not in it."""
    if settings[name] not in known:
        choices = ", ".join(str(one) for one in known)
        raise CheckpointError(f"{where}: {name} is {settings[name]}; pinxit knows {choices}.")
    return known[settings[name]]


def per_level(value: int | list[int], levels: int) -> tuple[int, ...]:
    """One number per level, from one for all or a list."""
    return (value,) * levels if isinstance(value, int) else tuple(value)


def attention(described: Mapping[str, Any], family: str, where: str) -> tuple[bool, ...]:
    """Which levels have attention. Raises CheckpointError unless they are the same on the way down and up."""
    attends = []
    for name, known in (("down_block_types", DOWN), ("up_block_types", UP)):
        kinds = described.get(name, ("CrossAttnDownBlock2D",))
        for kind in kinds:
            if kind not in known:
                raise CheckpointError(f"{where}: {name} has {kind}; {family}'s networks have {' and '.join(known)}.")
        attends.append(tuple(known[kind] for kind in kinds))
    down, up = attends
    if down != up[::-1]:
        raise CheckpointError(f"{where}: up_block_types attends at other levels than down_block_types.")
    return down
