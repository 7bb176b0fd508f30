from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from pinxit.cli.train import app
from pinxit.config import from_dict, override, to_dict
from pinxit.data.bank import Bank
from pinxit.data.folders import FolderDataset
from pinxit.data.shard_writer import write_shards
from pinxit.errors import CheckpointError, DataError, PinxitError, UsageError
from pinxit.functional.tokens import token_loss
from pinxit.models.decoder import CachedDecoder
from pinxit.pipelines.run import run as serve
from pinxit.pipelines.token_tile import TokenRequest
from pinxit.pipelines.tokens import TokenWorker
from pinxit.recipes.clip.mirrored import mirrored_pairs
from pinxit.recipes.clip.task import ClipTask
from pinxit.recipes.dalle import encode, estimate
from pinxit.recipes.dalle.clip_training import Reconstruct, ranker
from pinxit.recipes.dalle.config import DalleConfig
from pinxit.recipes.dalle.paper import paper
from pinxit.recipes.dalle.presets import PRESETS, nano, preset, tiny
from pinxit.recipes.dalle.run import STAGES, TRAINED, DalleRun
from pinxit.recipes.dalle.stages import train
from pinxit.recipes.dalle.train_transformer import TransformerTask
from pinxit.recipes.estimate import cost_of
from pinxit.training.log import read_metrics
from pinxit.training.parallel import Ranks
from pinxit.training.rows import all_rows
from pinxit.training.state import FILE, read_progress
from pinxit.training.stop import Stop
from pinxit.weights.checkpoint import Checkpoint, fingerprint, open_checkpoint
from tests.data.helpers import full_disk
from tests.recipes.curves import check_curve
from tests.recipes.squares import small, write_squares

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden" / "nano.json"


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_squares(tmp_path_factory.mktemp("squares"))


