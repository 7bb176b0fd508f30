"""Stage drawn: what the transformer draws for captions of CLIP's pictures, for CLIP to tell from the true ones.

Of true pictures alone a ranker learns which caption is meant, and nothing of the mistakes that it has to rank. When it
must also tell the true picture from drawn ones, its score tends to log p(picture | caption) of the data over that of
the transformer (the optimum of such a contrast, van den Oord et al. 2018, arXiv 1807.03748, section 2.3): the best
order for candidates that the transformer drew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from pinxit.config import to_dict
from pinxit.data.transforms import to_pictures
from pinxit.errors import DataError
from pinxit.models.decoder import CachedDecoder
from pinxit.pipelines.autoregress import TokenRequest, TokenStepper
from pinxit.pipelines.stepper import run as serve
from pinxit.recipes.batches import pick
from pinxit.recipes.dalle.rows import Rows
from pinxit.recipes.dalle.run import DalleRun
from pinxit.training.draws import numpy_rng
from pinxit.training.precision import keep_freed_memory, pick_device
from pinxit.weights.checkpoint import fingerprint

SLOTS = 64  # pictures drawn at once
CHUNK = 32  # captions between two notes of how far it is


def draw_bank(run: DalleRun, progress: Callable[[int, int], None]) -> None:
    """Write pictures uint8 [captions, each, S, S, 3] into the run; killed, it goes on where it was.

    Raises DataError when the transformer has been trained further since CLIP learnt from what it drew.
    """
    wanted, bank, file = run.config.drawn, run.ranking_bank(), run.drawn_file()
    count = min(wanted.captions, len(bank))
    transformer, dvae = run.transformer(), run.dvae()
    about: dict[str, Any] = {"transformer": fingerprint(transformer), "captions": count, "each": wanted.each}
    if file.of(about):
        if file.finished:
            return
    elif run.path("clip").exists():
        raise DataError(
            f"the transformer is no longer the one that drew {file.folder}: delete {run.path('clip')} to train it anew."
        )
    device, tokenizer = pick_device(run.device), run.tokenizer()
    if device.type == "cpu":
        keep_freed_memory()
    sampling = to_dict(run.config.sampling)
    decoder = CachedDecoder(transformer.to(device), SLOTS * 2)
    stepper = TokenStepper(decoder, guided=True)
    dvae.to(device)

    def draw(start: int) -> Rows:
        rows = range(start, min(start + CHUNK, count))
        captions = [pick(bank.captions[row], numpy_rng(run.config.seed, "drawn captions", row)) for row in rows]
        text = torch.from_numpy(tokenizer.encode(captions, transformer.config.text_tokens))
        asked = [
            TokenRequest(ids, seed=row, candidate=k, **sampling)
            for row, ids in zip(rows, text, strict=True)
            for k in range(wanted.each)
        ]
        with torch.inference_mode():
            codes = torch.stack([one.codes for one in serve(stepper, asked)]).to(device)
            pictures = to_pictures(dvae.decode_codes(codes))
        return pictures.reshape(len(rows), wanted.each, *pictures.shape[1:])

    done = file.start(about)
    while done < count:
        done = file.put(about, count, done, draw(done))
        progress(done, count)
    file.finish(about, {})
