from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, distributed, nn

from pinxit.errors import UsageError
from pinxit.models.unet import UNet, UNetConfig
from pinxit.training import muon as module
from pinxit.training import state as states
from pinxit.training.log import read_metrics
from pinxit.training.loop import fit
from pinxit.training.lora import adapt
from pinxit.training.muon import (
    ADAM_RMS,
    MOMENTUM,
    Muon,
    as_rows,
    muon,
    orthogonal,
    orthogonal_by_rank,
    orthogonal_of_shards,
)
from pinxit.training.optim import adamw, trainable_parameters
from pinxit.training.plan import Batch, Plan
from pinxit.training.rows import Rows, all_rows
from tests.training.toy import Toy, plan


@pytest.mark.parametrize("shape", [(64, 64), (64, 300), (300, 64)])
def test_updates_become_orthogonal(shape: tuple[int, int]) -> None:
    """Singular values near 1, singular vectors kept, each matrix of a stack by itself."""
    stack = (
        torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
        * torch.tensor([1e-6, 1.0, 1e3])[:, None, None]
    )
    made = orthogonal(stack)
    values = torch.linalg.svdvals(made)
    assert made.dtype == torch.float32 and values.max() < 1.3
    assert values.quantile(0.05) > 0.5  # a square one has a few values that start near 0
    for given, found in zip(stack, made, strict=True):
        u, _, v = torch.linalg.svd(given, full_matrices=False)
        ideal = u @ v
        assert torch.cosine_similarity(found.flatten(), ideal.flatten(), 0) > 0.95
        torch.testing.assert_close(found, orthogonal(given[None])[0], atol=0.02, rtol=0)