@pytest.fixture(scope="module")
def straight(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> DalleRun:
    """All stages in one invocation."""
    done = DalleRun(tmp_path_factory.mktemp("straight"), small(squares), "cpu", progress=False)
    ended = train(done)
    assert ended.finished == STAGES and not ended.stopped
    return done


class Impatient(Stop):
    """Time is up every ninth time somebody asks."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def due(self) -> bool:
        self.asked += 1
        return self.asked >= 9


def test_many_invocations_end_where_one_does(straight: DalleRun, tmp_path: Path) -> None:
    """Every weight, average and moment of every stage, the codes and the checkpoint, bit for bit."""
    cut = DalleRun(tmp_path, straight.config, "cpu", progress=False)
    invocations = 0
    while train(cut, stop=Impatient()).finished != STAGES:
        invocations += 1
        assert invocations < 30, "no invocation may end where it began"
    assert invocations > 6
    for stage in TRAINED:
        one, other = load_file(straight.path(stage) / FILE), load_file(cut.path(stage) / FILE)
        assert one.keys() == other.keys()
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items()), stage
    assert np.array_equal(np.asarray(straight.codes()), np.asarray(cut.codes()))
    found, expected = (open_checkpoint(run.path("checkpoint")) for run in (cut, straight))
    assert {name: file["sha256"] for name, file in found.files.items()} == {
        name: file["sha256"] for name, file in expected.files.items()
    }


def test_losses_follow_the_golden_curve(straight: DalleRun) -> None:
    check_curve(straight, TRAINED, GOLDEN, updates=12, most=0.03)


def test_overfits_eight_pictures(squares: Path, tmp_path: Path) -> None:
    """From pictures and captions to codes and back: greedy decoding repeats the codes of every training picture."""
    quiet = ["noise.bpe_dropout=0", "noise.caption_drop=0"]
    lengths = ["plans.dvae.images=1800", "plans.transformer.images=1200", "plans.clip.images=400"]
    fast = ["plans.dvae.schedule=constant", "plans.transformer.schedule=constant"]
    work = DalleRun(tmp_path, small(squares, *quiet, *lengths, *fast), "cpu", progress=False)
    train(work)
    assert read_metrics(work.path("dvae"))[-1]["mse"] < 0.01  # 0.04 without any codes
    assert read_metrics(work.path("clip"))[-1]["right"] == 1.0
    captions = [some[0] for some in work.bank().captions]
    text = torch.from_numpy(work.tokenizer().encode(captions, work.config.transformer.text_tokens))
    worker = TokenWorker(CachedDecoder(work.transformer(), 8, torch.float32))
    drawn = serve(worker, [TokenRequest(row, temperature=0.0) for row in text])
    codes = np.asarray(work.codes()).astype(np.int64)
    assert len(np.unique(codes.reshape(8, -1), axis=0)) == 8
    assert np.array_equal(torch.stack([one.codes for one in drawn]).numpy(), codes)


def test_checkpoint_paints(straight: DalleRun) -> None:
    from pinxit.recipes.dalle.painter import DallePainter

    checkpoint = open_checkpoint(straight.path("checkpoint"), "dalle")
    painter = DallePainter.from_checkpoint(checkpoint, name="nano", device="cpu")
    ranked = painter.paint("a red square on the left", candidates=2, keep=1)
    assert ranked[0].picture.shape == (32, 32, 3)
    card = (straight.path("checkpoint") / "README.md").read_text()
    assert "| dvae | 96 |" in card and "8 pictures" in card
    assert checkpoint.provenance["stages"]["clip"]["images"] == 96


@pytest.mark.parametrize("count_pads", [False, True])
def test_slices_of_logits_give_the_models_loss(squares: Path, count_pads: bool) -> None:
    """The fast loss equals `token_loss` of the model's own logits, forward and backward."""
    task = TransformerTask(small(squares, f"count_pads={str(count_pads).lower()}"))
    generator = torch.Generator().manual_seed(1)
    text = torch.randint(4, 500, (3, 16), generator=generator)
    text[:, 9:], text[2] = 0, 0
    batch = {"text": text, "codes": torch.randint(0, 256, (3, 16), generator=generator)}
    fast, parts = task.loss(batch, all_rows(0, 3))
    parameters = list(task.transformer.parameters())
    grads = torch.autograd.grad(fast, parameters)
    text_logits, image_logits = task.transformer(text, batch["codes"])
    slow, text_ce, image_ce = token_loss(text_logits, image_logits, text, batch["codes"], count_pads=count_pads)
    assert torch.allclose(fast, slow, rtol=1e-6)
    assert torch.allclose(
        torch.stack([torch.as_tensor(parts["text"]), torch.as_tensor(parts["image"])]), torch.stack([text_ce, image_ce])
    )
    for one, other in zip(grads, torch.autograd.grad(slow, parameters), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-7)


def test_batches_draw_captions_and_drop_some(straight: DalleRun) -> None:
    task = TransformerTask(straight.config, straight.codes(), straight.bank().captions, straight.tokenizer())
    texts = torch.cat([task.batch(all_rows(position, 8))["text"] for position in range(0, 1600, 8)])
    dropped = (texts == 0).all(1).float().mean()
    assert 0.05 < dropped < 0.15
    assert len(np.unique(texts.numpy(), axis=0)) > 17  # sixteen captions and none, but merges are skipped at random
    again = task.batch(all_rows(800, 8))
    assert all(torch.equal(tensor, task.batch(all_rows(800, 8))[name]) for name, tensor in again.items())


def classified_correctly(task: ClipTask, batch: dict[str, torch.Tensor], position: int) -> int:
    """How many pictures of a batch, as they are shown there, have their own caption nearest, by the definition."""
    shown: list[torch.Tensor] = []
    with pytest.MonkeyPatch.context() as patch:
        encode = task.clip.encode_image

        def noted(x: torch.Tensor) -> torch.Tensor:
            shown.append(encode(x))
            return shown[-1]

        patch.setattr(task.clip, "encode_image", noted)
        task.loss(batch, all_rows(position, len(batch["ids"])))
    nearest = (torch.cat(shown) @ task.clip.encode_text(batch["ids"]).T).argmax(1).tolist()
    return sum(int(batch["same"][other]) == int(own) for other, own in zip(nearest, batch["same"], strict=True))


def test_clip_shares_the_answer_among_equal_captions(straight: DalleRun) -> None:
    task = ClipTask(ranker(straight.config), straight.bank(), straight.tokenizer(), Reconstruct(straight.dvae()))
    batch = task.batch(all_rows(0, 16))  # every picture twice, with one of its two captions
    assert len(set(batch["same"].tolist())) < 16 and len(task.reconstructed(all_rows(0, 16))) == 8
    assert (batch["ids"][:, 0] == 2).all() and (batch["ids"] == 3).any(1).all()
    loss, parts = task.loss(batch, all_rows(0, 16))
    assert torch.isfinite(loss) and float(parts["right"]) * 16 == pytest.approx(
        classified_correctly(task, batch, 0), abs=1e-4
    )
    assert task.reconstruct is not None
    task.reconstruct = Reconstruct(straight.dvae(), corrupt=True)
    worn_loss = task.loss(batch, all_rows(0, 16))[0]
    assert worn_loss != loss and worn_loss == task.loss(batch, all_rows(0, 16))[0], (
        "corrupt is drawn from the place in training alone"
    )
    with torch.no_grad():
        task.clip.logit_scale.fill_(9.0)
    task.after_step()
    assert float(task.clip.scale().detach()) == pytest.approx(100, rel=1e-5)


def test_no_images_keep_what_a_checkpoint_brought(straight: DalleRun, tmp_path: Path) -> None:
    """plans.dvae.images=0: the stage takes the weights over, and the codes are those of the first run."""
    checkpoint = open_checkpoint(straight.path("checkpoint"), "dalle")
    config = override(straight.config, ["plans.dvae.images=0"])
    work = DalleRun(tmp_path, config, "cpu", progress=False, init=checkpoint)
    ended = train(work, ["pictures", "tokenizer", "dvae"])
    assert {"tokenizer", "dvae"} <= set(ended.finished)
    train(work, ["codes", "transformer", "clip", "checkpoint"])
    told = open_checkpoint(work.path("checkpoint")).provenance
    assert told["started_from"] == checkpoint.hash
    assert {name: stage["images"] for name, stage in told["stages"].items()} == {
        "dvae": 96,
        "transformer": 192,
        "clip": 192,
    }
    assert told["stages"]["dvae"]["mse"] == checkpoint.provenance["stages"]["dvae"]["mse"]
    assert checkpoint.hash in (work.path("checkpoint") / "README.md").read_text()
    kept = straight.dvae().state_dict()
    for name, tensor in work.dvae().state_dict().items():
        torch.testing.assert_close(
            tensor, kept[name].to(torch.bfloat16).float() if tensor.is_floating_point() else kept[name]
        )


def test_world_has_neighbours_for_clip(tmp_path: Path) -> None:
    config = small("world:small", "data.ranking=8", "data.pictures=4")
    work = DalleRun(tmp_path, config, "cpu", progress=False)
    ended = train(work, ["pictures", "tokenizer"])
    assert ended.finished == ("pictures", "tokenizer")
    assert len(work.ranking_bank()) == 8 and work.ranking_bank().about["source"]["group"] == 4
    assert len(work.bank()) == 4
    task = ClipTask(ranker(config, work.grouped), work.ranking_bank(), work.tokenizer())
    with pytest.raises(DataError, match="not a finished bank"):
        (tmp_path / "ranking" / "bank.json").unlink()
        work.ranking_bank()
    assert task.config.group == 4


def test_mirrored_scenes_stand_beside_each_other(straight: DalleRun, tmp_path: Path) -> None:
    """Both halves of a pair are told of the same things; of each its own caption alone is true."""
    config = small("world:small", "data.ranking=160", "data.pictures=4", "noise.mirrored=0.5")
    work = DalleRun(tmp_path, config, "cpu", progress=False)
    train(work, ["pictures", "tokenizer"])
    bank = work.ranking_bank()
    assert isinstance(bank, Bank)
    pairs = mirrored_pairs(bank, len(bank), 4)
    assert len(pairs) > 2 and (pairs[:, 0] % 4 == 0).all() and (pairs[:, 0] // 4 == pairs[:, 1] // 4).all()
    for one, other in pairs.tolist():
        told, opposite = bank.captions[one][0].split(), bank.captions[other][0].split()
        changed = {word for word, instead in zip(told, opposite, strict=True) if word != instead}
        assert len(changed) == 1 and changed <= {"left", "right", "above", "below"}
    task = ClipTask(ranker(config, work.grouped), bank, work.tokenizer())
    batch, again = task.batch(all_rows(16, 16)), task.batch(all_rows(16, 16))
    assert all(torch.equal(values, again[name]) for name, values in batch.items())
    shown = batch["pictures"].flatten(1)[8:].reshape(4, 2, -1)
    known = {
        tuple(torch.from_numpy(np.array(bank.pictures[pair])).flatten(1)[:, :99].flatten().tolist()) for pair in pairs
    }
    assert all(tuple(pair[:, :99].flatten().tolist()) in known for pair in shown)
    with pytest.raises(UsageError, match="holds no scenes beside their mirror images"):
        mirrored_pairs(straight.bank(), 8, 4)
    with pytest.raises(UsageError, match=r"noise\.mirrored must be from 0 to 1"):
        override(config, ["noise.mirrored=2"])


def test_changes_that_come_too_late_are_refused(straight: DalleRun, tmp_path: Path) -> None:
    def again(*changes: str) -> DalleRun:
        return DalleRun(straight.folder, small(straight.config.data.source, *changes), "cpu", progress=False)

    for change, words in (
        ("dvae.channels=32", "dvae.channels=64, not 32"),
        ("transformer.depth=3", "transformer.depth=2, not 3"),
        ("plans.clip.lr=1", "plans.clip.lr=0.001, not 1.0"),
        ("plans.dvae.images=8", "plans.dvae.images=96, not 8"),
        ("noise.caption_drop=0.5", "noise.caption_drop=0.1, not 0.5"),
        ("seed=4", "seed=0, not 4"),
        ("data.pictures=6", "data.pictures=8, not 6"),
    ):
        with pytest.raises(UsageError, match=words):
            train(again(change), [])
    train(again(), [])
    early = DalleRun(tmp_path, small(straight.config.data.source), "cpu", progress=False)
    train(early, ["pictures"])
    train(DalleRun(tmp_path, small(straight.config.data.source, "transformer.depth=3"), "cpu", progress=False), [])


def test_stages_ask_for_what_they_build_on(squares: Path, tmp_path: Path) -> None:
    work = DalleRun(tmp_path, small(squares), "cpu", progress=False)
    with pytest.raises(UsageError, match="stage codes builds on stage pictures, which is not finished"):
        train(work, ["codes"])
    with pytest.raises(UsageError, match="no stage 'paint'; choose from pictures, tokenizer"):
        train(work, ["paint"])


def test_ranks_are_told_at_once_of_a_later_stage_s_batch(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when the stages before it have been trained."""
    monkeypatch.setattr("pinxit.recipes.warm_start.join_ranks", lambda: Ranks(0, 3))
    work = DalleRun(tmp_path, small(squares, "plans.dvae.batch=9"), "cpu", progress=False)
    with pytest.raises(
        UsageError, match=r"transformer: a batch of 8 cannot be shared among 3 ranks: change plan\.batch"
    ):
        train(work)
    assert not any(tmp_path.iterdir())


def test_codes_are_made_again_when_the_dvae_learns_on(squares: Path, tmp_path: Path) -> None:
    first = DalleRun(tmp_path, small(squares), "cpu", progress=False)
    train(first, ["pictures", "tokenizer", "dvae", "codes"])
    before = json.loads((tmp_path / "codes" / "codes.json").read_text())
    longer = DalleRun(tmp_path, small(squares, "plans.dvae.images=128"), "cpu", progress=False)
    train(longer, ["dvae", "codes"])
    after = json.loads((tmp_path / "codes" / "codes.json").read_text())
    assert before["dvae"] != after["dvae"] == fingerprint(longer.dvae())
    train(longer, ["transformer"])
    longest = DalleRun(tmp_path, small(squares, "plans.dvae.images=160"), "cpu", progress=False)
    dvae = fingerprint(longest.dvae())
    with pytest.raises(UsageError, match="transformer has learnt the codes of the dVAE as it is: leave plans"):
        train(longest)
    assert fingerprint(longest.dvae()) == dvae
    train(longer, [])  # nor has the run's config changed
    lengthen(longest)
    with pytest.raises(DataError, match="the dVAE is no longer the one"):
        train(longest, ["dvae", "codes"])


def lengthen(run: DalleRun) -> None:
    """Train the dVAE further with the transformer out of sight."""
    (learnt := run.path("transformer")).rename(aside := run.folder / "aside")
    train(run, ["dvae"])
    aside.rename(learnt)


@pytest.mark.parametrize("stream", [False, True])
def test_no_stage_takes_codes_of_the_dvae_as_it_was(squares: Path, tmp_path: Path, stream: bool) -> None:
    """Neither the transformer that would learn them, nor a checkpoint with the transformer that has."""
    source: Path | str = squares
    if stream:
        write_shards(FolderDataset(squares, 32), tmp_path / "shards", per_shard=4, workers=1)
        source = tmp_path / "shards"
    told = "what another model said" if stream else "the dVAE is no longer the one that made .*: {}"

    def run(images: int) -> DalleRun:
        plans = [f"plans.dvae.images={images}", *(f"plans.{name}.images=8" for name in ("transformer", "clip"))]
        changes = [*plans, f"data.stream={str(stream).lower()}"]
        return DalleRun(tmp_path / "run", small(source, *changes), "cpu", progress=False)

    train(run(8), ["pictures", "tokenizer", "dvae", "codes"])
    with pytest.raises(DataError, match=told.format("run stage codes again")):
        train(run(16), ["dvae", "transformer"])
    if stream:
        shutil.rmtree(tmp_path / "run" / "codes")
    train(run(16), ["codes", "transformer", "clip", "checkpoint"])
    before = open_checkpoint(tmp_path / "run" / "checkpoint").hash
    lengthen(run(24))
    with pytest.raises(DataError, match=told.format("delete .*transformer to train it anew")):
        train(run(24), ["dvae", "checkpoint"])
    assert open_checkpoint(tmp_path / "run" / "checkpoint").hash == before


def test_codes_go_on_where_they_stopped(straight: DalleRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between two chunks, only the rest is encoded; the file is the same to the byte."""
    monkeypatch.setattr(encode, "CHUNK", 3)
    work = replace(straight, folder=tmp_path)
    for stage in ("pictures", "dvae"):
        (tmp_path / stage).symlink_to(straight.path(stage))
    seen: list[int] = []

    def kill(done: int, total: int) -> None:
        seen.append(done)
        if seen == [3, 6]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode.encode_bank(work, kill)
    assert not work.finished("codes")
    encode.encode_bank(work, kill)
    assert seen == [3, 6, 8]
    assert (tmp_path / "codes" / "codes.npy").read_bytes() == (straight.path("codes") / "codes.npy").read_bytes()
    shutil.rmtree(tmp_path / "codes")
    with full_disk(200), pytest.raises(PinxitError, match=r"cannot write .*unfinished\.npy"):
        encode.encode_bank(work, kill)


def test_codes_are_of_one_random_view_where_pictures_are_stored_larger() -> None:
    """Appendix B.1; the view of a picture is the same wherever the chunk begins, and never mirrored."""
    ramp = np.broadcast_to(np.arange(0, 240, 5, dtype=np.uint8)[None, None, :, None], (6, 48, 48, 3))
    found = encode.views(ramp, 32, seed=3, first=10)
    assert found.shape == (6, 32, 32, 3) and np.array_equal(found[2:], encode.views(ramp[2:], 32, seed=3, first=12))
    assert len({view.tobytes() for view in found}) > 2 and (found[:, 0, 0, 0] < found[:, 0, -1, 0]).all()
    assert np.array_equal(encode.views(ramp, 48, seed=3, first=0), ramp)


def test_starting_from_a_checkpoint(straight: DalleRun, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(straight.path("checkpoint"), "dalle")
    work = DalleRun(tmp_path, straight.config, "cpu", progress=False, init=checkpoint)
    train(work, ["pictures", "tokenizer", "dvae"])
    line = read_metrics(work.path("dvae"))[0]
    assert line["loss"] < read_metrics(straight.path("dvae"))[5]["loss"]
    assert (work.path("tokenizer") / "words.json").read_bytes() == (
        straight.path("tokenizer") / "words.json"
    ).read_bytes()
    other = DalleRun(tmp_path / "b", small(straight.config.data.source, "dvae.channels=32"), "cpu", False, checkpoint)
    with pytest.raises(CheckpointError, match="another model"):
        train(other, ["pictures", "tokenizer", "dvae"])


def test_a_run_starts_from_one_checkpoint(straight: DalleRun, tmp_path: Path) -> None:
    """Else fresh stages would take other weights than the provenance tells of."""
    one = open_checkpoint(straight.path("checkpoint"), "dalle")
    other = replace(one, settings={**one.settings, "guidance": 9.0})

    def go_on(init: Checkpoint | None, stages: Sequence[str] = (), folder: Path = tmp_path) -> None:
        train(DalleRun(folder, straight.config, "cpu", progress=False, init=init), stages)

    go_on(one, ["pictures", "tokenizer", "dvae"])
    with pytest.raises(UsageError, match=f"started from checkpoint {one.hash}, not {other.hash}"):
        go_on(other)
    with pytest.raises(UsageError, match=f"started from checkpoint {one.hash}: give it again with --init-from"):
        go_on(None)
    with pytest.raises(UsageError, match=f"started from nothing, not from checkpoint {one.hash}"):
        go_on(one, folder=straight.folder)
    go_on(one, ["codes", "transformer", "clip"])
    go_on(None, ["checkpoint"])  # every stage has started: there is nothing left to give it to
    assert open_checkpoint(tmp_path / "checkpoint").provenance["started_from"] == one.hash


def test_presets() -> None:
    for name in PRESETS:
        assert from_dict(DalleConfig, to_dict(preset(name))) == preset(name)
    with pytest.raises(UsageError, match="no preset 'huge' of dalle; choose from nano, tiny"):
        preset("huge")


def test_configs_must_agree_with_themselves() -> None:
    for change, words in (
        ("dvae.size=64", "transformer.grid=4 must equal dvae.size / downscale=8"),
        ("vocab=999", "transformer.text_vocab=512 must equal vocab=999"),
        ("data.size=16", "data.size=16 must be at least dvae.size=32"),
        ("plans.clip.batch=6", "multiple of 4"),
    ):
        with pytest.raises(UsageError, match=words):
            override(nano(), [change])
    for free in ("data.ranking=0", "data.source=a-folder"):  # which have no neighbours
        assert override(nano(), [free, "plans.clip.batch=6"]).plans.clip.batch == 6
    with pytest.raises(UsageError, match=r"noise\.corrupted needs dvae\.size=60 to be a multiple of 8"):
        override(tiny(), ["dvae.size=60", "transformer.grid=10"])


def test_costs_need_no_memory() -> None:
    """Eight of the paper's 64 layers: 6 GB of weights and their activations, counted without any of them."""
    config = override(paper(), ["transformer.depth=8"])
    cost = cost_of(estimate.stage(config, "transformer"), torch.device("cpu"))
    layers, tokens = 8 * 12 * 3968**2, 256 + 1024
    assert 0 < cost.parameters - layers < 0.25e9  # embeddings and output rows
    assert 0.9 < cost.flops / (6 * layers * tokens) < 1.2
    assert cost.memory(config.plans.transformer) > 20 * cost.parameters


def test_dry_run_prints_a_table_and_writes_nothing(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["dalle", "--preset", "nano", "--out", str(tmp_path / "run"), "--dry-run"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["stage", "parameters", "GFLOP/picture", "pictures", "memory", "share", "time"]
    assert [line.split()[0] for line in lines[1:4]] == list(TRAINED)
    assert "201,024" in lines[2] and "50% assumed" in lines[2] and "4,096" in lines[2]
    assert "GFLOP/s here (cpu)" in result.stdout
    assert not (tmp_path / "run").exists()


def test_dry_run_counts_what_will_be_stored(squares: Path, tmp_path: Path) -> None:
    """A folder of eight holds eight however many were asked for, and CLIP has no pictures of its own there."""
    assert estimate.stored(DalleRun(tmp_path, small(squares, "data.pictures=999", "data.ranking=400"))) == {32: 8}
    assert estimate.stored(DalleRun(tmp_path, small("world:small", "data.pictures=999", "data.ranking=400"))) == {
        32: 1399
    }
    with pytest.raises(DataError, match="nowhere"):
        estimate.stored(DalleRun(tmp_path, small(squares / "nowhere")))


def test_dry_run_tells_of_the_stages_asked_for(squares: Path, tmp_path: Path) -> None:
    run = DalleRun(tmp_path, small(squares), "cpu")
    clip = estimate.table(run, ["clip", "checkpoint"]).splitlines()
    assert [line.split()[0] for line in clip[:2]] == ["stage", "clip"]
    assert not any("transformer" in line or "stored" in line for line in clip)
    assert estimate.table(run, ["pictures"]) == "disk: 0.0 GiB for 8 stored pictures"
    assert estimate.table(run, ["codes"]) == "no stage that was asked for trains or stores pictures"
    with pytest.raises(UsageError, match="no stage 'paint'"):
        estimate.table(run, ["paint"])
    line = ["dalle", "--preset", "nano", "--data", str(squares), "--out", str(tmp_path), "--dry-run"]
    shown = CliRunner().invoke(app, [*line, "--stages", "pictures"])
    assert shown.stdout == "disk: 0.0 GiB for 8 stored pictures\n"


@pytest.mark.parametrize("quantiser", ["fsq", "vq", "gumbel"])
def test_costs_of_clip_count_the_redrawing(quantiser: str) -> None:
    """Half of its pictures pass the dVAE once; nothing of that is kept for a backward pass, and nothing is trained."""
    config = override(nano(), [f"dvae.quantiser={quantiser}", *(["dvae.levels=[]"] if quantiser != "fsq" else [])])
    cpu = torch.device("cpu")
    plain = cost_of(estimate.stage(override(config, ["noise.reconstructed=0"]), "clip"), cpu)
    half, tenth = (
        cost_of(estimate.stage(override(config, [f"noise.reconstructed={s}"]), "clip"), cpu) for s in (0.5, 0.1)
    )
    dvae = cost_of(estimate.stage(config, "dvae"), cpu)
    assert half.parameters == plain.parameters
    forward = 2 * (half.flops - plain.flops)
    assert 0.2 < forward / dvae.flops < 0.5  # about a third of a training step's, whose first layer gives no gradient
    assert tenth.flops - plain.flops == pytest.approx(forward / 10)
    assert half.activation_bytes == pytest.approx(plain.activation_bytes, rel=0.2)


def test_command_line_overrides_and_resumes(squares: Path, tmp_path: Path) -> None:
    short = [f"--set=plans.{stage}.images=32" for stage in TRAINED]
    begin = ["dalle", "--preset", "nano", "--data", str(squares), "--pictures", "8", "--out", str(tmp_path), "--quiet"]
    first = CliRunner().invoke(app, [*begin, *short, "--stages", "pictures,tokenizer,dvae", "--device", "cpu"])
    assert first.exit_code == 0, first.output
    assert read_progress(tmp_path / "dvae").images == 32 and not (tmp_path / "codes").exists()
    rest = CliRunner().invoke(app, ["dalle", "--out", str(tmp_path), "--quiet", "--device", "cpu"])
    assert rest.exit_code == 0, rest.output
    assert rest.stdout.strip() == str(tmp_path / "checkpoint")
    assert CliRunner().invoke(app, ["dalle", "--out", str(tmp_path), "--dry-run"]).stdout.count("measured") == 3
    refused = CliRunner().invoke(app, ["dalle", "--out", str(tmp_path), "--set", "dvae.codes=16"])
    assert isinstance(refused.exception, UsageError)


def test_signal_in_the_middle_of_a_stage(squares: Path, tmp_path: Path) -> None:
    command = ["dalle", "--preset", "nano", "--data", str(squares), "--pictures", "8", "--out", str(tmp_path)]
    command += ["--set", "plans.dvae.images=1000000", "--set", "plans.dvae.log_every=8", "--device", "cpu"]
    script = (
        f"from pinxit.training import flops; flops.MEASURED = 0.0; from pinxit.cli.train import app; app({command!r})"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    try:
        end = time.monotonic() + 200
        while not read_metrics(tmp_path / "dvae") and time.monotonic() < end and child.poll() is None:
            time.sleep(0.1)
        child.send_signal(signal.SIGTERM)
        _, said = child.communicate(timeout=90)
    finally:
        child.kill()
    assert child.returncode == 130, said.decode()
    assert "the same command goes on from here" in said.decode()
    assert 0 < read_progress(tmp_path / "dvae").images < 1_000_000
