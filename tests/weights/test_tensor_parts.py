"""Safetensors files written in parts: what the library reads is what was given, and a failure leaves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from pinxit.errors import PinxitError
from pinxit.weights.tensor_parts import CODES, TensorParts, write_parts


def halves() -> Iterator[Tensor]:
    yield torch.arange(3.0).half().view(1, 3)
    yield torch.arange(12.0).half().view(3, 4).mT  # not contiguous


def test_tensors_of_every_kind_are_read_as_they_were_given(tmp_path: Path) -> None:
    """With a tensor of an odd number of bytes among them, before which those of eight must come."""
    whole = {str(kind): torch.tensor([[0, 1, 3], [1, 0, 2]]).to(kind) for kind in CODES}
    whole |= {"none": torch.zeros(0, 4), "number": torch.tensor(2.5), "flags": torch.tensor([True] * 5)}
    write_parts(tmp_path / "f", {"parts": TensorParts((5, 3), torch.float16, halves()), **whole}, {"note": "ü"})
    found = load_file(tmp_path / "f")
    assert torch.equal(found.pop("parts"), torch.cat(list(halves()))) and found.keys() == whole.keys()
    for name, tensor in whole.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name
    with safe_open(tmp_path / "f", framework="pt") as file:
        assert file.metadata() == {"note": "ü"} and torch.equal(file.get_slice("parts")[1:2], found_row())


def found_row() -> Tensor:
    return torch.cat(list(halves()))[1:2]


def broken() -> Iterator[Tensor]:
    yield torch.zeros(1, 3)
    raise ValueError("no more")


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no more"):
        write_parts(tmp_path / "f", {"x": TensorParts((2, 3), torch.float32, broken())}, {})
    with pytest.raises(AssertionError, match="x has other rows"):
        write_parts(tmp_path / "f", {"x": TensorParts((2, 3), torch.float32, iter([torch.zeros(1, 3)]))}, {})
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(PinxitError, match="cannot write"):
        write_parts(tmp_path / "file" / "f", {"x": torch.zeros(1)}, {})
