"""`pinxit train dalle`, stage by stage: pictures, tokenizer, dvae, codes, transformer, clip, checkpoint.

Every stage keeps its results in a folder of the run and resumes from what it finds there, so that a run may be killed
at any time, divided into invocations (`minutes`), and repeated without harm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pinxit.data.sources import open_training
from pinxit.data.streams import Stream
from pinxit.models.torch_defaults import torch_defaults_for_training
from pinxit.recipes.clip.task import GROUP, ClipTask
from pinxit.recipes.dalle import estimate
from pinxit.recipes.dalle.clip_training import Reconstruct, ranker
from pinxit.recipes.dalle.encode import encode_bank
from pinxit.recipes.dalle.release import write_checkpoint
from pinxit.recipes.dalle.run import STAGES, TRAINED, DalleRun
from pinxit.recipes.dalle.train_dvae import DVAETask
from pinxit.recipes.dalle.train_transformer import TransformerTask
from pinxit.recipes.run_sidecars import encode_missing
from pinxit.recipes.sidecars import DvaeRowEncoder
from pinxit.recipes.staging import (
    RunOutcome,
    fit_stage,
    learn_tokenizer,
    prepare_pictures,
    progress_callback,
    run_in_order,
    store_bank,
)
from pinxit.recipes.warm_start import check_fits
from pinxit.text.tokenizers import Tokenizer
from pinxit.training.precision import pick_device
from pinxit.training.stop import Stop


@torch_defaults_for_training()
def train(run: DalleRun, stages: Sequence[str] | None = None, stop: Stop | None = None) -> RunOutcome:
    """Run `stages` (None: all) in their order as far as time allows; finished ones are skipped.

    Raises UsageError for an unknown stage, a config that no longer fits the run, or a stage whose predecessors are not
    finished; PinxitError for a full disk.
    """

    def step(name: str, stop: Stop) -> None:
        STEPS[name](run, stop)

    asked = STAGES if stages is None else stages
    check_fits(run, [estimate.stage(run.config, name) for name in TRAINED if name in asked])
    return run_in_order(run, STAGES, asked, step, lambda name: name in TRAINED and run.finished(name), stop)


def pictures(run: DalleRun, stop: Stop) -> None:
    """Draw or read the pictures of the dVAE and the transformer; for worlds also those of CLIP, neighbours together."""
    data = run.config.data
    prepare_pictures(run, stop)
    if run.grouped:
        detail = {"detail": True} if data.detail and data.source != "world:small" else {}
        world = open_training(data.source, data.size, run.config.seed, group=GROUP, **detail)
        store_bank(run, "ranking", world, data.ranking, stop)


def tokenizer(run: DalleRun, stop: Stop) -> None:
    """Learn the text tokens from the captions, or take over those of the checkpoint that the run starts from."""
    if run.finished("tokenizer"):
        return
    if run.init is not None and not run.renews_tokens:
        Tokenizer.open(run.init.folder).save(run.path("tokenizer"))
        return
    run.need("tokenizer", "pictures")
    learn_tokenizer(run.pictures(), run.config.vocab, run.path("tokenizer"), run.config.spell)


def dvae(run: DalleRun, stop: Stop) -> None:
    """Train the discrete VAE."""
    run.need("dvae", "pictures")
    fit_stage(run, "dvae", lambda: DVAETask(run.config, run.pictures()), stop)


def codes(run: DalleRun, stop: Stop) -> None:
    """Encode every picture; of a stream, those shards that have no codes yet."""
    run.need("codes", "pictures", "dvae")
    pictures = run.pictures()
    if isinstance(pictures, Stream):
        encode_missing(run, "codes", pictures, DvaeRowEncoder(run.dvae(), pick_device(run.device)), stop)
        return
    with progress_callback(run, "codes", stop) as progress:
        encode_bank(run, progress)


def transformer(run: DalleRun, stop: Stop) -> None:
    """Train the token transformer."""
    run.need("transformer", "tokenizer", "codes")
    data = run.codes(), run.pictures().captions, run.tokenizer(), run.dvae()
    fit_stage(run, "transformer", lambda: TransformerTask(run.config, *data), stop)


def clip(run: DalleRun, stop: Stop) -> None:
    """Train the ranker; a share of its pictures goes through the dVAE first, like the candidates that it will rank."""
    training = ranker(run.config, run.grouped)
    run.need("clip", "pictures", "tokenizer", *(["dvae"] if training.reconstructed else []))
    reconstruct = Reconstruct(run.dvae(), run.config.noise.corrupted) if training.reconstructed else None
    data = run.ranking_bank(), run.tokenizer(), reconstruct
    fit_stage(run, "clip", lambda: ClipTask(training, *data), stop)


def checkpoint(run: DalleRun, stop: Stop) -> None:
    """Write the checkpoint that `pinxit paint` opens."""
    run.need("checkpoint", "tokenizer", "dvae", "transformer", "clip")
    if run.finished("codes"):
        run.codes()  # refuses another dVAE than the one whose codes the transformer has learnt
    write_checkpoint(run)


STEPS: dict[str, Callable[[DalleRun, Stop], None]] = {
    "pictures": pictures,
    "tokenizer": tokenizer,
    "dvae": dvae,
    "codes": codes,
    "transformer": transformer,
    "clip": clip,
    "checkpoint": checkpoint,
}
