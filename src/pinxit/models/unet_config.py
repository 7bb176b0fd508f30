"""What shapes a U-Net of the Imagen family: one frozen config for every variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pinxit.errors import UsageError
from pinxit.models.conditions import ANY, check_conditions
from pinxit.schema import Count, Depth, Finite, Share, SomeDepth, Whole, check_fields

UNetActivation = Literal["silu", "gelu"]
TextNorm = Literal["none", "layer", "group"]
EFFICIENT_HEADS = 8  # attention heads of an Efficient U-Net, over twice the channels


def groups_of(channels: int, groups: int) -> int:
    """How many groups a normalisation of `channels` has.

    `groups` if it is not 0, else as many as possible: at most 32, each of a multiple of 16 channels, because the CPU's
    channels-last kernels are twenty times slower for other groups.
    """
    sixteens = channels // 16 if channels % 16 == 0 else 0
    return groups or max((n for n in range(1, 33) if sixteens and sixteens % n == 0), default=1)


@dataclass(frozen=True, slots=True)
class UNetConfig:
    """Everything that shapes a `UNet`; `models.unet_shapes` holds the published ones.

    A level is one resolution; the first is the finest, every further one has half the side. Tuples have one entry a
    level. The defaults are a small unconditional ADM U-Net of three levels.
    """

    channels: tuple[Count, ...] = (64, 128, 192)  # width of every level
    blocks: tuple[Depth, ...] = (2, 2, 2)  # residual blocks of every level on the way down; on the way up one more
    attention: tuple[bool, ...] = (False, True, True)  # whether the blocks of a level attend
    efficient: bool = False  # the Efficient U-Net: as many blocks up as down, one skip and one attention a level
    middle: bool = True  # attention between the two blocks in the middle (not of an Efficient U-Net)
    self_attention: bool = True  # False: pictures attend to the text alone, so that the net is fully convolutional
    inputs: Count = 3  # channels of x
    low_res: Whole = 0  # channels of the picture to be enlarged, concatenated to x; 0: none
    masked: Whole = 0  # channels of a picture with holes and its mask, joined to x by zero-initialised weights; 0: none
    outputs: Count = 3  # channels of the prediction; 6 with a learned variance
    patch: Count = 1  # space-to-depth factor in front of the net and behind it
    bypass: bool = False  # a linear skip from input to output patches, for patches of more values than channels
    head: Count = 64  # channels of an attention head
    heads: Whole = 0  # attention heads; 0: as many as `head` gives (an Efficient U-Net: 8, over twice the channels)
    text: Whole = 0  # width of the text encoder's sequence; 0: no text
    context: Whole = 0  # width it is projected to before any layer reads it; 0: no projection
    context_norm: bool = False  # a layer norm after that projection
    refiner_layers: SomeDepth = 0  # context refiner: transformer blocks over the text, zero-initialised; 0: the paper's
    text_norm: TextNorm = "layer"  # of the text in every attention
    pool_heads: Whole = 8  # heads of the attention that pools the text for the time embedding; 0: no pooled text
    attend_padding: bool = False  # masked text counts as text (DeepFloyd IF)
    pooled: Whole = 0  # width of one embedding of the text (CLIP's), added to the time embedding; 0: none
    image: Whole = 0  # width of a picture embedding, added to the time embedding and put before the text; 0: none
    image_tokens: Whole = 4  # that the picture embedding becomes, always visible (unCLIP); 0: it is only added
    image_hidden: Whole = 0  # width of the MLP that reads the picture embedding; 0: linear, as in the article
    augmentation: bool = False  # takes the noise level of the low-resolution picture
    embed: Whole = 0  # width of the time embedding; 0: four times the first level's
    activation: UNetActivation = "silu"
    scale_shift: bool = True  # the embedding scales and shifts the second norm of a block; False: is added before it
    activate_once: bool = False  # the embedding goes through the activation once, not in every block
    residual_scale: Finite = 1.0  # what every residual block's sum is multiplied by; 0.7071 keeps its variance
    groups: Whole = 0  # of every group normalisation; 0: at most 32, each of 16 channels or a multiple
    dropout: Share = 0.0

    def __post_init__(self) -> None:
        check_fields(self, "unet")
        levels = len(self.channels)
        if not levels:
            raise UsageError("unet.channels must name the width of at least one level.")
        for name in ("blocks", "attention"):
            if len(getattr(self, name)) != levels:
                raise UsageError(f"unet.{name} needs {levels} entries, one for each of unet.channels.")
        for width in self.channels:
            if width % groups_of(width, self.groups):
                raise UsageError(f"unet.channels: {width} is not a multiple of {self.groups} groups.")
        for width, attends in zip(self.channels, self._attends(), strict=True):
            if attends and width % (heads := self.heads_of(width)):
                raise UsageError(f"unet.channels: {width} is not a multiple of {heads} attention heads.")
        self._check_text()

    def _attends(self) -> tuple[bool, ...]:
        """Of every level: whether it, or the middle below it, has attention."""
        return (*self.attention[:-1], self.attention[-1] or (self.middle and not self.efficient))

    def heads_of(self, width: int) -> int:
        """Attention heads of a level of that width."""
        return self.heads or (EFFICIENT_HEADS if self.efficient else max(1, width // self.head))

    def _check_text(self) -> None:
        if self.context_norm and not (self.text and self.context):
            raise UsageError("unet.context_norm is of text that is projected: set unet.text and unet.context.")
        if self.refiner_layers and not (self.text and self.text_width % self.refiner_heads == 0):
            reason = f"refiner_layers={self.refiner_layers} needs text, and a width of it that"
            raise UsageError(f"unet.{reason} {self.refiner_heads} heads divide, not {self.text_width}.")
        if not self.reads and not self.self_attention and any(self._attends()):
            raise UsageError("unet: attention without self_attention needs text to attend to.")
        if self.reads and not self.text_width:
            raise UsageError("unet.image_tokens without text need a width that they are read at: set unet.context.")
        if self.image_hidden and not self.image:
            raise UsageError("unet.image_hidden is the width of what reads a picture embedding: set unet.image.")
        if self.text and self.pool_heads and self.text % self.pool_heads:
            raise UsageError(f"unet.text: {self.text} is not a multiple of {self.pool_heads} pool_heads.")
        if self.text and self.text_norm == "group" and not self.attend_padding:
            raise UsageError("unet.text_norm 'group' takes its statistics over padding too: set attend_padding.")
        if self.reads and self.text_norm == "group" and self.text_width % groups_of(self.text_width, self.groups):
            raise UsageError(f"unet: text of width {self.text_width} does not fall into {self.groups} groups.")

    @property
    def reads(self) -> bool:
        """Whether attention has a context sequence: text, or the tokens of a picture embedding, or both."""
        return bool(self.text or (self.image and self.image_tokens))

    def conditions(self, sides: Sequence[int] = (ANY, ANY)) -> dict[str, tuple[int, ...]]:
        """The conditions by name, each with the shape of one sample's tensor; `sides` are those of x."""
        shapes: dict[str, tuple[int, ...]] = {"sequence": (ANY, self.text), "mask": (ANY,)} if self.text else {}
        joined = {"low_res": self.low_res, "masked": self.masked}
        shapes |= {name: (width, *sides) for name, width in joined.items() if width}
        shapes |= {name: (width,) for name, width in (("pooled", self.pooled), ("image", self.image)) if width}
        return shapes | ({"augmentation": ()} if self.augmentation else {})

    def check(self, shapes: Mapping[str, Sequence[int]], sides: Sequence[int] = (ANY, ANY)) -> None:
        """Raise UsageError for conditions that are missing, unknown or of another shape; `shapes` are one sample's.

        `mask`, True where there is text, may be left out: then all is text.
        """
        check_conditions("this U-Net", self.conditions(sides), shapes)

    @property
    def text_width(self) -> int:
        """Width of the text as the attention layers read it."""
        return self.context or self.text

    @property
    def refiner_heads(self) -> int:
        """Attention heads of the context-refiner layers."""
        return max(1, self.text_width // self.head)

    @property
    def embed_width(self) -> int:
        """Width of the time embedding."""
        return self.embed or 4 * self.channels[0]

    @property
    def step(self) -> int:
        """What the sides of a picture must be multiples of."""
        return self.patch << (len(self.channels) if self.efficient else len(self.channels) - 1)
