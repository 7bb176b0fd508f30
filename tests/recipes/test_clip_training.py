"""`pinxit train clip`: invocations, held-out pictures, pieces, and a checkpoint that names pictures."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from pinxit.cli import app
from pinxit.config import override
from pinxit.data.bank import Bank
from pinxit.errors import DataError, UsageError
from pinxit.models.clip_shapes import PUBLISHED
from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.recipes.clip.presets import PRESETS, ClipRunConfig, preset, with_model
from pinxit.recipes.clip.run import STAGES, ClipRun, held_out, train
from pinxit.recipes.clip.task import ClipTask, number_of
from pinxit.text.tokenizers import Tokenizer
from pinxit.training import state as states
from pinxit.training.log import read_metrics
from pinxit.training.rows import all_rows
from pinxit.training.state import FILE
from pinxit.training.stop import Stop
from pinxit.weights.checkpoint import open_checkpoint
from tests.recipes.squares import write_squares


def small(data: Path | str, *changes: str) -> ClipRunConfig:
    lengths = ["data.pictures=16", "data.held_out=4", "plan.images=96", "plan.batch=8", "plan.precision=fp32"]
    return override(preset("nano"), [f"data.source={data}", "data.neighbours=false", *lengths, *changes])


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> ClipRun:
    squares = write_squares(tmp_path_factory.mktemp("squares"))
    run = ClipRun(tmp_path_factory.mktemp("run"), small(squares, "data.held_out=2"), "cpu", progress=False)
    assert train(run).finished == STAGES
    return run


class Impatient(Stop):
    """Time is up every seventh time somebody asks."""

    asked = 0

    def due(self) -> bool:
        self.asked += 1
        return self.asked >= 7


def test_many_invocations_end_where_one_does(straight: ClipRun, tmp_path: Path) -> None:
    cut = ClipRun(tmp_path, straight.config, "cpu", progress=False)
    invocations = 0
    while train(cut, stop=Impatient()).finished != STAGES:
        invocations += 1
        assert invocations < 20
    assert invocations > 1
    one, other = load_file(straight.path("clip") / FILE), load_file(cut.path("clip") / FILE)
    assert one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_no_stage_builds_on_an_unfinished_one(straight: ClipRun, tmp_path: Path) -> None:
    """Above all no checkpoint of half a training."""
    run = ClipRun(tmp_path, straight.config, "cpu", progress=False)
    for done, asked, lacked in (
        ([], "tokenizer", "pictures"),
        (["pictures"], "clip", "tokenizer"),
        (["tokenizer"], "checkpoint", "clip"),
    ):
        train(run, done)
        with pytest.raises(UsageError, match=f"stage {asked} builds on stage {lacked}, which is not finished"):
            train(run, [asked])
    shutil.copytree(straight.path("clip"), run.path("clip"))
    longer = ClipRun(tmp_path, override(run.config, ["plan.images=192"]), "cpu", progress=False)
    with pytest.raises(UsageError, match="stage checkpoint builds on stage clip, which is not finished"):
        train(longer, ["checkpoint"])
    assert not run.path("checkpoint").exists()


def test_held_out_pictures_are_scored_and_never_trained_on(straight: ClipRun) -> None:
    lines = [line for line in read_metrics(straight.path("clip")) if "zero_shot" in line]
    assert lines[-1]["images"] == straight.config.plan.images
    bank, tokenizer = Bank.open(straight.path("pictures")), Tokenizer.open(straight.path("tokenizer"))
    encoder, firsts = ClipEncoder.open(straight.path("checkpoint"), "cpu"), [bank.captions[row][0] for row in (6, 7)]
    nearest = (encoder.pictures(list(bank.pictures[6:])) @ encoder.texts(firsts).T).argmax(1)
    assert firsts[0] != firsts[1] and lines[-1]["zero_shot"] == (nearest == [0, 1]).mean()
    task = ClipTask(straight.config.training, bank, tokenizer)
    seen = {row.tobytes() for at in range(0, 96, 8) for row in task.batch(all_rows(at, 8))["pictures"].numpy()}
    assert seen == {bank.pictures[row].tobytes() for row in range(len(bank) - 2)}
    assert not seen & {bank.pictures[row].tobytes() for row in range(len(bank) - 2, len(bank))}


def test_pieces_change_nothing(straight: ClipRun) -> None:
    bank, tokenizer = Bank.open(straight.path("pictures")), Tokenizer.open(straight.path("tokenizer"))
    grads = []
    for piece in (0, 3):
        training = override(straight.config, [f"piece={piece}"]).training
        task = ClipTask(training, bank, tokenizer)
        batch = task.batch(all_rows(0, 8))
        loss, _ = task.loss(batch, all_rows(0, 8))
        grads.append(torch.autograd.grad(loss, list(task.clip.parameters())))
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_the_checkpoint_names_pictures(straight: ClipRun) -> None:
    folder = straight.path("checkpoint")
    encoder = ClipEncoder.open(folder, "cpu")
    assert encoder.pictures([]).shape == (0, 64) and encoder.texts(["a red square"]).shape == (1, 64)
    assert "2 pictures it was not trained on" in (folder / "README.md").read_text()
    call = ["classify", str(straight.config.data.source), "--labels", "a red square,a blue square"]
    told = CliRunner().invoke(app, [*call, "--checkpoint", str(folder), "--device", "cpu"])
    assert told.exit_code == 0 and told.stdout.count("%") == 2 * 8


def test_the_command_in_the_world(tmp_path: Path) -> None:
    sets = ["data.pictures=32", "data.held_out=8", "plan.images=32"]
    changes = [part for one in sets for part in ("--set", one)]
    call = ["train", "clip", "--preset", "nano", "--out", str(tmp_path), "--device", "cpu", "--quiet", *changes]
    told = CliRunner().invoke(app, call)
    assert told.exit_code == 0 and told.stdout.strip() == str(tmp_path / "checkpoint")
    with pytest.raises(UsageError, match=r"plan\.batch=16, not 8"):
        CliRunner().invoke(app, [*call, "--set", "plan.batch=8"], catch_exceptions=False)


@pytest.mark.parametrize("name", [*PRESETS, *PUBLISHED])
def test_every_preset_can_be_built(name: str) -> None:
    config = preset(name)
    assert config.training.clip is config.clip
    if name in PUBLISHED:
        assert config.clip.vision == PUBLISHED[name].vision and config.plan.batch == 32_768


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("vocab=600", "clip.text.vocab=512 must be 600"),
        ("data.held_out=16", "below data.pictures=16"),
        ("data.neighbours=true", "multiples of 4"),
    ],
)
def test_what_does_not_fit(change: str, told: str) -> None:
    more = ["plan.batch=6"] if "neighbours" in change else []
    with pytest.raises(UsageError, match=told):
        small("world:small", *more, change)


@pytest.mark.parametrize(
    ("source", "neighbours", "group"), [("world:small", "true", 4), ("world:small", "false", 1), ("photos", "true", 1)]
)
@pytest.mark.parametrize(("piece", "micro", "rows"), [(4, 8, 4), (0, 8, 8), (0, 0, 0)])
def test_what_a_task_is_told(source: str, neighbours: str, group: int, piece: int, micro: int, rows: int) -> None:
    changes = [f"data.neighbours={neighbours}", f"piece={piece}", f"plan.micro={micro}", "data.held_out=4"]
    told = small(source, *changes).training
    assert (told.group, told.piece, told.held_out, told.size) == (group, rows, 4, 32)


def test_equal_captions_have_one_number_in_every_batch(straight: ClipRun) -> None:
    """Ranks compare numbers of different batches: two captions have the same one exactly where they are the same."""
    task = ClipTask(straight.config.training, straight.bank(), Tokenizer.open(straight.path("tokenizer")))
    rows: dict[tuple[int, ...], set[int]] = {}
    for position in (0, 8, 40):
        batch = task.batch(all_rows(position, 8))
        for ids, same in zip(batch["ids"].tolist(), batch["same"].tolist(), strict=True):
            rows.setdefault(tuple(ids), set()).add(same)
    assert all(len(numbers) == 1 for numbers in rows.values())
    assert len(set.union(*rows.values())) == len(rows) > 3 and min(set.union(*rows.values())) >= 0


def test_captions_are_told_apart_by_numbers_of_63_bits() -> None:
    numbers = [number_of(caption) for caption in ("a cat", "a cat ", "\udc80")]
    assert len(set(numbers)) == 3 and all(0 <= number < 2**63 for number in numbers)
    assert max(numbers) > 2**60


def test_a_folder_smaller_than_what_is_held_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Most pictures are trained on, whatever the preset holds out; the run's own answer is the same every time."""
    squares = write_squares(tmp_path / "squares")
    for wish, few in ((50, None), (29, None), (1, 1)):
        config = small(squares, "data.pictures=99", f"data.held_out={wish}")
        run = ClipRun(tmp_path / "run", config, "cpu", progress=False)
        train(run, ("pictures",))  # what is held out may change until it is trained
        there = len(run.bank())
        assert held_out(run) == (there // 10 if few is None else few) < there / 2
    (squares / "one_more.txt").write_text("a red square")
    (squares / "one_more.png").write_bytes(next(squares.glob("*.png")).read_bytes())
    with pytest.raises(DataError, match="holds a bank of other data"):
        train(run)
    shutil.rmtree(squares)  # what is stored suffices
    train(replace(run, progress=True), ("pictures",))
    assert "the stored ones are used, as the data are not there any more (there is no" in capsys.readouterr().err
    fresh = ClipRun(tmp_path / "fresh", config, "cpu", progress=False)
    with pytest.raises(DataError, match="there is no file or folder"):
        train(fresh, ("pictures",))


def test_training_adapts_a_checkpoint_by_little(straight: ClipRun, tmp_path: Path) -> None:
    """Its network and tokens; --lora leaves all but additions of a small rank as it was, and wants weights to adapt."""
    init = open_checkpoint(straight.path("checkpoint"), "clip")
    config = with_model(small(straight.config.data.source, "plan.lora=2", "data.held_out=2"), init)
    run = ClipRun(tmp_path / "run", config, "cpu", progress=False, init=init)
    assert train(run).finished == STAGES
    before, after = init.state("clip"), open_checkpoint(run.path("checkpoint"), "clip").state("clip")
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all(before[name].ndim >= 2 for name in moved)
    name = "visual.blocks.0.mlp.up.weight" if "visual.blocks.0.mlp.up.weight" in moved else sorted(moved)[0]
    added = states.read_weights(run.path("clip"), "clip")[name] - before[name].float()
    assert torch.linalg.matrix_rank(added.flatten(1), atol=1e-5) == 2
    assert open_checkpoint(run.path("checkpoint")).provenance["started_from"] == init.hash
    assert Tokenizer.open(run.path("tokenizer")).rows() == Tokenizer.open(straight.path("tokenizer")).rows()
    fresh = ClipRun(tmp_path / "fresh", small(straight.config.data.source, "plan.lora=2"), "cpu", progress=False)
    with pytest.raises(UsageError, match=r"plan\.lora=2 adapts weights that are there: name some by --init-from"):
        train(fresh)
    assert not (tmp_path / "fresh").exists(), "which is said before any work"
