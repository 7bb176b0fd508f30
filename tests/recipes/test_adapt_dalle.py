"""`pinxit train dalle --init-from`: with `--lora` it ends in a checkpoint that opens; `--grow` alone renews tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pinxit.config import override
from pinxit.errors import UsageError
from pinxit.recipes.dalle.config import DalleConfig
from pinxit.recipes.dalle.estimate import table
from pinxit.recipes.dalle.painter import DallePainter
from pinxit.recipes.dalle.presets import tiny, with_models
from pinxit.recipes.dalle.run import TRAINED, DalleRun
from pinxit.recipes.dalle.stages import train
from pinxit.text.tokenizers import Tokenizer
from pinxit.training.runs import config_of
from pinxit.training.saved_state import SavedState
from pinxit.training.state import read_additions, read_weights, read_whole
from pinxit.weights.checkpoint import Checkpoint, open_checkpoint
from tests.cli.helpers import Cli
from tests.cli.helpers import cli as cli
from tests.recipes.painters import save_random_checkpoint
from tests.recipes.squares import small, write_squares

SHORT = [f"plans.{stage}.images=8" for stage in TRAINED]


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_squares(tmp_path_factory.mktemp("squares"))


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("start")
    save_random_checkpoint(folder)
    return open_checkpoint(folder, "dalle")


def test_what_additions_were_merged_into_opens(squares: Path, start: Checkpoint, tmp_path: Path) -> None:
    ranks = [f"plans.{stage}.lora=4" for stage in TRAINED]
    run = DalleRun(tmp_path, small(squares, *SHORT, *ranks), "cpu", progress=False, init=start)
    train(run)
    before, trained = start.state("transformer"), read_weights(run.path("transformer"), "transformer")
    changed = {name for name, tensor in trained.items() if not tensor.equal(before[name].float())}
    assert {"text_head", "image_head"} <= changed, "matrices of the root module are adapted too"
    made = open_checkpoint(run.path("checkpoint"), "dalle")
    assert all(made.state(part).keys() == start.state(part).keys() for part in TRAINED)
    DallePainter.from_checkpoint(made, name="adapted", device="cpu")


def test_what_grows_beside_additions_is_trained_in_full(squares: Path, start: Checkpoint, tmp_path: Path) -> None:
    """A new layer and the rows of tokens; the rest moves by its additions alone."""
    ranks = [f"plans.{stage}.lora=4" for stage in TRAINED]
    config = small(squares, *SHORT, *ranks, "transformer.depth=3")
    with pytest.raises(UsageError, match=r"plan\.lora=4 adapts weights that are there, and every matrix is new"):
        wider = override(config, ["transformer.dim=96"])
        train(DalleRun(tmp_path, wider, "cpu", progress=False, init=start, grow=True), ["pictures", "transformer"])
    assert not tmp_path.joinpath("pictures").exists()
    first = DalleRun(tmp_path, config, "cpu", progress=False, init=start, grow=True)
    costs = table(first).splitlines()[1:4]
    train(first)
    run = DalleRun(tmp_path, config, "cpu", progress=False)
    for line, stage, later in zip(costs, TRAINED, table(run).splitlines()[1:4], strict=True):
        moving = read_moving(run.path(stage))
        assert line.split()[:2] == later.split()[:2] == [stage, f"{moving:,}"]
    added = read_additions(run.path("transformer"), "transformer").keys()
    whole = set(read_whole(run.path("transformer")))
    layer = {f"transformer/{name}" for name in run.transformer().state_dict() if name.startswith("blocks.2.")}
    assert whole == layer | {"transformer/embed.text", "transformer/text_head"}
    assert "blocks.0.qkv.weight" in added and not added & {name.partition("/")[2] for name in whole}
    assert read_whole(run.path("clip")) == ["clip/text.tokens.weight"] and read_whole(run.path("dvae")) == []
    before, now = start.state("transformer"), read_weights(run.path("transformer"), "transformer")
    assert torch.equal(now["blocks.0.norm1.weight"], before["blocks.0.norm1.weight"].float())
    assert now["blocks.2.down.weight"].any() and now["blocks.2.down.bias"].any(), "which began as zeros"


def read_moving(folder: Path) -> int:
    """How many numbers have moments, so are trained."""
    found = SavedState(folder)
    return sum(found.read(name).numel() for name in found.names() if name.startswith("adam/exp_avg/"))


def tokens(folder: Path) -> dict[str, int]:
    return dict(Tokenizer.open(folder).rows())


@pytest.mark.parametrize("grow", [False, True])
def test_tokens_are_renewed_where_models_grow(squares: Path, start: Checkpoint, tmp_path: Path, grow: bool) -> None:
    """Even those of equal shapes; and the run remembers it, when it is resumed and in its card."""
    run = DalleRun(tmp_path, small(squares, *SHORT), "cpu", progress=False, init=start, grow=grow)
    train(run, ["pictures"])
    train(DalleRun(tmp_path, run.config, "cpu", progress=False, init=start))
    assert (tokens(run.path("tokenizer")) != tokens(start.folder)) == grow
    assert ("--init-from CHECKPOINT --grow" in (run.path("checkpoint") / "README.md").read_text()) == grow


def test_a_run_that_began_without_growing_does_not_grow_later(squares: Path, start: Checkpoint, tmp_path: Path) -> None:
    for grow in (False, True):
        run = DalleRun(tmp_path, small(squares), "cpu", progress=False, init=start, grow=grow)
        if not grow:
            train(run, ["pictures"])
    with pytest.raises(UsageError, match="was started without --grow: leave it out or train into another folder"):
        train(run, ["tokenizer"])


def test_a_checkpoints_tokens_are_taken_over_however_the_preset_spells(
    squares: Path, start: Checkpoint, tmp_path: Path
) -> None:
    config = with_models(override(small(squares), ["spell=true"]), start)
    assert not config.spell
    run = DalleRun(tmp_path, config, "cpu", progress=False, init=start)
    train(run, ["pictures", "tokenizer"])
    assert tokens(run.path("tokenizer")) == tokens(start.folder)


def test_growing_wants_a_checkpoint_and_keeps_the_presets_models(
    squares: Path, start: Checkpoint, tmp_path: Path, cli: Cli
) -> None:
    words = ("train", "dalle", "--preset", "tiny", "--data", squares, "--out", tmp_path / "run", "--quiet")
    done = cli(*words, "--stages", "pictures", "--grow")
    assert done.code and done.err == "pinxit: --grow carries over what fits of a checkpoint: name one by --init-from.\n"
    assert not (tmp_path / "run").exists()
    rest = ("--stages", "pictures,tokenizer", "--init-from", start.folder)
    for options in (("--grow",), ()):  # resumed without it, the models are still the run's own
        assert cli(*words, *rest, *options).code == 0
    assert config_of(tmp_path / "run", "dalle", DalleConfig) == override(tiny(), [f"data.source={squares}"])
