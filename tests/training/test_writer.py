"""A state is written as it was when its save began, whatever training does meanwhile; what fails is told."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pinxit.config import to_dict
from pinxit.errors import PinxitError
from pinxit.training import saving
from pinxit.training import state as states
from pinxit.training.loop import fit
from pinxit.training.writer import Writer
from pinxit.weights.tensor_files import write_tensors
from tests.training.toy import Toy, plan


def test_a_save_holds_what_was_there_when_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go, write = threading.Event(), write_tensors

    def slow(*how: Any) -> None:
        go.wait(20)
        write(*how)

    monkeypatch.setattr(saving, "write_tensors", slow)
    net = torch.nn.Linear(2, 2)
    state = states.State({"net": net}, torch.optim.AdamW(net.parameters()), _average(net), states.Progress(8, 1), {})
    before = net.weight.detach().clone()
    with Writer(tmp_path, behind=True) as writer:
        writer.save(state, to_dict(plan()))
        with torch.no_grad():
            net.weight.add_(1.0)
        state.progress.images = 16
        assert not (tmp_path / states.FILE).exists()
        go.set()
        writer.finish()
        assert torch.equal(load_file(tmp_path / states.FILE)["weights/net/weight"], before)
        assert states.read_progress(tmp_path).images == 8
        writer.save(state, to_dict(plan()))
    assert torch.equal(load_file(tmp_path / states.FILE)["weights/net/weight"], before + 1)
    assert torch.equal(load_file(tmp_path / states.BEFORE)["weights/net/weight"], before)


def _average(net: torch.nn.Module) -> Any:
    from pinxit.training.optim import Average

    return Average({"net": net}, 0.0)


def test_what_could_not_be_written_is_told_at_the_next_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*how: Any) -> None:
        raise PinxitError("cannot write it: no space.")

    net = torch.nn.Linear(2, 2)
    state = states.State({"net": net}, torch.optim.AdamW(net.parameters()), _average(net), states.Progress(), {})
    monkeypatch.setattr(saving, "write_tensors", full)
    with pytest.raises(PinxitError, match="no space"), Writer(tmp_path, behind=True) as writer:
        writer.save(state, to_dict(plan()))
        writer.save(state, to_dict(plan()))
    with pytest.raises(PinxitError, match="no space"), Writer(tmp_path, behind=True) as writer:
        writer.save(state, to_dict(plan()))


def test_training_with_saves_behind_it_ends_with_the_same_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, behind in (("at once", False), ("behind", True)):
        monkeypatch.setattr(Writer, "on", lambda place, device, behind=behind: Writer(place, behind))
        about = plan(save_minutes=0.0)
        fit(Toy(), about, tmp_path / folder, "cpu", progress=False, stop_after=64)
        fit(Toy(), about, tmp_path / folder, "cpu", progress=False)
    one, other = (load_file(tmp_path / name / states.FILE) for name in ("at once", "behind"))
    assert one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())
