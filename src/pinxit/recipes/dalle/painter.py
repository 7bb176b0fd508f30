"""The DALL-E painter: paints (`recipes.dalle.graph`), and completes pictures.

No row of a call depends on another: candidate k of seed s is bit for bit the same, whatever else is being painted.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pinxit import __version__
from pinxit.config import to_dict
from pinxit.data.transforms import square_crop
from pinxit.errors import UsageError
from pinxit.models.clip import CLIP, CLIPConfig
from pinxit.models.dvae import DVAE, DVAEConfig
from pinxit.models.torch_defaults import torch_defaults_for_loading
from pinxit.models.transformer import TokenTransformer, TransformerConfig
from pinxit.pipelines.graph import Graph
from pinxit.recipes.dalle.config import SamplingConfig
from pinxit.recipes.dalle.graph import Completion, Parts, graph
from pinxit.recipes.dalle.holes import Hole, PixelBox, below_rows, inside_box, under_mask
from pinxit.recipes.jobs import Watch
from pinxit.recipes.painting import Painter
from pinxit.recipes.ranking import Ranker
from pinxit.recipes.requests import PaintRequest
from pinxit.recipes.stage_placement import USUAL, Placings, check_placings
from pinxit.text.tokenizers import Tokenizer
from pinxit.training.precision import pick_device
from pinxit.types import Mask, Prompt, Ranked, check_pixels

if TYPE_CHECKING:
    from pinxit.types import Picture
    from pinxit.weights.checkpoint import Checkpoint

DEFAULTS: dict[str, Any] = to_dict(SamplingConfig())


class DallePainter(Painter):
    """A loaded DALL-E. Open one with `pinxit.load`.

    Settings: temperature, top_k (0: all codes), top_p (1: all codes), guidance (1: none),
    agreement (of ranking; 0: none).
    `int8`: the transformer decodes with int8 weights, which gives slightly different pictures. `rows` of a tile, at
    least two, as many as a guided picture takes (None: the device's default): affects speed and, perhaps, last bits.
    """

    kinds: type[Any] = SamplingConfig

    def __init__(
        self,
        dvae: DVAE,
        transformer: TokenTransformer,
        clip: CLIP,
        tokenizer: Tokenizer,
        *,
        name: str = "dalle",
        checkpoint_hash: str = "",
        settings: dict[str, Any] | None = None,
        device: str = "auto",
        rows: int | None = None,
        int8: bool = False,
    ) -> None:
        self.device = pick_device(device)
        for module in (dvae, transformer, clip):
            module.to(self.device).eval().requires_grad_(False)
        self.dvae, self.transformer, self.clip = dvae, transformer, clip
        self.tokenizer, self.name, self.rows, self.int8 = tokenizer, name, rows, int8
        read_by_clip = clip.config.text.tokens - 2  # besides its start and end
        self.text_tokens = min(transformer.config.text_tokens, read_by_clip)  # what both see
        self.grid, self.size = dvae.grid, dvae.config.size
        self.ranker = Ranker(clip, tokenizer, self.device)
        self.defaults: dict[str, Any] = DEFAULTS | (settings or {})
        self.provenance = {
            "recipe": "dalle",
            "checkpoint": name,
            "checkpoint_hash": checkpoint_hash,
            "pinxit": __version__,
        } | ({"int8": True} if int8 else {})

    @classmethod
    @torch_defaults_for_loading()
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        *,
        name: str,
        device: str = "auto",
        int8: bool = False,
        placings: Placings = MappingProxyType({}),
    ) -> DallePainter:
        """Build the three models and load them. Raises CheckpointError for a missing or an unexpected weight.

        `placings`: for the stages `tokens`, whose precision may be int8, and `embed`, whose device can be set.
        """
        check_placings(placings, {"tokens": ("int8",), "embed": ("device",)}, name)
        dvae = DVAE(checkpoint.config("dvae", DVAEConfig))
        transformer = TokenTransformer(checkpoint.config("transformer", TransformerConfig))
        clip = CLIP(checkpoint.config("clip", CLIPConfig))
        for part, module in (("dvae", dvae), ("transformer", transformer), ("clip", clip)):
            checkpoint.load_into(part, module)
        settings = {key: value for key, value in checkpoint.settings.items() if key in DEFAULTS}
        tokenizer = Tokenizer.open(checkpoint.folder)
        painter = cls(
            dvae,
            transformer,
            clip,
            tokenizer,
            name=name,
            checkpoint_hash=checkpoint.hash,
            settings=settings,
            device=device,
            int8=int8 or placings.get("tokens", USUAL).precision == "int8",
        )
        if elsewhere := placings.get("embed", USUAL).device:
            on = pick_device(elsewhere)
            painter.ranker = Ranker(clip.to(on), tokenizer, on)
        return painter

    def tokens_over_limit(self, text: str) -> int:
        """How many tokens the transformer or CLIP will drop, whichever drops more; 0 when the prompt fits both."""
        return max(0, self.tokenizer.count(text) - self.text_tokens)

    def unknown_words(self, text: str) -> list[str]:
        """Words of the prompt that no training caption held."""
        return self.tokenizer.unknown_words(text)

    def hole(self, picture: Picture, *, keep_rows: int | None = None, box: PixelBox | None = None) -> Hole:
        """The cells to redraw, from rows to keep or from a box in pixels of `picture`: bool [h, w].

        Raises UsageError unless exactly one of the two is given, for rows that leave nothing to keep or to redraw, and
        for a box in which nothing is redrawn.
        """
        check_pixels(picture)
        if (keep_rows is None) == (box is None):
            raise UsageError("give either keep_rows or box: they say which part is redrawn.")
        if keep_rows is not None:
            return below_rows(self.grid, keep_rows)
        assert box is not None
        return inside_box(self.grid, picture.shape[1], picture.shape[0], box, self.size)

    def complete(
        self,
        picture: Picture,
        prompt: str,
        hole: Hole,
        *,
        candidates: int = 16,
        keep: int | None = 4,
        seed: int = 0,
        watch: Watch | None = None,
        **settings: Any,
    ) -> list[Ranked]:
        """Redraw the cells of `hole` (bool [h, w]) in the centre square of `picture`; the other pixels stay.

        Codes are drawn in raster order and depend only on earlier ones. So that candidates also fit what comes after
        the hole, they are ranked by CLIP's cosine plus the mean log-likelihood of the known codes there, divided by
        CLIP's scale.
        """
        asked = self.asked(Prompt(prompt, seed), candidates, keep, settings)
        (ranked,) = self._serve([self._completing(asked, picture, hole)], watch)
        return ranked

    def editing(self, asked: PaintRequest, picture: Picture, mask: Mask | None) -> PaintRequest:
        """The same request as an edit of `picture` where `mask` says (`recipes.capabilities.Edits`)."""
        if mask is None:
            raise UsageError(f"{self.name} redraws a part of a picture: send a mask that says which.")
        return self._completing(asked, picture, under_mask(self.grid, mask, self.size))

    def _completing(self, asked: PaintRequest, picture: Picture, hole: Hole) -> PaintRequest:
        check_pixels(picture)
        behind = int((~hole).flatten()[hole.argmax() :].sum())
        weight = 1 / (max(behind, 1) * self.ranker.scale)
        return replace(asked, more=Completion(square_crop(picture, self.size), hole, weight))

    def _graph(self) -> Graph:
        parts = (self.dvae, self.transformer, self.tokenizer, self.ranker, self.device)
        return graph(Parts(*parts, self.rows, self.int8))
