"""Stage transformer: text and picture codes as one stream of tokens (DALL-E section 2.2, appendix B)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from pinxit.data.order import order_batch
from pinxit.data.sheet import sheet
from pinxit.data.stream_codes import StreamCodes
from pinxit.data.transforms import to_pictures
from pinxit.functional.linear_ce import linear_cross_entropy
from pinxit.functional.tokens import PAD
from pinxit.models.decoder import CachedDecoder
from pinxit.models.dvae import DVAE
from pinxit.models.transformer import TokenTransformer
from pinxit.pipelines.run import run
from pinxit.pipelines.token_tile import TokenRequest
from pinxit.pipelines.tokens import TokenWorker
from pinxit.recipes.batches import pick_caption
from pinxit.recipes.dalle.codebook_init import init_from_codebook
from pinxit.recipes.dalle.config import DalleConfig
from pinxit.training.draws import key, row_rngs, uniforms
from pinxit.training.initial import network
from pinxit.training.loop import Batch
from pinxit.training.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinxit.text.tokenizers import Tokenizer
    from pinxit.types import Picture

SHOWN = 8  # pictures of a preview
EVERY = -100  # as the id to ignore: no token has it, so none is left out of the loss
CodeRows = np.ndarray[tuple[int, int, int], np.dtype[np.uint16]]


class TransformerTask:
    """Predict captions and codes; each time that a picture is seen, one of its captions is drawn at random.

    `codes` are uint16 [N, h, w] or a stream's, `captions` the N tuples of their captions; all may be missing when only
    costs are estimated.
    """

    name = "transformer"

    def __init__(
        self,
        config: DalleConfig,
        codes: CodeRows | StreamCodes | None = None,
        captions: Sequence[Sequence[str]] = (),
        tokenizer: Tokenizer | None = None,
        dvae: DVAE | None = None,
    ) -> None:
        self.config, self.codes, self.captions = config, codes, captions
        self.tokenizer, self.dvae = tokenizer, dvae
        self.transformer = network(self._built, config.seed, "transformer")

    def _built(self) -> TokenTransformer:
        config = self.config
        made = TokenTransformer(config.transformer, seed=key(config.seed, "transformer") % 2**32)
        if config.codebook_init and self.dvae is not None:
            init_from_codebook(made, self.dvae.code_vectors(), key(config.seed, "alike") % 2**32)
        return made

    def modules(self) -> dict[str, nn.Module]:
        return {"transformer": self.transformer}

    def can_fork(self) -> bool:
        return not isinstance(self.codes, StreamCodes)

    def batch(self, rows: Rows) -> Batch:
        """Text int64 [B, L], all zeros where the caption is dropped, and codes int64 [B, N]."""
        assert self.codes is not None and self.tokenizer is not None
        seed, noise = self.config.seed, self.config.noise
        chance, dropped = uniforms(seed, "transformer captions", rows, 2).T
        order = self._order(rows, key(seed, "transformer order"))
        captions = [
            pick_caption(self.captions[row], one) for row, one in zip(order.tolist(), chance.tolist(), strict=True)
        ]
        text = self._encoded(captions, rows)
        text[dropped < noise.caption_drop] = 0
        codes = self.codes[order].reshape(rows.count, -1).astype(np.int64)
        return {"text": torch.from_numpy(text), "codes": torch.from_numpy(codes)}

    def _order(self, rows: Rows, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        if isinstance(self.codes, StreamCodes):
            return self.codes.order(rows, seed)
        assert self.codes is not None
        return order_batch(rows.position, rows.count, len(self.codes), seed)

    def _encoded(self, captions: Sequence[str], rows: Rows) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        """Ids int64 [B, L], with BPE dropout drawn for each caption separately."""
        assert self.tokenizer is not None
        length, dropout = self.config.transformer.text_tokens, self.config.noise.bpe_dropout
        if not dropout:
            return self.tokenizer.encode(captions, length)
        rngs = row_rngs(self.config.seed, "transformer merges", rows)
        each = [self.tokenizer.encode([one], length, dropout, rng) for one, rng in zip(captions, rngs, strict=True)]
        return np.concatenate(each)

    def blank(self, size: int) -> Batch:
        """A batch of the right shapes, to estimate costs."""
        config = self.config.transformer
        return {
            "text": torch.ones(size, config.text_tokens, dtype=torch.int64),
            "codes": torch.zeros(size, config.image_tokens, dtype=torch.int64),
        }

    def modules_to_compile(self) -> list[nn.Module]:
        return list(self.transformer.blocks)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """`tokens`: how many of the text the loss is a mean over; captions differ in length."""
        return {} if self.config.count_pads else {"tokens": (batch["text"] != PAD).sum()}

    def loss(self, batch: Batch, rows: Rows) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """One eighth of the text's cross-entropy plus seven eighths of the picture's (section 2.2).

        Pads are not predicted unless `count_pads`; every token of an update then counts the same, however long the
        captions of a micro-batch are (`counts`). Equal to `functional.tokens.token_loss` of the model's logits, but
        these are never all in memory.
        """
        model, L = self.transformer, self.config.transformer.text_tokens
        x_BTD = model.states(batch["text"], batch["codes"])
        text_MD, image_MD = x_BTD[:, :L].flatten(0, 1), x_BTD[:, model.config.prefix - 1 :].flatten(0, 1)
        ignore = EVERY if self.config.count_pads else PAD
        text = linear_cross_entropy(text_MD, model.text_rows(), batch["text"].flatten(), ignore)
        if "tokens" in batch:
            text = text * ((batch["text"] != PAD).sum() / batch["tokens"].clamp(min=1e-6))
        image = linear_cross_entropy(image_MD, model.image_rows(), batch["codes"].flatten())
        return text / 8 + image * 7 / 8, {"text": text.detach(), "image": image.detach()}

    def preview(self) -> Picture | None:
        """What the model paints for some captions of the bank."""
        if self.tokenizer is None or self.dvae is None:
            return None
        captions = [self.captions[row][0] for row in range(min(SHOWN, len(self.captions)))]
        text = torch.from_numpy(self.tokenizer.encode(captions, self.config.transformer.text_tokens))
        device = next(self.transformer.parameters()).device
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            worker = TokenWorker(CachedDecoder(self.transformer, len(captions)))
            drawn = run(worker, [TokenRequest(row, seed) for seed, row in enumerate(text)])
            codes = torch.stack([done.codes for done in drawn])
            return sheet(to_pictures(self.dvae.to(device).decode_codes(codes.to(device))), captions)
