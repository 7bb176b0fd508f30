"""The config of `pinxit train dalle`: data, models, plans, noise, and the sampling settings of its painter."""

from __future__ import annotations

from dataclasses import dataclass, field

from pinxit.data.sources import WORLD
from pinxit.errors import UsageError
from pinxit.models.clip import CLIPConfig
from pinxit.models.dvae import DVAEConfig
from pinxit.models.transformer import TransformerConfig
from pinxit.schema import Count, NotNegative, Positive, Seed, Share, SomeShare, Strength, Whole
from pinxit.text.tokenizers import EOT, Vocabulary
from pinxit.training.plan import Plan
from pinxit.weights.checkpoint import Store


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Which pictures it is trained on."""

    source: str = "world:small"  # as `pinxit train --data` takes it: a world, a folder, tar shards
    size: Count = 64  # side of the stored pictures; beyond dvae.size they are cropped at random (appendix A.1, B.1)
    pictures: Count = 200_000  # stored for the dVAE and the transformer
    ranking: Whole = 100_000  # stored for CLIP, in fours that differ in one fact (worlds only); 0: the same pictures
    detail: bool = False  # the captions of those also tell the ground and where things lie (worlds beyond small)
    stream: bool = False  # tar shards are read during training, from a path or a URL, and no picture is stored
    sidecars: str = ""  # with stream: a folder of `pinxit data encode --with dvae`; "": the run writes its own


@dataclass(frozen=True, slots=True)
class NoiseConfig:
    """The augmentation of pictures and captions, and the relaxation of the codes."""

    kl_weight: NotNegative = 6.6  # of gumbel dVAEs (appendix A.2)
    kl_images: Count = 5_000 * 512  # over which it rises from 0 along a cosine
    temperature: Positive = 1 / 16  # of gumbel dVAEs at the end; it starts at 1
    temperature_images: Count = 150_000 * 512  # over which it falls along a cosine
    bpe_dropout: Share = 0.1  # probability that a merge is skipped in the transformer's captions (section 2.2)
    caption_drop: Share = 0.1  # probability that the transformer sees no caption, for guidance; 0 in the paper
    reconstructed: Share = 0.5  # share of CLIP's pictures that are dVAE reconstructions, like those it will rank
    corrupted: bool = False  # whether these also get corruption augmentation, as the judge's training pictures do
    mirrored: Share = 0.0  # share of CLIP's pictures that are pairs of a world's scene and its mirror image


@dataclass(frozen=True, slots=True)
class SamplingConfig:
    """The painter's default settings, stored in the checkpoint."""

    guidance: Strength = 2.0  # classifier-free guidance; 1: none
    temperature: Strength = 1.0
    top_k: Whole = 64  # draw from so many of the likeliest codes; 0: from all
    top_p: SomeShare = 1.0  # draw from the likeliest codes that add up to this probability; 1: from all
    agreement: Strength = 0.0  # weight, in the ranking, of a candidate's similarity to the others


@dataclass(frozen=True, slots=True)
class Plans:
    """How long each stage is trained."""

    dvae: Plan
    transformer: Plan
    clip: Plan


@dataclass(frozen=True, slots=True)
class DalleConfig:
    """Everything that a run of `pinxit train dalle` depends on."""

    vocab: Vocabulary  # text tokens
    data: DataConfig
    dvae: DVAEConfig
    transformer: TransformerConfig
    clip: CLIPConfig
    plans: Plans
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    spell: bool = False  # quoted words and words in capitals, to be written in a picture, are tokenised by letters
    codebook_init: bool = False  # code embeddings of the transformer start from the dVAE's codebook, not at random
    count_pads: bool = False  # the transformer also learns where captions end; the paper does not say what it did
    store: Store = "bf16"  # of the checkpoint's weights: bf16, or int8 in half the space
    seed: Seed = 0

    def __post_init__(self) -> None:
        grid = self.dvae.size // self.dvae.downscale
        must_agree = (
            ("transformer.text_vocab", self.transformer.text_vocab, "vocab", self.vocab),
            ("transformer.image_codes", self.transformer.image_codes, "dvae.codes", self.dvae.codes),
            ("transformer.grid", self.transformer.grid, "dvae.size / downscale", grid),
            ("clip.text.vocab", self.clip.text.vocab, "vocab", self.vocab),
            ("clip.text.eot", self.clip.text.eot, "the tokenizer's end-of-text id", EOT),
        )
        for one, value, other, expected in must_agree:
            if value != expected:
                raise UsageError(f"{one}={value} must equal {other}={expected}: set both.")
        if self.data.size < self.dvae.size:
            raise UsageError(f"data.size={self.data.size} must be at least dvae.size={self.dvae.size}.")
        if self.noise.corrupted and self.dvae.size % 8:
            raise UsageError(f"noise.corrupted needs dvae.size={self.dvae.size} to be a multiple of 8.")
        if self.dvae.codes > 2**16:
            raise UsageError(f"dvae.codes={self.dvae.codes} must be at most 65536: codes are stored in 16 bits.")
        if self.data.stream and self.data.source.startswith(WORLD):
            raise UsageError("data.stream is of tar shards: set data.source to them.")
        if self.grouped and self.plans.clip.batch % 4:
            raise UsageError(
                f"plans.clip.batch={self.plans.clip.batch} must be a multiple of 4, to keep neighbours together."
            )

    @property
    def grouped(self) -> bool:
        """Whether CLIP has pictures of its own, in groups of four neighbours, which only the world can draw."""
        return self.data.source.startswith(WORLD) and self.data.ranking > 0
