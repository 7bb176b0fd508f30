"""Every recipe's networks, cut among ranks or with their activations made again, learn what whole ones do.

On a CPU gradients are the same bits, but where what goes into a block is used elsewhere, too (a U-Net's skips): FSDP2
sums a block's gradients before it adds the other's. Weights may part in the last bit: AdamW's kernel rounds the last
few numbers of a tensor otherwise than those that it takes several at a time, and where a tensor ends hangs on the cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pinxit.models.dvae import DVAE
from pinxit.models.unet import UNetConfig
from pinxit.recipes.clip.task import ClipTask
from pinxit.recipes.dalle.train_transformer import TransformerTask
from pinxit.recipes.diffusion.task import TEXT, DiffusionTask
from pinxit.recipes.unclip.presets import preset as unclip_preset
from pinxit.training import initial, sharding
from pinxit.training.initial import OwnRows, in_shards
from pinxit.training.log import read_metrics
from pinxit.training.loop import Weights, fit
from pinxit.training.optim import trainable_parameters
from pinxit.training.parallel import Ranks, join_ranks
from pinxit.training.plan import Plan
from pinxit.training.recompute import recompute
from pinxit.training.rows import Rows, all_rows
from pinxit.training.saved_state import FOLDER, SavedState
from tests.ranks import forked
from tests.recipes.memory_bank import MemoryBank, noise
from tests.recipes.painters import tokenizer
from tests.recipes.test_tasks import BASE, CLIP, GUMBEL, LAWFUL, FakePairs, check_law, reader, shelf, transformer
from tests.text.test_learned import learned

pytestmark = pytest.mark.timeout(1800)  # processes that wait for each other are slow where others work, too


def decoder(seed: int) -> DiffusionTask:
    """unCLIP's, told of captions and of pictures' embeddings, which paints inside holes."""
    config = unclip_preset("nano")
    about = replace(config.decoder, unet=replace(config.decoder.unet, text=32))
    rows = FakePairs(config.priors[0].network).coordinates
    bank = shelf(about.size)
    return DiffusionTask("decoder", about, seed, (6, 32), bank, reader(), image_rows=rows, drop_image=0.1)


def taught(seed: int) -> DiffusionTask:
    """With a reader that learns along."""
    torch.manual_seed(seed)
    return DiffusionTask("base", BASE, seed, (24, 32), shelf(BASE.size), learned(), teaches=True)


def showing(seed: int) -> TransformerTask:
    """With a preview that paints."""
    task = transformer(seed)
    task.dvae = DVAE(GUMBEL.dvae)
    return task


def scored(seed: int) -> ClipTask:
    return ClipTask(replace(CLIP, seed=seed, held_out=8), MemoryBank(noise(40, 32)), tokenizer())  # type: ignore[arg-type]


Make = Callable[[], tuple[Any, Weights | None]]  # a task, and the weights that it begins with
TASKS: dict[str, Callable[[int], Any]] = LAWFUL | {"decoder": decoder, "taught": taught}
SMALL = 2_000  # parameters of a block that is gathered by itself
USUAL = ("clip", "dvae", "transformer", "diffusion", "prior", "decoder")
OTHERS = sorted(TASKS.keys() - set(USUAL))
EXACT = ("clip", "mirrored", "dvae", "transformer", "prior", "token prior", "classifier")  # without skips
SHOWN: dict[str, Callable[[int], Any]] = {"showing": showing, "scored": scored, "diffusion": LAWFUL["diffusion"]}
EVERY = [*USUAL, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]


def plan(**changes: Any) -> Plan:
    about: dict[str, Any] = {"images": 24, "batch": 8, "lr": 1e-3, "ema": 0.9, "precision": "fp32", "log_every": 8}
    return Plan(**about | {"preview_every": 1000} | changes)


def awake(name: str) -> tuple[Any, None]:
    """A task whose last layers are not zero, behind which there would be no gradient."""
    task = (TASKS | SHOWN)[name](0)
    torch.manual_seed(0)
    for module in task.modules().values():
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.05)
    return task, None


def told_apart() -> tuple[Any, None]:
    """A CLIP whose pictures all have captions of their own."""
    task, init = awake("clip")
    task.bank.captions = [(f"{number}",) for number in range(len(task.bank))]
    return task, init


def train(_rank: int, folder: Path, make: Make, until: int | None, shard: bool, micro: int = 0) -> None:
    sharding.UNIT = initial.SMALL = SMALL
    with in_shards(join_ranks(), shard):
        task, init = make()
    fit(task, plan(shard=shard, micro=micro), folder, "cpu", progress=False, stop_after=until, init=init)


def state(folder: Path) -> dict[str, Tensor]:
    found = SavedState(folder)
    return {name: found.read(name) for name in found.names()}


def both(root: Path, make: Make, until: int | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What two ranks make of a task, each with a copy and each with its rows."""
    for how in ("copied", "cut"):
        forked(2, train, root / how, make, until, how == "cut")
    copied, cut = state(root / "copied"), state(root / "cut")
    assert copied.keys() == cut.keys() and (root / "cut" / FOLDER).is_dir()
    return copied, cut


