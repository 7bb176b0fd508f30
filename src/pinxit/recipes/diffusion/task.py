"""Training one stage of the cascade: clean pictures from noisy ones, given the text (Imagen, sections 2.1 and 2.4).

Shapes: B pictures, S their side, s the side of the smaller picture that an upsampler is given, L text positions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.data.bank import Bank
from pinxit.data.sheet import sheet
from pinxit.data.transforms import to_pictures
from pinxit.data.writing_systems import Script, captions_in
from pinxit.errors import UsageError
from pinxit.functional.diffusion import q_sample, target
from pinxit.functional.diffusion_losses import learned_range_loss, squared_error
from pinxit.functional.draws import RowStreams
from pinxit.functional.holes import WHOLE, random_holes, with_holes
from pinxit.functional.samplers import SAMPLERS, Denoised, drive
from pinxit.functional.tokens import PAD
from pinxit.models.unet import UNet
from pinxit.recipes.batches import pick_caption, random_integers
from pinxit.recipes.diffusion.conditions import noising_of, texts
from pinxit.recipes.diffusion.config import StageConfig
from pinxit.recipes.diffusion.denoiser import UNetDenoiser, network_output, split_variance
from pinxit.recipes.diffusion.inputs import blurred, corrupted, cropped, signed
from pinxit.recipes.diffusion.losses import halves, spread, weights
from pinxit.text.learned import LearnedText
from pinxit.training.draws import key, row_streams, seeded, torch_rng, uniforms
from pinxit.training.initial import network
from pinxit.training.loop import Batch
from pinxit.training.rows import Rows

if TYPE_CHECKING:
    from pinxit.data.embeddings import Embeddings
    from pinxit.data.stream_texts import StreamTexts
    from pinxit.data.streams import Stream
    from pinxit.text.encoders import TextEncoder
    from pinxit.types import Picture

ImageRows = Callable[[Sequence[int]], Tensor]  # embeddings of the bank's pictures, float32 [B, I]
TEXT = "text"  # the learned text encoder among a task's modules
SHOWN = 8  # pictures of a preview
STEPS = 16  # of its sampling


class DiffusionTask:
    """Denoise the bank's pictures. A stage with `config.low` is an upsampler; `config.unet` says if it takes text.

    The text encoder `reader` is trained too if it is a learned one and `teaches` is set; `stored` are captions that a
    frozen one has encoded beforehand. The empty caption means no text. Bank and reader may be None when only costs are
    estimated.
    """

    def __init__(
        self,
        name: str,
        config: StageConfig,
        seed: int,
        text_shape: tuple[int, int],
        bank: Bank | Stream | None = None,
        reader: TextEncoder | None = None,
        drop: float = 0.1,
        noise: float = 0.0,
        *,
        script: Script = "all",
        teaches: bool = False,
        stored: Embeddings | StreamTexts | None = None,
        image_rows: ImageRows | None = None,
        drop_image: float = 0.0,
        whole: float = WHOLE,
    ) -> None:
        """`image_rows`: embeddings of the bank's pictures, for a network that takes them, dropped for a share
        `drop_image`. `whole`: the share of pictures that are all hole, for a network that paints inside holes.
        """
        self.name, self.config, self.seed, self.drop = name, config, seed, drop
        self.bank, self.reader, self.text_shape = bank, reader, text_shape
        self.script, self.stored, self.noise = script, stored, noise
        self.image_rows, self.drop_image, self.whole = image_rows, drop_image, whole
        self.learned = reader if teaches and isinstance(reader, LearnedText) else None
        self.noising, self.span = noising_of(config), (0.0, 1.0)  # times of the schedule that it is trained on
        self.unet = network(lambda: UNet(config.unet), seed, name)
        self.pieces = "settled" if config.unet.dropout else "alike"  # masks are drawn once a piece

    def modules(self) -> dict[str, nn.Module]:
        return {self.name: self.unet} | ({TEXT: self.learned.model} if self.learned else {})

    def modules_to_compile(self) -> list[nn.Module]:
        return [self.unet]

    def can_fork(self) -> bool:
        """Not where a frozen language model reads captions as they come, on the GPU."""
        return isinstance(self.bank, Bank) and (not self.config.unet.text or self.stored is not None)

    def batch(self, rows: Rows) -> Batch:
        """Pictures or crops uint8 [B, S, S, 3], their text (`_text`), and their embeddings if the network takes any."""
        assert self.bank is not None
        order = self.bank.order(rows, key(self.seed, f"{self.name} order"))
        text = self._text(order.tolist(), rows) if self.config.unet.text else {}
        corners = uniforms(self.seed, f"{self.name} crops", rows, 2)
        pictures = cropped(np.asarray(self.bank.pictures[order]), self.config.train_size, self.config.scale, corners)
        shown = {"pictures": torch.from_numpy(np.ascontiguousarray(pictures))}
        return shown | text | self._image(order.tolist(), rows)

    def shortest_captions(self, rows: Rows) -> Batch:
        """The shortest caption of each picture, encoded, and the picture's embedding; nothing is dropped."""
        assert self.bank is not None
        order = self.bank.order(rows, key(self.seed, f"{self.name} order")).tolist()
        captions = [min(captions_in(self.bank.captions[row], self.script), key=len) for row in order]
        return self._understood(self._read(captions)) | {"image": self._embeddings(order)}

    def blank(self, size: int) -> Batch:
        """A batch of the right shapes, to estimate costs."""
        side, (length, width) = self.config.train_size, self.text_shape
        text = {"sequence": torch.zeros(size, length, width)}
        if self.learned is not None:
            text = {"ids": torch.ones(size, length, dtype=torch.int64)}
        text |= {"mask": torch.ones(size, length, dtype=torch.bool)}
        pictures = torch.zeros(size, side, side, 3, dtype=torch.uint8)
        image = {"image": torch.zeros(size, self.config.unet.image)} if self.config.unet.image else {}
        return {"pictures": pictures} | (text if self.config.unet.text else {}) | image

    def loss(self, batch: Batch, rows: Rows) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """Mean squared error of the prediction target, with noise levels spread evenly over the update.

        With a learned variance, plus the variational bound on it (`learned_range_loss`).
        """
        x0 = signed(batch["pictures"])
        draws = row_streams(self.seed, f"{self.name} noise", rows, x0.device)
        first, last = self.span
        spread_B = spread(self.seed, f"{self.name} times", rows, x0.device)
        even_B = first + (last - first) * spread_B
        about = self.config.diffusion
        sigma_B = about.drawn(even_B)
        noise = draws.normal(*x0.shape)
        conditions = self._understood(batch) | self._smaller(x0, draws, rows) | self._holes(x0, rows)
        conditions |= {"image": batch["image"]} if self.config.unet.image else {}
        if self.noise and "sequence" in conditions:
            conditions["sequence"] = blurred(conditions["sequence"], batch["mask"], self.noise, draws)
        z = q_sample(x0, noise, sigma_B)
        predict = partial(network_output, self.unet, z, sigma_B, about, conditions)
        dropping = f"{self.name} dropout {rows.position}"
        prediction, fraction = split_variance(
            seeded(predict, self.seed, dropping) if self.config.unet.dropout else predict(), about
        )
        if fraction is None:
            error_B = squared_error(prediction, target(about.prediction, x0, noise, sigma_B), weights(about, sigma_B))
        else:
            error_B = learned_range_loss(prediction, fraction, x0, z, noise, about.timesteps(even_B), about.table)
        return error_B.mean(), halves(error_B, spread_B)

    def preview(self) -> Picture | None:
        """Drawn for the bank's first captions; above the true pictures: from embeddings alone, or enlarged."""
        if self.bank is None or self.reader is None:
            return None
        captions = [captions_in(self.bank.captions[row], self.script)[0] for row in range(min(SHOWN, len(self.bank)))]
        device = next(self.unet.parameters()).device
        seen = bool(self.config.unet.image)  # then no caption is told, by which it could draw and be blind
        told = self._read([""] * len(captions) if seen else captions)
        conditions = self._understood({name: rows.to(device) for name, rows in told.items()})
        true, given = self.bank.pictures[: len(captions)], []
        if seen:
            conditions["image"] = self._embeddings(range(len(captions))).to(device)
        noise = torch.randn(
            len(captions), 3, self.config.size, self.config.size, generator=torch_rng(self.seed, "preview", 0)
        ).to(device)
        if self.config.low:
            small = F.avg_pool2d(signed(torch.from_numpy(np.array(true))).to(device), self.config.scale)
            clear = self.noising(small, torch.zeros(len(captions), device=device), noise)
            conditions |= self.config.accepted(clear)
            given = list(to_pictures((conditions["low_res"].cpu() + 1) / 2))
        if self.config.unet.masked:  # all is hole
            conditions["masked"] = with_holes(noise, torch.ones_like(noise[:, 0], dtype=torch.bool))
        denoiser = UNetDenoiser(self.unet, self.config.diffusion, self.config.size, device)
        about = self.config.diffusion
        sigmas = about.even_sigmas(min(STEPS, about.steps or STEPS))
        samples = drive(
            SAMPLERS["ddim"].run(noise * sigmas[0], sigmas, lambda: noise),
            lambda x, sigma: _clipped(denoiser(x, torch.full((len(x),), sigma, device=device), conditions)),
        )
        drawn = list(to_pictures((samples.cpu().clamp(-1, 1) + 1) / 2))
        beside = seen or bool(given)
        return sheet([*given, *drawn, *true] if beside else drawn, None if beside else captions, columns=len(drawn))

    def _text(self, found: Sequence[int], rows: Rows) -> Batch:
        """A random caption of each of these pictures, as the batch holds it (`_read`); none where it is dropped."""
        assert self.bank is not None
        drop, chance = uniforms(self.seed, f"{self.name} captions", rows, 2).T
        dropped = drop < self.drop
        if self.stored is not None:
            which = np.where(dropped, -1, random_integers([self.stored.count(row) for row in found], chance))
            sequence, mask = self.stored.rows(found, which.tolist())
            return {"sequence": sequence, "mask": mask & torch.from_numpy(~dropped)[:, None]}
        texts = (captions_in(self.bank.captions[row], self.script) for row in found)
        captions = [pick_caption(several, one) for several, one in zip(texts, chance.tolist(), strict=True)]
        return self._read(["" if gone else caption for gone, caption in zip(dropped, captions, strict=True)])

    def _image(self, found: Sequence[int], rows: Rows) -> Batch:
        """The embeddings of the pictures themselves; zeros where they are dropped.

        Zeros can mean "none", because no embedding in a space of unit variance is anywhere near them. What is dropped
        comes from a random stream of its own, so that other draws do not depend on it.
        """
        if not self.config.unet.image:
            return {}
        kept = uniforms(self.seed, f"{self.name} image", rows) >= self.drop_image
        return {"image": self._embeddings(found) * torch.from_numpy(kept)}

    def _embeddings(self, rows: Sequence[int]) -> Tensor:
        if self.image_rows is None:
            raise UsageError(f"{self.name}'s unet.image={self.config.unet.image} wants embeddings, and none are here.")
        return self.image_rows(rows)

    def _holes(self, x0: Tensor, rows: Rows) -> Batch:
        """The picture with a random hole, for a network that paints inside them."""
        if not self.config.unet.masked:
            return {}
        draws = row_streams(self.seed, f"{self.name} holes", rows, x0.device)
        return {"masked": with_holes(x0, random_holes(len(x0), x0.shape[-1], draws, self.whole))}

    def _read(self, captions: Sequence[str]) -> Batch:
        """Captions as the batch holds them: vectors of a frozen text encoder, or ids for a learned one."""
        assert self.reader is not None
        if self.learned is None:
            return {name: rows.cpu() for name, rows in texts(self.reader, captions, len(captions)).items()}
        ids_BL = self.learned.batch_ids(captions).cpu()
        given_B = torch.tensor([bool(caption) for caption in captions])
        return {"ids": ids_BL, "mask": (ids_BL != PAD) & given_B[:, None]}

    def _understood(self, batch: Batch) -> Batch:
        """The conditions of the batch's text, with a gradient if the text encoder is learned; {} without text."""
        if not self.config.unet.text:
            return {}
        sequence = batch["sequence"] if self.learned is None else self.learned.model(batch["ids"]).sequence
        return {"sequence": sequence, "mask": batch["mask"]}

    def _smaller(self, x0: Tensor, draws: RowStreams, rows: Rows) -> dict[str, Tensor]:
        """The smaller picture, noised at a random level that is a condition itself (conditioning augmentation)."""
        if not self.config.low:
            return {}
        small = F.avg_pool2d(x0, self.config.scale)
        if self.config.corrupt != "noise":
            return self.noising.plain(corrupted(small, self.config.corrupt, draws), x0.shape[-1])
        even_B = spread(self.seed, f"{self.name} levels", rows, x0.device, shuffled=True)  # independent of times
        return self.noising(small, self.config.max_augmentation * even_B, draws.normal(*x0.shape))


def countable(config: StageConfig) -> StageConfig:
    """The config to count costs with, on the meta device: there BSR cannot run, as it reads random values."""
    return replace(config, corrupt="blur") if config.corrupt == "bsr" else config


def _clipped(denoised: Denoised) -> Denoised:
    return Denoised(denoised.x0.clamp(-1, 1))
