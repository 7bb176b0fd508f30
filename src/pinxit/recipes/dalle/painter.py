"""DALL-E paints: text -> codes by the token transformer -> pixels by the dVAE's decoder -> ranked by CLIP.

Every machine here has fixed shapes and independent slots, so candidate k of seed s is the same picture, bit for bit,
whatever else is painted beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pinxit import __version__
from pinxit.config import to_dict
from pinxit.data.transforms import square, to_pictures, to_tensor
from pinxit.errors import UsageError
from pinxit.models.clip import CLIP, CLIPConfig
from pinxit.models.decoder import CachedDecoder
from pinxit.models.dvae import DVAE, DVAEConfig
from pinxit.models.transformer import TokenTransformer, TransformerConfig
from pinxit.pipelines.autoregress import UNKNOWN, TokenRequest, TokenResult, TokenStepper
from pinxit.pipelines.rank import encode_fixed
from pinxit.recipes.dalle.holes import Hole, PixelBox, below_rows, inside_box, paste_known
from pinxit.recipes.dalle.presets import SamplingConfig
from pinxit.recipes.painting import Painter, Ranker, Watch, draw
from pinxit.text.tokenizers import Tokenizer
from pinxit.training.precision import pick_device
from pinxit.types import Prompt, Ranked

if TYPE_CHECKING:
    from pinxit.types import Picture
    from pinxit.weights.checkpoint import Checkpoint

SLOTS = 16  # pictures drawn at once; a change changes nothing but speed and, in the last bits, the pictures
DEFAULTS: dict[str, Any] = {"top_p": 1.0} | to_dict(SamplingConfig())


class DallePainter(Painter):
    """A loaded DALL-E. Open one with `pinxit.load`.

    Settings: temperature, top_k (0: all codes), top_p (1: all codes), guidance (1: none),
    agreement (of ranking; 0: none).
    `int8`: the transformer decodes with its weights as int8, which makes slightly other pictures.
    """

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
        slots: int = SLOTS,
        int8: bool = False,
    ) -> None:
        self.device = pick_device(device)
        for module in (dvae, transformer, clip):
            module.to(self.device).eval().requires_grad_(False)
        self.dvae, self.transformer, self.clip = dvae, transformer, clip
        self.tokenizer, self.name, self.slots = tokenizer, name, slots
        self.int8 = int8
        read_by_clip = clip.config.text.tokens - 2  # besides its start and end
        self.text_tokens = min(transformer.config.text_tokens, read_by_clip)  # what both see
        self.grid, self.size = dvae.grid, dvae.config.size
        self.ranker = Ranker(clip, tokenizer, self.device, slots)
        self.defaults: dict[str, Any] = DEFAULTS | (settings or {})
        self.provenance = {
            "recipe": "dalle",
            "checkpoint": name,
            "checkpoint_hash": checkpoint_hash,
            "pinxit": __version__,
        } | ({"int8": True} if int8 else {})
        self._steppers: dict[bool, TokenStepper] = {}

    @classmethod
    def from_checkpoint(
        cls, checkpoint: Checkpoint, *, name: str, device: str = "auto", int8: bool = False
    ) -> DallePainter:
        """Build the three models and fill them. Raises CheckpointError when a weight is missing or too many."""
        dvae = DVAE(checkpoint.config("dvae", DVAEConfig))
        transformer = TokenTransformer(checkpoint.config("transformer", TransformerConfig))
        clip = CLIP(checkpoint.config("clip", CLIPConfig))
        for part, module in (("dvae", dvae), ("transformer", transformer), ("clip", clip)):
            checkpoint.load_into(part, module)
        settings = {key: value for key, value in checkpoint.settings.items() if key in DEFAULTS}
        tokenizer = Tokenizer.open(checkpoint.folder)
        return cls(
            dvae,
            transformer,
            clip,
            tokenizer,
            name=name,
            checkpoint_hash=checkpoint.hash,
            settings=settings,
            device=device,
            int8=int8,
        )

    def tokens_over_limit(self, text: str) -> int:
        """How many tokens the transformer or CLIP will drop, whichever drops more; 0 when the prompt fits both."""
        return max(0, self.tokenizer.count(text) - self.text_tokens)

    def unknown_words(self, text: str) -> list[str]:
        """Words of the prompt that no training caption held."""
        return self.tokenizer.unknown_words(text)

    def hole(self, picture: Picture, *, keep_rows: int | None = None, box: PixelBox | None = None) -> Hole:
        """The cells to redraw, from rows to keep or from a box in pixels of `picture`: bool [h, w]."""
        if (keep_rows is None) == (box is None):
            raise UsageError("give either keep_rows or box: they say which part is redrawn.")
        if keep_rows is not None:
            return below_rows(self.grid, keep_rows)
        assert box is not None
        return inside_box(self.grid, picture.shape[1], picture.shape[0], box)

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

        Codes are drawn in raster order and see only what stands before them, so candidates are ranked by CLIP's cosine
        plus the mean log-likelihood of the known codes behind the hole, over CLIP's scale (spec 2.7).
        """
        asked = Prompt(prompt, seed)
        about = self._settings([asked], candidates, settings)
        known = square(picture, self.size)
        with torch.inference_mode():
            codes = self.dvae.encode_codes(to_tensor(known[None]).to(self.device))[0].cpu()
        given = torch.where(torch.from_numpy(hole), UNKNOWN, codes)
        requests = [replace(one, known=given) for one in self._requests(asked, candidates, about)]
        results = self._draw(requests, watch)
        pictures = [paste_known(known, one, hole) for one in self._pictures([result.codes for result in results])]
        behind = int((~hole).flatten()[hole.argmax() :].sum())
        weight = 1 / (max(behind, 1) * self.ranker.scale)
        bonus = [result.log_likelihood * weight for result in results]
        return self.ranker.ranked(prompt, seed, pictures, bonus, about["agreement"])[:keep]

    def _candidates_of(
        self, asked: Sequence[Prompt], candidates: int, settings: dict[str, Any], watch: Watch | None
    ) -> list[Picture]:
        requests = [one for prompt in asked for one in self._requests(prompt, candidates, settings)]
        return self._pictures([result.codes for result in self._draw(requests, watch)])

    def _requests(self, prompt: Prompt, candidates: int, settings: dict[str, Any]) -> list[TokenRequest]:
        ids = torch.from_numpy(self.tokenizer.encode([prompt.text], self.transformer.config.text_tokens))[0]
        drawn = {name: value for name, value in settings.items() if name != "agreement"}
        return [TokenRequest(ids, prompt.seed, candidate, **drawn) for candidate in range(candidates)]

    def _draw(self, requests: Sequence[TokenRequest], watch: Watch | None) -> list[TokenResult]:
        stepper = self._stepper(guided=any(one.guidance != 1 for one in requests))
        return draw(stepper, requests, lambda slots: self._half_done([stepper.partial(slot) for slot in slots]), watch)

    def _stepper(self, guided: bool) -> TokenStepper:
        if guided not in self._steppers:
            decoder = CachedDecoder(self.transformer, self.slots * (2 if guided else 1), int8=self.int8)
            self._steppers[guided] = TokenStepper(decoder, guided=guided)
        return self._steppers[guided]

    @torch.inference_mode()
    def _pictures(self, codes: Sequence[Tensor]) -> list[Picture]:
        if not codes:
            return []
        pixels = encode_fixed(self.dvae.decode_codes, torch.stack(list(codes)).to(self.device), self.slots)
        return list(to_pictures(pixels.cpu()))

    def _half_done(self, codes: Sequence[Tensor]) -> list[Picture]:
        """Pictures under way; cells that are not drawn yet are gray."""
        pictures = self._pictures([one.clamp(min=0) for one in codes])
        cell = self.size // self.grid
        missing = [np.kron((one == UNKNOWN).cpu().numpy(), np.ones((cell, cell), bool))[..., None] for one in codes]
        return [np.where(gap, np.uint8(128), one) for gap, one in zip(missing, pictures, strict=True)]
