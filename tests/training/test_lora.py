"""Additions to weights begin as nothing, are all that moves, and are merged into weights of the usual names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pinxit.errors import CheckpointError, UsageError
from pinxit.training import state as states
from pinxit.training.loop import fit
from pinxit.training.lora import adapt, additions, merged
from pinxit.training.optim import trainable_parameters, weights
from tests.training.test_step import Wide
from tests.training.toy import Toy, plan


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.kernel = nn.Linear(12, 36), nn.Conv2d(6, 8, 3)
        self.norm, self.small, self.table = nn.LayerNorm(12), nn.Linear(12, 2), nn.Embedding(20, 12)
        self.head = nn.Parameter(torch.randn(12, 12))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.kernel(self.qkv(self.norm(x) @ self.head).view(-1, 6, 6, 1).expand(-1, -1, -1, 6))
        return out


def test_an_addition_is_nothing_at_first_and_can_be_merged_after() -> None:
    torch.manual_seed(0)
    net, x = Net(), torch.randn(3, 12)
    before, names = net(x), net.state_dict().keys()
    adapt({"net": net}, 4)
    assert torch.equal(net(x), before)
    inside = ("qkv.parametrizations.weight", "kernel.parametrizations.weight", "parametrizations.head")
    paths = {f"net/{part}.0.{side}" for part in inside for side in ("up", "down")}
    assert trainable_parameters({"net": net}).keys() == paths
    for name, parameter in trainable_parameters({"net": net}).items():
        if name.endswith("up"):
            nn.init.normal_(parameter)
    after, plain = net(x), Net()
    state = merged(net.state_dict())
    assert state.keys() == names and not torch.equal(after, before)
    plain.load_state_dict(state)
    torch.testing.assert_close(plain(x), after)
    packed = state["qkv.weight"] - net.state_dict()["qkv.parametrizations.weight.original"]
    assert torch.linalg.matrix_rank(packed) == 4
    pairs = additions(net.state_dict())
    assert pairs.keys() == {"qkv.weight", "kernel.weight", "head"}
    assert all(down.shape == (4, *state[name].shape[1:]) for name, (down, _) in pairs.items())


def test_a_rank_that_no_matrix_has_is_refused() -> None:
    net = Net()
    with pytest.raises(UsageError, match=r"plan\.lora=36: no matrix has more rows and columns than that"):
        adapt({"net": net}, 36)
    assert trainable_parameters({"net": net}), "and nothing is frozen"


def test_training_moves_additions_alone_resumes_exactly_and_gives_weights(tmp_path: Path) -> None:
    start = {"net": Wide().net.state_dict()}
    about = plan(lora=4, precision="bf16")
    for folder, cuts in (("straight", (None,)), ("cut", (40, None))):
        for until in cuts:
            fit(Wide(), about, tmp_path / folder, "cpu", progress=False, stop_after=until, init=start)
    task = Wide()  # a program may go on with the task that it has
    for until in (40, None):
        fit(task, about, tmp_path / "same", "cpu", progress=False, stop_after=until, init=start)
    with pytest.raises(UsageError, match=r"plan\.lora=2: the task has additions of rank 4 already"):
        fit(task, plan(lora=2), tmp_path / "other", "cpu", progress=False)
    one, other, same = (load_file(tmp_path / name / states.FILE) for name in ("straight", "cut", "same"))
    assert one.keys() == same.keys() and all(torch.equal(tensor, same[name]) for name, tensor in one.items())
    assert one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    still = [name for name in one if name.startswith("weights/") and not name.endswith((".up", ".down", "middle"))]
    for name in still:
        usual = name.removeprefix("weights/net/").replace(".parametrizations.weight.original", ".weight")
        assert torch.equal(one[name], start["net"][usual])
        assert f"average/{name.removeprefix('weights/')}" not in one
    assert all(name.endswith((".up", ".down")) for name in one if name.startswith("adam/exp_avg/"))
    found = states.read_weights(tmp_path / "cut", "net")
    assert {f"net/{name}" for name in found} == weights({"net": Wide().net}).keys()
    changed = {name for name, tensor in found.items() if not torch.equal(tensor, start["net"][name])}
    assert changed == {"first.weight", "second.0.weight", "middle"}
    with pytest.raises(UsageError, match="started with lora=4, not 2"):
        fit(Wide(), plan(lora=2), tmp_path / "cut", "cpu", progress=False)


def test_weights_that_the_start_lacks_are_trained_themselves(tmp_path: Path) -> None:
    """Nothing that is random stays frozen; a resumed run remembers which they were."""
    lacked = ("first.weight", "second.1.bias")
    start = {"net": {name: value for name, value in Wide().net.state_dict().items() if name not in lacked}}
    about = plan(lora=4, precision="fp32")
    for folder, cuts in (("straight", (None,)), ("cut", (40, None))):
        for until in cuts:
            init = start if until or folder == "straight" else None
            fit(Wide(), about, tmp_path / folder, "cpu", progress=False, stop_after=until, init=init)
    one, other = (load_file(tmp_path / name / states.FILE) for name in ("straight", "cut"))
    assert one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    found, before = states.read_weights(tmp_path / "cut", "net"), Wide().net.state_dict()
    changed = {name for name, tensor in found.items() if not torch.equal(tensor, before[name])}
    assert changed == {"second.0.weight", "middle", *lacked}
    assert states.read_additions(tmp_path / "cut", "net").keys() == {"second.0.weight"}
    matrices = {"net": {name: value for name, value in before.items() if value.ndim < 2}}
    with pytest.raises(UsageError, match=r"plan\.lora=4 adapts weights that are there, and every matrix is new"):
        fit(Wide(), about, tmp_path / "new", "cpu", progress=False, init=matrices)
    assert not states.exists(tmp_path / "new")


def test_additions_to_another_model_are_refused(tmp_path: Path) -> None:
    """By a sentence that names what is there and not here, before anything is trained or written."""
    fit(Toy(), plan(lora=2, images=8), tmp_path, "cpu", progress=False)
    before = (tmp_path / states.FILE).read_bytes()
    with pytest.raises(CheckpointError, match=r"(lacks|has an unknown) '.*': it was written for another model"):
        fit(Wide(), plan(lora=2), tmp_path, "cpu", progress=False)
    other = Toy()
    other.net.second = nn.Linear(32, 5)
    with pytest.raises(CheckpointError, match=r"has '.*' of shape .*: it was written for another model"):
        fit(other, plan(lora=2), tmp_path, "cpu", progress=False)
    assert (tmp_path / states.FILE).read_bytes() == before