@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize("world", [2, 3, 5])
def test_matrices_are_dealt_to_any_number_of_ranks(world: int, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is made once, by the rank whose turn it is, and every rank is given all in their order."""
    updates = list(torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0)))
    made: dict[int, torch.Tensor] = {}
    rank = 0

    def all_gather(parts: list[torch.Tensor], own: torch.Tensor) -> None:
        made[rank] = own.clone()
        for place, part in enumerate(parts):
            part.copy_(made.get(place, torch.zeros_like(part)))

    fakes = {"is_initialized": lambda: True, "get_world_size": lambda: world, "get_rank": lambda: rank}
    for name, fake in (fakes | {"all_gather": all_gather}).items():
        monkeypatch.setattr(distributed, name, fake)
    for number in range(2 * world):  # the second time all have been made
        rank = number % world
        found = orthogonal_by_rank(updates, first)
    expected = orthogonal(torch.stack(updates))
    torch.testing.assert_close(torch.stack(list(found)), expected, atol=0.02, rtol=0)
    dealt = [sum(bool(one.any()) for one in made[(first + turn) % world]) for turn in range(world)]
    assert dealt == [len(range(turn, 4, world)) for turn in range(world)]


def test_a_matrix_may_travel_to_itself() -> None:
    """With one rank, one matrix of two that stand one above the other."""
    held = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    try:
        (found,) = orthogonal_of_shards([held], 6, 2)
    finally:
        distributed.destroy_process_group()
    torch.testing.assert_close(found, orthogonal(torch.stack(held.chunk(2))).flatten(0, 1))


def fused(parts: int) -> tuple[nn.Parameter, Muon]:
    generator = torch.Generator().manual_seed(1)
    weight = nn.Parameter(torch.randn(parts * 64, 80, generator=generator))
    weight.grad = torch.randn(weight.shape, generator=generator)
    rest = nn.Parameter(torch.ones(3))
    return weight, Muon({weight: parts}, torch.optim.AdamW([rest]), lr=0.1, decay=0.5)


def test_an_update_is_what_the_paper_says() -> None:
    """Every part by itself: decayed, then moved by the orthogonal of what Nesterov's momentum sees."""
    weight, optimiser = fused(3)
    before, grad = weight.detach().clone(), weight.grad
    assert grad is not None
    optimiser.step()
    ahead = (1 - MOMENTUM) * (1 + MOMENTUM) * grad
    for rows, old, given in zip(weight.detach().chunk(3), before.chunk(3), ahead.chunk(3), strict=True):
        moved = 0.1 * ADAM_RMS * 80**0.5 * orthogonal(given[None])[0]
        torch.testing.assert_close(rows, old * (1 - 0.1 * 0.5) - moved, atol=2e-3, rtol=0)
        assert float(moved.square().mean().sqrt()) == pytest.approx(0.1 * ADAM_RMS, rel=0.2)


def test_the_second_update_remembers_the_first() -> None:
    """Scale says nothing of an orthogonal matrix: only of two gradients can be told what share each has."""
    weight, optimiser = fused(1)
    assert weight.grad is not None
    first, second = weight.grad.clone(), torch.randn(weight.shape, generator=torch.Generator().manual_seed(2))
    optimiser.step()
    before, weight.grad = weight.detach().clone(), second.clone()
    optimiser.step()
    average = (1 - MOMENTUM) * (MOMENTUM * first + second)
    moved = 0.1 * ADAM_RMS * 80**0.5 * orthogonal(torch.lerp(second, average, MOMENTUM)[None])[0]
    torch.testing.assert_close(weight.detach(), before * (1 - 0.1 * 0.5) - moved, atol=2e-3, rtol=0)


def test_what_a_lora_adds_to_packed_matrices_is_split_as_they_are() -> None:
    """`up` has a row for each row of the matrix; `down` is shared by its parts."""
    modules = {"it": nn.ModuleDict({"block": nn.ModuleDict({"qkv": nn.Linear(96, 288), "mlp": nn.Linear(96, 96)})})}
    assert list(muon(modules, plan()).parts.values()) == [3, 1]
    adapt(modules, 64)
    optimiser = muon(modules, plan())
    found = {name: optimiser.parts[p] for name, p in trainable_parameters(modules).items() if p in optimiser.parts}
    added = "parametrizations.weight.0"
    assert found == {
        f"it/block.qkv.{added}.up": 3,
        f"it/block.qkv.{added}.down": 1,
        f"it/block.mlp.{added}.up": 1,
        f"it/block.mlp.{added}.down": 1,
    }


def test_kernels_in_either_memory_order_move_alike() -> None:
    moved = []
    for memory in (torch.contiguous_format, torch.channels_last):
        kernel = nn.Parameter(torch.zeros(64, 72, 3, 3).to(memory_format=memory))
        kernel.grad = torch.randn(kernel.shape, generator=torch.Generator().manual_seed(2))
        assert as_rows(kernel, kernel).data_ptr() == kernel.data_ptr()
        Muon({kernel: 1}, torch.optim.AdamW([nn.Parameter(torch.ones(1))]), lr=1.0, decay=0.0).step()
        moved.append(kernel.detach())
    torch.testing.assert_close(moved[0], moved[1], atol=0.2, rtol=0.05)  # bfloat16, summed in another order
    assert torch.cosine_similarity(moved[0].flatten(), moved[1].flatten(), 0) > 0.999


def test_matrices_inside_are_its_own_and_all_else_adams() -> None:
    net = UNet(UNetConfig((64, 128), (1, 1), (False, True), patch=4, bypass=True, text=64, context=64, image=64))
    optimiser = muon({"base": net}, Plan(images=1, batch=1))
    names = {id(p): name for name, p in trainable_parameters({"base": net}).items()}
    own = {names[id(p)]: parts for p, parts in optimiser.parts.items()}
    others = {names[id(p)] for group in optimiser.rest.param_groups for p in group["params"]}
    assert not own.keys() & others and own.keys() | others == set(names.values())
    assert own["base/body.middle.0.attention.qkv.weight"] == 3 and own["base/body.middle.0.res.conv1.weight"] == 1
    ends = {"base/stem.weight", "base/out.weight", "base/bypass.enter.weight", "base/norm.weight"}
    ends |= {"base/conditioning.image.embed.weight", "base/conditioning.image.tokens.weight"}
    assert "base/conditioning.context.weight" in own
    assert ends <= others and all(net.get_parameter(name.removeprefix("base/")).ndim > 1 for name in own)


@pytest.mark.parametrize(("shape", "own"), [((64, 64), True), ((64, 63), False), ((63, 64), False), ((200, 8), False)])
def test_matrices_have_sixty_four_rows_and_columns_at_least(shape: tuple[int, int], own: bool) -> None:
    net = nn.Sequential(nn.Linear(shape[1], shape[0], bias=False))
    found = muon({"a": net}, Plan(images=1, batch=1))
    assert (net[0].weight in found.parts) == own


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_stop_and_resume_equals_straight_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    monkeypatch.setattr(module, "SMALLEST", 4)
    changes = {"precision": precision, "optimiser": "muon", "lr": 3e-3}
    for folder, cuts in (("straight", (None,)), ("cut", (8, 40, 41, None))):
        for until in cuts:
            fit(Toy(), plan(**changes), tmp_path / folder, "cpu", progress=False, stop_after=until)
    straight, cut = (load_file(tmp_path / run / states.FILE) for run in ("straight", "cut"))
    assert straight.keys() == cut.keys() and "adam/exp_avg_sq/net/first.weight" not in straight
    assert all(torch.equal(tensor, cut[name]) for name, tensor in straight.items())
    losses = [line["loss"] for line in read_metrics(tmp_path / "cut")]
    fit(Toy(), plan(images=2560, **changes), tmp_path / "cut", "cpu", progress=False)
    further = [line["loss"] for line in read_metrics(tmp_path / "cut")]
    assert len(losses) == 16 and sum(further[-8:]) < 0.8 * sum(further[:8])


def test_another_optimiser_does_not_go_on_with_its_state(tmp_path: Path) -> None:
    fit(Toy(), plan(), tmp_path, "cpu", progress=False, stop_after=8)
    with pytest.raises(UsageError, match="started with optimiser=adamw, not muon"):
        fit(Toy(), plan(optimiser="muon"), tmp_path, "cpu", progress=False)


def test_without_matrices_it_is_adamw() -> None:
    first, second = Toy(), Toy()
    for task, make in ((first, muon), (second, adamw)):
        optimiser = make(task.modules(), plan())
        for position in range(0, 80, 8):
            task.loss(task.batch(all_rows(position, 8)), all_rows(position, 8))[0].backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad()
    for one, other in zip(first.net.parameters(), second.net.parameters(), strict=True):
        assert torch.equal(one, other)


def test_all_may_be_its_own(tmp_path: Path) -> None:
    """As with a LoRA of a high rank in a network whose other weights rest: then AdamW has none."""

    class Square(Toy):
        def __init__(self) -> None:
            super().__init__()
            self.net.requires_grad_(False)
            self.square = nn.Linear(64, 64, bias=False)
            self.net.add_module("square", self.square)

        def loss(self, batch: Batch, rows: Rows) -> tuple[Tensor, dict[str, Tensor | float]]:
            return self.square(torch.ones(1, 64)).square().mean(), {}

    task = Square()
    before = task.square.weight.detach().clone()
    fit(task, plan(optimiser="muon"), tmp_path, "cpu", progress=False, stop_after=8)
    assert not torch.equal(task.square.weight, before)
    fit(Square(), plan(optimiser="muon"), tmp_path, "cpu", progress=False, stop_after=16)
    assert states.read_progress(tmp_path).updates == 2
