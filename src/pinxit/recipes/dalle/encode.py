"""Stage codes: the bank's pictures as codes, by the frozen dVAE (DALL-E section 2.2: argmax, no sampling)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from pinxit.data.transforms import to_tensor
from pinxit.errors import DataError
from pinxit.functional.codes import code_usage
from pinxit.models.dvae import DVAE
from pinxit.recipes.batches import fitted
from pinxit.recipes.dalle.rows import RowFile
from pinxit.recipes.dalle.run import DalleRun
from pinxit.training.precision import autocast, keep_freed_memory, pick_device, place
from pinxit.weights.checkpoint import fingerprint

CHUNK = 4096  # pictures between two notes of how far it is
BATCH = 256


def encode_bank(run: DalleRun, progress: Callable[[int, int], None]) -> None:
    """Write codes uint16 [N, h, w] of every picture into the run; killed, it goes on where it was.

    The arithmetic is that of the dVAE's training. codes.json tells which dVAE made them. When that one has been trained
    further, the codes are made again, unless the transformer has learnt from them already: then DataError is raised.
    """
    bank, device, file = run.bank(), pick_device(run.device), RowFile(run.path("codes"), "codes")
    model, plan = run.dvae(), run.plan("dvae")
    place({"dvae": model}, plan, device)
    if device.type == "cpu":
        keep_freed_memory()
    about: dict[str, Any] = {"dvae": fingerprint(model), "pictures": len(bank), "grid": model.grid}
    if file.of(about):
        if file.finished:
            return
    elif run.path("transformer").exists():
        raise DataError(
            f"the dVAE is no longer the one that made {file.folder}: delete {run.path('transformer')} to train it anew."
        )
    done = file.start(about)
    for start in range(done, len(bank), CHUNK):
        rows = fitted(bank.pictures[start : start + CHUNK], run.config.dvae.size)
        with autocast(plan, device):
            codes = encode(model.eval(), rows, device)
        done = file.put(about, len(bank), start, codes)
        progress(done, len(bank))
    usage, perplexity = code_usage(torch.from_numpy(file.rows()[:CHUNK].astype(np.int64)), model.config.codes)
    file.finish(about, {"share_used": usage, "perplexity": perplexity})


@torch.inference_mode()
def encode(
    model: DVAE, pictures: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], device: torch.device
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    """Codes uint16 [N, h, w] of pictures uint8 [N, S, S, 3]."""
    parts = [
        model.encode_codes(to_tensor(pictures[start : start + BATCH]).to(device)).cpu().numpy()
        for start in range(0, len(pictures), BATCH)
    ]
    return np.concatenate(parts).astype(np.uint16)