def check_gradients(copied: dict[str, Tensor], cut: dict[str, Tensor], exact: bool, noise: float = 1e-9) -> None:
    """Adam's first average is a tenth of the first gradient; `noise`: of the largest, where a gradient should be 0."""
    gradients = [key for key in copied if key.startswith("adam/exp_avg/")]
    assert sum(bool(copied[key].any()) for key in gradients) > 0.9 * len(gradients) > 0
    if exact:
        assert not [key for key in gradients if not torch.equal(copied[key], cut[key])]
    largest = max(float(copied[key].abs().max()) for key in gradients)  # what ought to be nought is noise
    for key in gradients:
        allowed = 1e-5 * float(copied[key].abs().max()) + noise * largest
        assert float((copied[key] - cut[key]).abs().max()) <= allowed, key
    for key, tensor in copied.items() if exact else ():  # else noise has a sign, which Adam follows at first
        torch.testing.assert_close(tensor, cut[key], atol=1e-8, rtol=1e-6, msg=key)


def units(task: Any) -> int:
    """How many parts of it are gathered by themselves."""
    return sum(1 for module in task.modules().values() for _ in sharding.units_of(module))


@pytest.mark.parametrize("name", sorted(TASKS.keys() - LAWFUL.keys()))
def test_the_law_of_rows_holds_for_the_others_too(name: str) -> None:
    check_law(TASKS[name](0), 4)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_rank_begins_with_its_rows_of_the_weights_that_one_process_begins_with(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(initial, "SMALL", 2)
    usual, parts = TASKS[name](3).modules(), []
    for rank in range(3):
        with in_shards(Ranks(rank, 3)):
            parts.append(TASKS[name](3).modules())
    for module in usual.keys() - {TEXT}:  # `taught` builds its reader here
        for key, parameter in usual[module].named_parameters():
            one, *others = (part[module].get_parameter(key) for part in parts)
            assert isinstance(one, OwnRows) == (parameter.ndim > 1 and parameter.numel() > 1), key
            rows = torch.cat([one.held, *(other.held for other in others)]) if isinstance(one, OwnRows) else one
            assert torch.equal(rows, parameter) and one.requires_grad == parameter.requires_grad, key


@pytest.mark.parametrize("name", EVERY)
def test_two_ranks_that_cut_have_the_gradients_of_two_that_copy(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_gradients(*both(tmp_path, partial(awake, name), 8), name in EXACT)
    monkeypatch.setattr(sharding, "UNIT", SMALL)
    assert units(TASKS[name](0)) >= 2


def test_a_clip_that_is_cut_compares_with_the_columns_of_all(tmp_path: Path) -> None:
    """What two ranks learn, and are right in, is what one does of all rows at once."""
    forked(2, train, tmp_path / "two", told_apart, 8, True)
    forked(1, train, tmp_path / "one", told_apart, 8, False)
    one, two = state(tmp_path / "one"), state(tmp_path / "two")
    for key, tensor in one.items():
        if key.startswith("adam/exp_avg/"):
            torch.testing.assert_close(tensor, two[key], atol=1e-7, rtol=1e-4, msg=key)
    for number in ("loss", "right"):
        told = [read_metrics(tmp_path / name)[0][number] for name in ("one", "two")]
        assert told[0] == pytest.approx(told[1], rel=1e-6), number


def check_going_on(root: Path, make: Make, exact: bool) -> None:
    """Stopped after one update and gone on with by a single rank and by two."""
    forked(2, train, root / "copied", make, None, False)
    settled = getattr(make()[0], "pieces", "alike") == "settled"
    for ranks, until in ((2, 8), (2 if settled else 1, 16), (2, None)):
        micro = 4 if ranks == 1 else 0  # a piece for each of two ranks
        forked(ranks, train, root / "cut", make, until, ranks == 2, micro)
    losses = [[line["loss"] for line in read_metrics(root / how)] for how in ("copied", "cut")]
    assert len(losses[0]) == 3 and losses[0] == pytest.approx(losses[1], rel=1e-4)
    copied, cut = state(root / "copied"), state(root / "cut")
    assert copied.keys() == cut.keys()
    for key, tensor in copied.items() if exact else ():
        torch.testing.assert_close(tensor, cut[key], atol=1e-5, rtol=1e-3, msg=key)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_run_that_is_cut_goes_on_to_what_copies_become(tmp_path: Path, name: str) -> None:
    check_going_on(tmp_path, partial(awake, name), name in EXACT)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWN)
def test_what_is_cut_is_shown_and_scored_whole(tmp_path: Path, name: str) -> None:
    """Painters and scores look into the modules of a task in ways of their own."""
    both(tmp_path, partial(awake, name), None)
    lines, others = (read_metrics(tmp_path / how)[-1] for how in ("copied", "cut"))
    assert lines.get("zero_shot") == others.get("zero_shot") and ("zero_shot" in lines) == (name == "scored")
    shown = [tmp_path / how / "preview.png" for how in ("copied", "cut")]
    assert [path.is_file() for path in shown] == [name != "scored"] * 2


def gradients(name: str, again: bool) -> tuple[dict[str, Tensor | None], dict[str, Tensor]]:
    """Of the first batch's loss, and what buffers hold afterwards."""
    task, rows = awake(name)[0], all_rows(0, 4)
    modules = task.modules()
    for module in modules.values():
        module.train()
    if again:
        recompute(modules)
    task.loss(task.batch(rows), rows)[0].backward()
    buffers = {f"{key}/{path}": b for key, module in modules.items() for path, b in module.named_buffers()}
    return {key: parameter.grad for key, parameter in trainable_parameters(modules).items()}, buffers


@pytest.mark.parametrize("name", sorted(TASKS))
def test_gradients_of_what_is_made_again_are_the_same_bits(name: str) -> None:
    (kept, seen), (again, seen_again) = gradients(name, False), gradients(name, True)
    for one, other in ((kept, again), (seen, seen_again)):
        assert one.keys() == other.keys()
        for key, tensor in one.items():
            found = other[key]
            assert tensor is found or (tensor is not None and found is not None and torch.equal(tensor, found)), key


@pytest.mark.parametrize("name", ["transformer", "diffusion", "clip", "prior", "dvae"])
def test_a_networks_blocks_are_made_again(name: str) -> None:
    """Whole blocks, none of them inside another one."""
    task, rows, runs = TASKS[name](0), Rows(0, 2, 0, 2), Counter[nn.Module]()
    recompute(task.modules())
    (module,) = task.modules().values()
    blocks = [part for part in module.modules() if "forward" in vars(part)]
    for leaf in (part for block in blocks for part in block.modules() if not any(True for _ in part.children())):
        leaf.register_forward_hook(lambda leaf, *_: runs.update([leaf]))
    task.loss(task.batch(rows), rows)[0].backward()
    assert len(blocks) >= 2 and all(max(runs[part] for part in block.modules()) == 2 for block in blocks)
    assert not any("forward" in vars(part) for block in blocks for part in block.modules() if part is not block)


def test_a_u_nets_steps_between_levels_are_blocks_too() -> None:
    about = BASE.unet
    assert isinstance(about, UNetConfig)
    levels = len(about.channels)
    task = TASKS["diffusion"](0)
    recompute(task.modules())
    steps = [path for path, part in task.unet.named_modules() if "forward" in vars(part) and path.endswith("resample")]
    assert len(steps) == 2 * (levels - 1) > 0
