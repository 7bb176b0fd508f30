"""Stages that all diffusion runs share: storing pictures, and the encoded captions."""

from __future__ import annotations

from typing import Any

from pinxit.data.bank import Bank, build_bank
from pinxit.data.embeddings import Embeddings, build_embeddings
from pinxit.data.sources import WORLD, open_training
from pinxit.data.stream_builder import build_stream
from pinxit.data.stream_texts import StreamTexts
from pinxit.data.streams import Stream
from pinxit.recipes.run_sidecars import sidecar_folder
from pinxit.recipes.staging import Run, progress_callback, workers
from pinxit.text.encoders import TextEncoder
from pinxit.training.precision import pick_device
from pinxit.training.stop import Stop

AT_ONCE, AT_ONCE_GPU = 32, 256  # captions encoded together


def store_pictures(run: Run[Any], name: str, size: int, count: int, stop: Stop) -> None:
    """Draw or read pictures of `size` px into the folder `name`, at most `count`."""
    data = run.config.data
    if data.stream:
        with progress_callback(run, name, stop) as progress:
            build_stream(data.source, size, count, run.path(name), progress)
        return
    names = {"names": data.names} if data.source.startswith(WORLD) else {}  # other data have fixed captions
    with progress_callback(run, name, stop) as progress:
        source = open_training(data.source, size, run.config.seed, **names)
        build_bank(source, count, run.path(name), workers(count), progress)


def open_texts(run: Run[Any], name: str, bank: Bank | Stream, encoder: TextEncoder) -> Embeddings | StreamTexts:
    """The captions of stored or streamed pictures as `encoder` has encoded them into the folder `name`.

    Raises DataError for those of another encoder or of other pictures, and where there are none.
    """
    if isinstance(bank, Stream):
        return StreamTexts.open(bank, sidecar_folder(run, name), encoder, run.config.data.script)
    embeddings = Embeddings.open(run.path(name))
    embeddings.require(encoder, bank)
    return embeddings


def store_texts(run: Run[Any], name: str, bank: Bank, encoder: TextEncoder, stop: Stop, label: str = "texts") -> None:
    """Encode a bank's captions into the folder `name`, so that training need not do it."""
    config, at_once = run.config, AT_ONCE if pick_device(run.device).type == "cpu" else AT_ONCE_GPU
    with progress_callback(run, label, stop) as progress:
        folder, kept, script = run.path(name), config.text.stored, config.data.script
        build_embeddings(bank, encoder, folder, kept, at_once, config.seed, progress, script)
