"""Stage codes: the bank's pictures as codes, by the frozen dVAE (DALL-E section 2.2: argmax, no sampling)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from pinxit.data import npy
from pinxit.data.transforms import augment_transformer, to_tensor
from pinxit.files import write_json
from pinxit.functional.codes import code_usage
from pinxit.models.dvae import DVAE
from pinxit.recipes.batches import Pictures
from pinxit.recipes.dalle.run import ABOUT, CODES, DalleRun
from pinxit.training.draws import numpy_rng
from pinxit.training.precision import autocast, keep_freed_memory, pick_device, place
from pinxit.weights.checkpoint import fingerprint

CHUNK = 4096  # pictures between two records of progress
BATCH = 256
UNFINISHED = "unfinished.npy"


def encode_bank(run: DalleRun, progress: Callable[[int, int], None]) -> None:
    """Write codes uint16 [N, h, w] of every picture into the run; if killed, it resumes where it was.

    Precision is that of the dVAE's training. codes.json records which dVAE made the codes. If the dVAE has been trained
    further since, they are made again, unless the transformer's training has begun: then DataError is raised.
    """
    folder, bank, device = run.path("codes"), run.bank(), pick_device(run.device)
    model, plan = run.dvae(), run.plan("dvae")
    place({"dvae": model}, plan, device)
    if device.type == "cpu":
        keep_freed_memory()
    about: dict[str, Any] = {"dvae": fingerprint(model), "pictures": len(bank), "grid": model.grid}
    old = run.about_codes()
    if {name: old.get(name) for name in about} == about:
        if run.finished("codes"):
            return
    elif run.path("transformer").exists():
        raise run.outdated_codes()
    else:
        (folder / CODES).unlink(missing_ok=True)
        (folder / UNFINISHED).unlink(missing_ok=True)
        old = {}
    done = int(old.get("done", 0)) if (folder / UNFINISHED).exists() else 0
    for start in range(done, len(bank), CHUNK):
        rows = views(bank.pictures[start : start + CHUNK], run.config.dvae.size, run.config.seed, start)
        with autocast(plan, device):
            codes = encode(model.eval(), rows, device)
        if not start:
            npy.allocate(folder / UNFINISHED, np.uint16, (len(bank), *codes.shape[1:]))
        npy.write_rows(folder / UNFINISHED, start, codes)
        done = start + len(rows)
        write_json(folder / ABOUT, about | {"done": done})
        progress(done, len(bank))
    stored = np.load(folder / UNFINISHED, mmap_mode="r", allow_pickle=False)
    usage, perplexity = code_usage(torch.from_numpy(stored[:CHUNK].astype(np.int64)), model.config.codes)
    write_json(folder / ABOUT, about | {"done": done, "share_used": usage, "perplexity": perplexity})
    (folder / UNFINISHED).replace(folder / CODES)


def views(pictures: Pictures, size: int, seed: int, first: int) -> Pictures:
    """Stored pictures [N, S, S, 3] as the transformer sees them, at `size`; `first` is the number of the first one.

    Of pictures that are stored larger it is one random crop each (appendix B.1); the paper draws a new one every epoch.
    """
    if pictures.shape[1] == size:
        return np.asarray(pictures)
    augmented = [augment_transformer(one, size, numpy_rng(seed, "view", first + n)) for n, one in enumerate(pictures)]
    return np.stack(augmented)


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
